"""Which OpenLineage events a run owes to a consumer: what the run is now, less what was told of it before.

Level-triggered: whoever asks again gets what is still owed, in the order in which it is to be sent. The run
comes before its tasks and ends after them, so that a consumer never hears of a child before its parent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from bridge.domain.emission_facets import Describing, Json, bounded
from bridge.domain.explain import ExplainedInput
from bridge.domain.lineage import Artifact, Metric, Run, Task
from bridge.domain.openlineage import run_event, static_run_id
from bridge.domain.states import MirrorState, RunPhase, RuntimeState

RUN = ""
"""The subject that is the run itself; every other subject is a task's id."""
_ITERATION = re.compile(r"\[\d+\]")


class EventType(StrEnum):
    """The types of run events that are sent. OTHER tells of an ended run what was not known at its end."""

    START = "START"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAIL = "FAIL"
    ABORT = "ABORT"
    OTHER = "OTHER"

    @property
    def is_end(self) -> bool:
        """Whether it tells how the run of the job ended."""
        return self in (EventType.COMPLETE, EventType.FAIL, EventType.ABORT)

    @property
    def is_over(self) -> bool:
        """Whether the run of the job has ended when it is sent."""
        return self.is_end or self is EventType.OTHER


_ENDS = {
    RuntimeState.SUCCEEDED: EventType.COMPLETE,
    RuntimeState.SKIPPED: EventType.COMPLETE,
    RuntimeState.FAILED: EventType.FAIL,
    RuntimeState.CANCELED: EventType.ABORT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a consumer heard last of the run or of a task. ``attempt`` counts how often a task began,
    ``ended_at`` is the end it heard of, and ``whole`` says that a run's end was told with everything that
    its metadata held."""

    event: EventType
    attempt: int = 1
    ended_at: datetime | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One event to be sent, and what has been told of its subject when it was."""

    subject: str
    told: Told
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Everything the lineage knows of one run."""

    run: Run
    tasks: Sequence[Task] = ()
    artifacts: Sequence[Artifact] = ()
    metrics: Sequence[Metric] = ()
    inputs: Sequence[ExplainedInput] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How events are worded. ``producer`` is a URI; ``namespace`` is the jobs', in which ``{backend}`` and
    ``{project}`` stand for the run's; ``version`` is the bridge's, ``url`` where people find it."""

    producer: str
    namespace: str
    version: str
    url: str | None = None

    def owed(self, facts: RunFacts, told: Mapping[str, Told]) -> Iterator[Owed]:
        """The events that are owed, in their order; ``told`` is what was told by subject."""
        run = facts.run
        before = told.get(RUN)
        steps = _steps_of_run(run, before)
        if before is None and not steps:
            return
        words = Describing(
            producer=self.producer,
            version=self.version,
            url=self.url,
            run=run,
            namespace=self.namespace.format(backend=run.backend, project=run.project),
            artifacts=facts.artifacts,
            metrics=facts.metrics,
            inputs=facts.inputs,
            tasks={task.task_id: task for task in facts.tasks},
        )
        yield from (_of_run(words, step) for step in steps if not step.told.event.is_over)
        for task in facts.tasks:
            yield from _of_task(words, task, told.get(task.task_id))
        yield from (_of_run(words, step) for step in steps if step.told.event.is_over)


@dataclass(frozen=True, slots=True)
class _Step:
    told: Told
    at: datetime


def _steps_of_run(run: Run, before: Told | None) -> list[_Step]:
    end = _end_of_run(run)
    if before is None and run.phase in (RunPhase.QUEUED, RunPhase.SUBMITTING, RunPhase.ABANDONED):
        # Nobody knows yet whether there is such a run at the backend, or there never was.
        return []
    began = run.started_at or run.submitted_at or run.created_at
    steps = [_Step(Told(event=EventType.START), began)] if before is None else []
    last = steps[-1].told if steps else before
    assert last is not None
    if end is None:
        goes_on = run.state is RuntimeState.RUNNING and last.event is EventType.START
        if goes_on or last.event.is_over:
            # After an end: KFP's :retry lets a run go on under its own id.
            steps.append(_Step(Told(event=EventType.RUNNING), run.observed_at or began))
        return steps
    whole = run.mirror in (MirrorState.COMPLETE, MirrorState.EXPIRED)
    at = run.finished_at or run.settled_at or run.observed_at or began
    if not last.event.is_over or last.ended_at != at:
        steps.append(_Step(Told(event=end, ended_at=at, whole=whole), at))
    elif whole and not last.whole:
        steps.append(_Step(Told(event=EventType.OTHER, ended_at=at, whole=True), at))
    return steps


def _end_of_run(run: Run) -> EventType | None:
    if run.phase is RunPhase.ABANDONED:
        return EventType.ABORT
    if run.phase in (RunPhase.REJECTED, RunPhase.LOST):
        return _ENDS.get(run.state, EventType.FAIL)
    # Not before it is settled: until then nobody knows what came of it.
    return _ENDS.get(run.state) if run.phase is RunPhase.ENDED and run.settled_at else None


def _of_run(words: Describing, step: _Step) -> Owed:
    run, event = words.run, step.told.event
    over = event.is_over
    facets = words.of_run(failed=event is EventType.FAIL, over=over)
    return Owed(
        subject=RUN,
        told=step.told,
        event=run_event(
            event.value,
            step.at,
            producer=words.producer,
            run_id=run.kfp_run_id,
            namespace=words.namespace,
            job=run.pipeline.name,
            run_facets=facets,
            job_facets=words.of_job("PIPELINE"),
            inputs=bounded(words.inputs_of_run(), facets["kfbridge_run"]),
            outputs=bounded(words.outputs_of_run() if over else [], facets["kfbridge_run"]),
        ),
    )


def _of_task(words: Describing, task: Task, before: Told | None) -> Iterator[Owed]:
    """The events of a task; the root DAG is the run itself, and a task that was skipped never ran."""
    end = _ENDS.get(task.state)
    if end is None and _end_of_run(words.run) is not None:
        yield from _of_abandoned_task(words, task, before)
        return
    never_ran = task.state is RuntimeState.SKIPPED and not task.cached
    if not task.path or never_ran or (end is None and task.state is not RuntimeState.RUNNING):
        return
    began = _began(words.run, task)
    ended = task.finished_at or began
    told = before
    if told is None or (told.event.is_end and _began_again(told, began, is_over=end is not None)):
        # A try is a run of its own.
        told = Told(event=EventType.START, attempt=told.attempt + 1 if told else 1)
        yield _task_event(words, task, told, began)
    if end is not None and told.event is not end:
        yield _task_event(words, task, replace(told, event=end, ended_at=ended), ended)


def _of_abandoned_task(words: Describing, task: Task, before: Told | None) -> Iterator[Owed]:
    """A task that began and whose end nobody knows: its run is over, so nothing more will be told of it."""
    if before is None or before.event.is_end:
        return
    began = _began(words.run, task)
    # Not before it began: that would be another try.
    at = max(began, words.run.over_at or began)
    yield _task_event(words, task, replace(before, event=EventType.ABORT, ended_at=at), at)


def _began(run: Run, task: Task) -> datetime:
    return task.started_at or task.created_at or run.started_at or run.created_at


def _began_again(told: Told, began: datetime, *, is_over: bool) -> bool:
    return not is_over or (told.ended_at is not None and began > told.ended_at)


def _task_event(words: Describing, task: Task, told: Told, at: datetime) -> Owed:
    over = told.event.is_end
    facets: Json = words.of_task(task, told.attempt, failed=told.event is EventType.FAIL)
    return Owed(
        subject=task.task_id,
        told=told,
        event=run_event(
            told.event.value,
            at,
            producer=words.producer,
            run_id=task_run_id(words.run, task.task_id, told.attempt),
            namespace=words.namespace,
            job=f"{words.run.pipeline.name}.{_ITERATION.sub('', task.path)}",
            run_facets=facets,
            job_facets=words.of_job("DAG" if task.kind == "dag" else "TASK"),
            inputs=bounded(words.inputs_of_task(task), facets["kfbridge_task"]),
            outputs=bounded(words.outputs_of_task(task) if over else [], facets["kfbridge_task"]),
        ),
    )


def task_run_id(run: Run, task_id: str, attempt: int) -> UUID:
    """The OpenLineage run id of a task's attempt (1, 2, …): whoever derives it gets the same."""
    return static_run_id(run.created_at, f"{run.kfp_run_id}.{task_id}.{attempt}")
