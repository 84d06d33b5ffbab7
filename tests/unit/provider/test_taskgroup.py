"""What a pipeline looks like as a task group, for the compiled pipelines here and KFP's own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, Asset, TaskGroup, TriggerRule

from bridge.provider.fetching import PipelineProblem
from bridge.provider.taskgroup import KubeflowPipelineTaskGroup
from bridge.provider.taskgroup_operators import KubeflowTaskOperator
from bridge.provider.taskgroup_plan import MAX_TASKS, plan_pipeline
from bridge.spec.load import load_pipeline
from tests.support.airflow_version import dag_serialization
from tests.support.corpus import corpus_file, corpus_files
from tests.unit.provider.support import TRAINING

COMPILED = Path(__file__).parents[3] / "kfp_pipelines" / "compiled"
ARGUMENTS: dict[str, Any] = {"flight_delay": {"flights": ["s3://lake/day=1"]}, "hello": {"name": "x"}}


def group_of(path: Path, **options: Any) -> KubeflowPipelineTaskGroup:
    pipeline = load_pipeline(path)
    needed = {name: "{{ params.x }}" for name, one in pipeline.parameters.items() if one.required}
    options.setdefault("arguments", ARGUMENTS.get(path.stem, needed))
    with DAG("demo"):
        return KubeflowPipelineTaskGroup("kfp", pipeline=str(path), **options)


def edges(group: KubeflowPipelineTaskGroup) -> dict[str, set[str]]:
    """The upstream tasks of each task, ids without the group's own."""
    return {
        task.task_id.removeprefix("kfp."): {one.removeprefix("kfp.") for one in task.upstream_task_ids}
        for task in group.dag.tasks
    }


def always(group: KubeflowPipelineTaskGroup) -> set[str]:
    return {
        task.task_id.removeprefix("kfp.")
        for task in group.dag.tasks
        if task.trigger_rule == TriggerRule.ALL_DONE
    }


def groups_in(group: TaskGroup) -> dict[str, str]:
    found = {}
    for child in group.children.values():
        if isinstance(child, TaskGroup):
            found[str(child.group_id).removeprefix("kfp.")] = child.tooltip
            found |= groups_in(child)
    return found


def test_flight_delay_is_its_tasks_between_submit_and_finish() -> None:
    group = group_of(COMPILED / "flight_delay.yaml")
    assert edges(group) == {
        "submit": set(),
        "for-loop-1": {"submit"},
        "validate": {"for-loop-1"},
        "features": {"validate"},
        "train": {"features"},
        "evaluate": {"features", "train"},
        "register": {"evaluate", "train"},
        "tasks_done": {"register"},
        "finish": {"submit", "tasks_done"},
    }
    assert groups_in(group) == {}
    loop = group.dag.get_task("kfp.for-loop-1")
    assert isinstance(loop, KubeflowTaskOperator)
    assert (loop.path, loop.loop) == ("for-loop-1", True)
    assert always(group) == {"tasks_done"}
    assert [task.task_id for task in group.get_leaves()] == ["kfp.finish"]
    assert [task.task_id for task in group.get_roots()] == ["kfp.submit"]


def test_shapes_has_nested_pipelines_conditions_and_an_exit_task_as_groups() -> None:
    group = group_of(COMPILED / "shapes.yaml")
    branches = "exit-handler-1.condition-branches-2"
    assert edges(group) == {
        "submit": set(),
        "exit-handler-1.sum-of-squares.for-loop-1": {"submit"},
        "exit-handler-1.sum-of-squares.add": {"exit-handler-1.sum-of-squares.for-loop-1"},
        f"{branches}.condition-3.say": {"exit-handler-1.sum-of-squares.add"},
        f"{branches}.condition-4.say-2": {"exit-handler-1.sum-of-squares.add"},
        "conclude": {f"{branches}.condition-3.say", f"{branches}.condition-4.say-2"},
        "tasks_done": {"conclude"},
        "finish": {"submit", "tasks_done"},
    }
    groups = groups_in(group)
    assert set(groups) == {
        "exit-handler-1",
        "exit-handler-1.sum-of-squares",
        branches,
        f"{branches}.condition-3",
        f"{branches}.condition-4",
    }
    assert groups[f"{branches}.condition-4"].startswith("if !(int(inputs.parameter_values[")
    assert always(group) == {"conclude", "tasks_done"}
    say = group.dag.get_task(f"kfp.{branches}.condition-3.say")
    assert say.trigger_rule == TriggerRule.NONE_FAILED
    assert isinstance(say, KubeflowTaskOperator)
    assert say.path == f"{branches}.condition-3.say"


@pytest.mark.parametrize("path", sorted(COMPILED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_group_can_be_serialized(path: Path) -> None:
    group = group_of(path)
    serialized = json.loads(json.dumps(dag_serialization().to_dict(group.dag)))
    again = dag_serialization().from_dict(serialized)
    assert {task.task_id for task in again.tasks} == {task.task_id for task in group.dag.tasks}


@pytest.mark.corpus
@pytest.mark.parametrize(
    "path",
    corpus_files("critical", "failing", "local_execution", "parallel_and_nested"),
    ids=lambda path: path.stem,
)
def test_kfps_own_pipelines_become_groups(path: Path) -> None:
    group = group_of(path)
    model = load_pipeline(path).model
    shown = {task.path for task in group.dag.tasks if isinstance(task, KubeflowTaskOperator)}
    assert shown == {task.path for one in plan_pipeline(model) for task in one.tasks()}
    assert edges(group)["finish"] == {"submit", "tasks_done"}
    assert all(upstream for name, upstream in edges(group).items() if name != "submit")
    # Raises if there is a cycle.
    group.dag.topological_sort()


@pytest.mark.corpus
def test_a_nested_pipeline_in_a_loop_is_part_of_the_loops_one_task() -> None:
    group = group_of(corpus_file("parallel_and_nested/pipeline_in_pipeline_complex.yaml"))
    assert set(edges(group)) == {"submit", "for-loop-2", "print-op1", "tasks_done", "finish"}


@pytest.mark.corpus
def test_conditions_within_conditions() -> None:
    group = group_of(corpus_file("critical/flip_coin.yaml"))
    assert edges(group)["condition-1.condition-2.print-msg"] == {"condition-1.random-num"}
    assert edges(group)["condition-1.random-num"] == {"flip-coin"}


@pytest.mark.corpus
def test_what_follows_a_branch_waits_for_all_its_leaves_and_is_not_skipped_with_one() -> None:
    group = group_of(corpus_file("critical/if_else_with_oneof_artifacts.yaml"))
    branches = "flip-coin-pipeline.condition-branches-1"
    assert edges(group)["flip-coin-pipeline.print-artifact"] == {
        f"{branches}.condition-2.param-to-artifact",
        f"{branches}.condition-3.param-to-artifact-2",
    }
    follower = group.dag.get_task("kfp.flip-coin-pipeline.print-artifact")
    assert follower.trigger_rule == TriggerRule.NONE_FAILED


def pipeline_text(tasks: dict[str, Any], components: dict[str, Any] | None = None) -> str:
    leaf = {"executorLabel": "exec"}
    return yaml.safe_dump(
        {
            "components": {"leaf": leaf, **(components or {})},
            "deploymentSpec": {"executors": {"exec": {"container": {"image": "busybox"}}}},
            "pipelineInfo": {"name": "made"},
            "root": {"dag": {"tasks": tasks}},
            "schemaVersion": "2.1.0",
        }
    )


def leaf(name: str, *upstream: str) -> dict[str, Any]:
    task: dict[str, Any] = {"componentRef": {"name": "leaf"}, "taskInfo": {"name": name}}
    return {**task, "dependentTasks": list(upstream)} if upstream else task


def test_names_that_airflow_or_the_group_has_itself_are_changed(tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(pipeline_text({"submit": leaf("submit"), "finish": leaf("The end", "submit")}))
    group = group_of(path)
    assert edges(group) == {
        "submit": set(),
        "submit__1": {"submit"},
        "finish__1": {"submit__1"},
        "tasks_done": {"finish__1"},
        "finish": {"submit", "tasks_done"},
    }
    task = group.dag.get_task("kfp.finish__1")
    assert isinstance(task, KubeflowTaskOperator)
    assert (task.path, task.task_display_name) == ("finish", "The end")


def test_a_small_file_that_stands_for_a_million_tasks_is_refused() -> None:
    def level(number: int) -> dict[str, Any]:
        below = "leaf" if number == 0 else f"level-{number - 1}"
        tasks = {f"t{i}": {"componentRef": {"name": below}, "taskInfo": {"name": f"t{i}"}} for i in range(2)}
        return {"dag": {"tasks": tasks}}

    components = {f"level-{number}": level(number) for number in range(20)}
    top = {"top": {"componentRef": {"name": "level-19"}, "taskInfo": {"name": "top"}}}
    with pytest.raises(PipelineProblem, match=f"more than {MAX_TASKS} tasks"):
        plan_pipeline(load_pipeline(pipeline_text(top, components)).model)


def test_the_submission_goes_to_submit_and_the_end_to_finish() -> None:
    group = group_of(
        COMPILED / "hello.yaml",
        gate="a.b > 1",
        gate_action="skip",
        outlets=[Asset("model", uri="s3://m")],
        inputs={},
        experiment="nightly",
        on_clear="adopt",
        on_kill="detach",
        timeout=60,
        kfbridge_conn_id="other",
        deferrable=False,
        patience_seconds=5,
        default_args={"retries": 3},
        tooltip="hello",
    )
    submit, finish = group.submit, group.finish
    assert (submit.gate, submit.experiment, submit.clear_policy) == ("a.b > 1", "nightly", "adopt")
    assert (submit.wait, submit.outlets, submit.timeout_seconds) == (False, [], None)
    assert (finish.gate_action, finish.kill_policy, finish.timeout_seconds) == ("skip", "detach", 60)
    assert [outlet.name for outlet in finish.outlets] == ["model"]
    (mirrored,) = (task for task in group.dag.tasks if isinstance(task, KubeflowTaskOperator))
    assert (mirrored.timeout_seconds, mirrored.deferrable, mirrored.patience_seconds) == (60, False, 5)
    assert {task.kfbridge_conn_id for task in (submit, finish, mirrored)} == {"other"}
    assert (mirrored.retries, finish.retries, group.tooltip) == (3, 3, "hello")
    assert group.output.operator is finish


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pipeline": "nowhere.yaml"}, "there is no pipeline file"),
        ({"pipeline": "https://example.com/p.yaml"}, "parsing a DAG makes no network calls"),
        ({"pipeline": "{{ params.pipeline }}"}, "have to be known when the DAG is parsed"),
        ({"pipeline": {"name": "registered"}}, "have to be known when the DAG is parsed"),
        ({"wait": True}, "a group has no wait="),
        ({"arguments": {"epochs": "many"}}, "/arguments/epochs"),
        ({"arguments": {}}, "epochs"),
        ({"timeout": -1}, "timeout is -1 s"),
        ({"gate_action": "explode"}, "gate_action is 'explode'"),
    ],
)
def test_what_is_wrong_is_told_when_the_dag_is_parsed(options: dict[str, Any], says: str) -> None:
    given = {"group_id": "kfp", "pipeline": str(TRAINING), "arguments": {"epochs": 1}, **options}
    with DAG("nightly"), pytest.raises(ValueError, match=r"(?s)nightly.*") as caught:
        KubeflowPipelineTaskGroup(**given)
    assert says in str(caught.value)


def test_ids_longer_than_airflow_keeps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(pipeline_text({"t" * 100: leaf("t")}))
    outer = "o" * 120
    with DAG("nightly"), TaskGroup(outer), pytest.raises(ValueError, match=r"nightly.*longer than 250"):
        KubeflowPipelineTaskGroup("g" * 40, pipeline=str(path))


def test_an_unknown_parameter_is_refused() -> None:
    with DAG("nightly"), pytest.raises(TypeError, match="expriment"):
        KubeflowPipelineTaskGroup("kfp", pipeline=str(TRAINING), arguments={"epochs": 1}, expriment="x")


def test_two_groups_in_one_dag_and_groups_in_groups() -> None:
    with DAG("demo") as dag, TaskGroup("outer"):
        first = KubeflowPipelineTaskGroup("one", pipeline=str(TRAINING), arguments={"epochs": 1})
        second = KubeflowPipelineTaskGroup("two", pipeline=str(TRAINING), arguments={"epochs": 1})
        first >> second
    assert dag.get_task("outer.two.submit").upstream_task_ids == {"outer.one.finish"}
    mirrored = [task for task in dag.tasks if isinstance(task, KubeflowTaskOperator)]
    assert {task.submit_task_id for task in mirrored} == {"outer.one.submit", "outer.two.submit"}


def test_fifty_tasks_cost_little_when_the_dag_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "fifty.yaml"
    tasks = {f"t{i}": leaf(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(50)}
    path.write_text(pipeline_text(tasks))
    group_of(path)
    # Reading is paid once per process and file; the best of some, on a machine that does other things.
    seconds = []
    for _ in range(5):
        begun = time.process_time()
        with DAG("demo"):
            KubeflowPipelineTaskGroup("kfp", pipeline=str(path))
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 0.05
