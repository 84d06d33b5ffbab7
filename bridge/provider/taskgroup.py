"""A pipeline's tasks as Airflow tasks, from one submission."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from airflow.sdk import BaseOperator, TaskGroup, TriggerRule

from bridge.provider.fetching import PipelineProblem
from bridge.provider.folders import pipeline_folders
from bridge.provider.functions import is_component
from bridge.provider.hooks import DEFAULT_CONN_ID
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.outcome import GateAction
from bridge.provider.parsing import seconds_of
from bridge.provider.pipelines import is_static, load_when_parsed, registered
from bridge.provider.taskgroup_operators import (
    FinishPipelineOperator,
    KubeflowTaskOperator,
    TasksDoneOperator,
)
from bridge.provider.taskgroup_plan import FINISH, SUBMIT, TASKS_DONE, Planned, plan_pipeline

if TYPE_CHECKING:
    from airflow.sdk import XComArg

    from bridge.spec.load import Pipeline

_GROUP_OPTIONS = frozenset(field.alias or field.name for field in attrs.fields(TaskGroup) if field.init) - {
    "group_id"
}
# Airflow's database keeps ids in columns of this length.
_MAX_ID = 250


class KubeflowPipelineTaskGroup(TaskGroup):
    """Submits a compiled pipeline once and shows each of its tasks as an Airflow task.

    ``submit`` hands the run to the bridge. Then come the pipeline's tasks with its own dependencies:
    nested pipelines, conditions and exit handlers' bodies as groups, a loop as one task. ``finish``
    stands for the run: it has its reference, its gate and its outlets. See ``docs/provider/task-group.md``.

    What is not listed is a parameter of ``KubeflowPipelineOperator`` for the submission (``experiment``,
    ``caching``, ``backend``, …) or of Airflow's ``TaskGroup`` (``default_args``, ``tooltip``, …).

    :param group_id: the group's id.
    :param pipeline: the path of a compiled pipeline, without templates, or a kfp function: its tasks have
        to be known when the DAG is parsed.
    :param arguments, inputs, gate: as in the operator.
    :param gate_action: what a gate that does not pass means for ``finish``.
    :param outlets: assets that ``finish`` updates.
    :param kfbridge_conn_id: the Airflow connection to the bridge.
    :param deferrable: wait in the triggerer; ``False`` holds a worker's slot for each task that waits.
    :param on_kill: what a kill or a timeout of ``finish`` means for the run: ``cancel`` or ``detach``.
    :param timeout: for the run, counted from its submission; a ``timedelta`` or seconds.
    :param patience_seconds: how long the bridge may be away before a task fails.

    Raises ``ValueError`` naming DAG, group and every problem.
    """

    def __init__(
        self,
        group_id: str,
        *,
        pipeline: Any,
        arguments: Any = None,
        inputs: Any = None,
        gate: str | None = None,
        gate_action: GateAction = "fail",
        outlets: Any = None,
        kfbridge_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool = True,
        on_kill: str = "cancel",
        timeout: timedelta | float | None = None,
        patience_seconds: float = 3600.0,
        **options: Any,
    ) -> None:
        of_group = {name: options.pop(name) for name in _GROUP_OPTIONS & options.keys()}
        super().__init__(group_id=group_id, **of_group)
        self._refuse_unknown(pipeline, options)
        waiting: dict[str, Any] = {
            "kfbridge_conn_id": kfbridge_conn_id,
            "deferrable": deferrable,
            "patience_seconds": float(patience_seconds),
        }
        with self:
            self.submit: KubeflowPipelineOperator = KubeflowPipelineOperator(
                task_id=SUBMIT,
                pipeline=pipeline,
                arguments=arguments,
                inputs=inputs,
                gate=gate,
                on_kill=on_kill,
                wait=False,
                **waiting,
                **options,
            )
            loaded, planned = self._plan(pipeline)
            self._of_tasks = {**waiting, "timeout_seconds": seconds_of(timeout)}
            last = self._add(planned, [self.submit], always=False)
            done = TasksDoneOperator(task_id=TASKS_DONE, trigger_rule=TriggerRule.ALL_DONE, retries=0)
            done.set_upstream(last)
            self.finish: FinishPipelineOperator = FinishPipelineOperator(
                task_id=FINISH,
                submit_task_id=self.submit.task_id,
                # By name only: the pipeline was sent, and its arguments checked, by ``submit``.
                pipeline={"name": loaded.name},
                gate_action=gate_action,
                on_kill=on_kill,
                timeout=timeout,
                **({} if outlets is None else {"outlets": outlets}),
                **waiting,
            )
            self.finish.set_upstream([self.submit, done])

    @property
    def output(self) -> XComArg:
        """The run's reference, as ``finish`` returns it."""
        return self.finish.output

    def _plan(self, pipeline: Any) -> tuple[Pipeline, tuple[Planned, ...]]:
        try:
            loaded = load_when_parsed(self.submit.pipeline, pipeline_folders(self.submit))
            if loaded is None:
                raise PipelineProblem("it is elsewhere, and parsing a DAG makes no network calls")
            planned = plan_pipeline(loaded.model)
            self._refuse_long_ids(planned)
        except PipelineProblem as error:
            raise self._problem(pipeline, str(error)) from error
        return loaded, planned

    def _refuse_unknown(self, pipeline: Any, options: Mapping[str, Any]) -> None:
        known = isinstance(pipeline, str | Path) and is_static(str(pipeline)) and not registered(pipeline)
        if not (known or is_component(pipeline)):
            raise self._problem(
                pipeline,
                "its tasks have to be known when the DAG is parsed: give the path of a compiled file",
            )
        if "wait" in options:
            raise self._problem(pipeline, "a group has no wait=: its tasks wait, submit never does")

    def _refuse_long_ids(self, planned: Iterable[Planned]) -> None:
        longest = max((task.path for one in planned for task in one.tasks()), key=len, default="")
        if len(f"{self.group_id}.{longest}") + len("__1") > _MAX_ID:
            raise PipelineProblem(f"the id of its task {longest!r} is longer than {_MAX_ID} characters")

    def _problem(self, pipeline: Any, sentence: str) -> ValueError:
        return ValueError(
            f"DAG {self.dag.dag_id!r}, task group {self.group_id!r} cannot show pipeline {pipeline!r}: "
            f"{sentence}"
        )

    def _add(
        self, planned: Sequence[Planned], before: Sequence[BaseOperator], *, always: bool
    ) -> list[BaseOperator]:
        """Adds what is planned to the group that is open now, behind ``before`` where it depends on
        nothing else; ``always``: whichever way that ended. Returns the tasks that nothing waits for."""
        nodes: dict[str, list[BaseOperator]] = {}
        waited_for = {label for one in planned for label in one.upstream}
        for one in _in_order(planned):
            upstream = [task for label in one.upstream for task in nodes[label]] or list(before)
            nodes[one.label] = self._add_one(one, upstream, always=one.always if one.upstream else always)
        return [task for one in planned if one.label not in waited_for for task in nodes[one.label]]

    def _add_one(self, one: Planned, upstream: Sequence[BaseOperator], *, always: bool) -> list[BaseOperator]:
        if one.children:
            label = "" if one.display_name == one.label else one.display_name
            tooltip = f"if {one.condition}" if one.condition else one.path
            with TaskGroup(one.label, group_display_name=label, tooltip=tooltip):
                return self._add(one.children, upstream, always=always)
        shown: dict[str, Any] = (
            {} if one.display_name == one.label else {"task_display_name": one.display_name}
        )
        task = KubeflowTaskOperator(
            task_id=one.label,
            submit_task_id=self.submit.task_id,
            path=one.path,
            loop=one.loop,
            kfp_retries=one.retries,
            # Whether it is skipped is KFP's decision, told by KFP's own state of the task.
            trigger_rule=TriggerRule.ALL_DONE if always else TriggerRule.NONE_FAILED,
            **shown,
            **self._of_tasks,
        )
        task.set_upstream(list(upstream))
        return [task]


def _in_order(planned: Sequence[Planned]) -> Iterable[Planned]:
    """Siblings after those that they wait for; a pipeline that was found sound has no cycle."""
    left = {one.label: one for one in planned}
    while left:
        ready = [one for one in left.values() if not left.keys() & set(one.upstream)]
        assert ready, "a pipeline that was found sound has no cycle"
        for one in ready:
            del left[one.label]
        yield from ready
