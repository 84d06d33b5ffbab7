"""What KFP's driver and launcher leave in MLMD on a cluster, and Argo in the run's details.

Property names and states follow ``backend/src/v2/metadata/client.go`` and ``backend/src/v2/driver`` of
KFP 2.0 – 2.15; details follow ``toModelTasks`` of its API server, whose ``child_tasks`` are Argo's node ids.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from bridge.domain.lineage import RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.messages import ChildTask, Status, TaskDetail
from bridge.kfp_api.mlmd import MlmdReader
from tests.unit.kfp_api.fake_mlmd import FakeMlmd, struct

RUN = UUID("11111111-2222-3333-4444-555555555555")
WORKFLOW = "flights-x7k2p"
RUNNING = pb.Execution.RUNNING


class Cluster:
    """Writes executions as the driver and the launcher do, and the details as the persistence agent does."""

    def __init__(self) -> None:
        self.mlmd = FakeMlmd()
        self.run = self.mlmd.run(RUN)
        self.details: list[TaskDetail] = []

    def root(self) -> pb.Execution:
        """The root DAG: named after the run, empty names, and RUNNING for ever."""
        return self.mlmd.execution(
            self.run, "dag", "", name=f"run/{RUN}", state=RUNNING, inputs={"day": "2013-01-01"}
        )

    def dag(self, name: str, parent: pb.Execution, state: int = RUNNING, **more: Any) -> pb.Execution:
        """A DAG with what newer drivers add: how many tasks it has, and who gives its outputs."""
        made = self.mlmd.execution(
            self.run,
            "dag",
            name,
            parent=parent,
            state=state,
            total_dag_tasks=2,
            artifact_producer_task='{"model":{"artifact_selectors":[]}}',
            **more,
        )
        producers = {"Output": '{"valueFromParameter":{"producerSubtask":"train"}}'}
        made.custom_properties["parameter_producer_task"].struct_value.CopyFrom(struct(producers))
        return made

    def container(
        self,
        name: str,
        parent: pb.Execution,
        number: int | None,
        state: int = pb.Execution.COMPLETE,
        **more: Any,
    ) -> pb.Execution:
        """A container; ``number`` is that of its pod, ``None`` before the launcher has written it."""
        pod = "" if number is None else f"{WORKFLOW}-system-container-impl-{number}"
        return self.mlmd.execution(
            self.run,
            "container",
            name,
            parent=parent,
            state=state,
            pod_name=pod,
            pod_uid="",
            namespace="kubeflow",
            image="python:3.11",
            cache_fingerprint="8d1c",
            **more,
        )

    def node(self, name: str, state: str, *children: int, error: str | None = None) -> None:
        """A node of the Workflow with the nodes below it."""
        self.details.append(
            TaskDetail(
                task_id=f"task-{len(self.details)}",
                display_name=name,
                state=state,
                error=Status(code=13, message=error) if error else None,
                child_tasks=[ChildTask(pod_name=f"{WORKFLOW}-{number}") for number in children],
            )
        )

    async def read(self) -> dict[str, Task]:
        mirror: RunMirror | None = await MlmdReader(self.mlmd.client()).read_run(RUN, self.details)
        assert mirror is not None
        return {task.path: task for task in mirror.tasks}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_a_pod_is_found_by_the_number_of_its_node(cluster: Cluster) -> None:
    root = cluster.root()
    for parent in (cluster.dag("a", root), cluster.dag("b", root)):
        number = 2277833670 + parent.id
        cluster.container("train", parent, number, RUNNING)
        error = f"exit status {parent.id}"
        cluster.node("train", "FAILED", number, error=error)
    # The number of a pod of another Workflow may be the same.
    cluster.details.append(
        TaskDetail(
            display_name="other", state="SUCCEEDED", child_tasks=[ChildTask(pod_name="other-2277833672")]
        )
    )
    tasks = await cluster.read()
    assert [tasks[path].state for path in ("a.train", "b.train")] == [RuntimeState.FAILED] * 2
    errors = [tasks[path].error for path in ("a.train", "b.train")]
    assert [error.message if error else None for error in errors] == ["exit status 2", "exit status 3"]
    assert tasks["a.train"].pod_name == f"{WORKFLOW}-system-container-impl-2277833672"


async def test_a_node_that_two_details_name_is_neithers(cluster: Cluster) -> None:
    root = cluster.root()
    cluster.container("train", cluster.dag("a", root), 77, RUNNING)
    cluster.container("train", cluster.dag("b", root), 78, RUNNING)
    cluster.node("x", "FAILED", 77)
    cluster.details[-1].child_tasks.append(ChildTask(pod_name="flights-77"))
    cluster.details.append(TaskDetail(display_name="y", state="FAILED", pod_name="flights-77"))
    assert (await cluster.read())["a.train"].state is RuntimeState.RUNNING


async def test_before_the_launcher_wrote_its_pod_there_is_none(cluster: Cluster) -> None:
    cluster.container("train", cluster.root(), None, RUNNING)
    task = (await cluster.read())["train"]
    assert (task.pod_name, task.state) == (None, RuntimeState.RUNNING)


async def test_a_task_from_the_cache_has_no_pod_and_the_cached_outputs(cluster: Cluster) -> None:
    cluster.container(
        "train",
        cluster.root(),
        None,
        pb.Execution.CACHED,
        cached_execution_id="4711",
        inputs={"epochs": 3},
        outputs={"best": 2},
    )
    task = (await cluster.read())["train"]
    assert (task.state, task.cached, task.pod_name) == (RuntimeState.SKIPPED, True, None)
    assert (task.inputs, task.outputs) == ({"epochs": 3.0}, {"best": 2.0})


async def test_importers_of_both_kinds(cluster: Cluster) -> None:
    root = cluster.root()
    for kind, name in (("importer", "importer"), ("workspace importer", "importer-2")):
        cluster.mlmd.execution(cluster.run, kind, name, parent=root)
    tasks = await cluster.read()
    assert [tasks[name].kind for name in ("importer", "importer-2")] == ["importer", "importer"]


async def test_dags_that_mlmd_never_ends_end_with_their_run(cluster: Cluster) -> None:
    root = cluster.root()
    loop = cluster.dag("for-loop-1", root, iteration_count=2)
    for index in (0, 1):
        iteration = cluster.dag("for-loop-1", loop, iteration_index=index)
        state = pb.Execution.FAILED if index else pb.Execution.COMPLETE
        cluster.container("train", iteration, 100 + index, state)
    cluster.dag("condition-2", root, pb.Execution.CANCELED)
    before = await cluster.read()
    assert before["for-loop-1[0]"].state is RuntimeState.RUNNING
    cluster.node("root", "FAILED")
    cluster.node("iteration-item(0:0)", "SUCCEEDED")
    after = await cluster.read()
    assert {path: str(task.state) for path, task in after.items()} == {
        "": "FAILED",
        "for-loop-1": "FAILED",
        "for-loop-1[0]": "SUCCEEDED",
        "for-loop-1[0].train": "SUCCEEDED",
        "for-loop-1[1]": "FAILED",
        "for-loop-1[1].train": "FAILED",
        "condition-2": "SKIPPED",
    }
    assert after["for-loop-1[0]"].finished_at == after["for-loop-1[0].train"].finished_at


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("CANCELED", RuntimeState.CANCELED),
        ("SUCCEEDED", RuntimeState.SUCCEEDED),
        ("FAILED", RuntimeState.RUNNING),
    ],
)
async def test_a_dag_in_which_nothing_ended_follows_its_run_if_that_tells(
    cluster: Cluster, end: str, state: RuntimeState
) -> None:
    dag = cluster.dag("inner", cluster.dag("outer", cluster.root()))
    cluster.container("train", dag, 5, RUNNING)
    cluster.node("root", end)
    tasks = await cluster.read()
    assert tasks["outer.inner"].state is state
    # What became of the task itself is not known.
    assert tasks["outer.inner.train"].state is RuntimeState.RUNNING


async def test_a_root_that_a_server_names_is_still_the_root(cluster: Cluster) -> None:
    cluster.mlmd.execution(cluster.run, "dag", None, name=f"run/{RUN}", display_name="my first run")
    assert (await cluster.read())[""].name == "root"
