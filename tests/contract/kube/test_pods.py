"""What is read of a run's pods: the evidence, which cause it gives, and what is asked for."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from bridge.domain.causes import CauseKind, Witness, rank_causes
from bridge.kube.access import KubeApi
from bridge.kube.errors import KubeForbidden
from bridge.kube.pods import PodReader
from tests.support.fake_kubernetes import FakeKubernetes

NODE = "flow-1.root.train.executor"


def _main(**state: Any) -> dict[str, Any]:
    return {"name": "main", "state": state}


def _failed(*containers: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"phase": "Failed", "containerStatuses": list(containers), **status}


@pytest.fixture
def reader(api: KubeApi) -> PodReader:
    return PodReader(api, ["kubeflow"])


def test_a_pod_that_was_killed_for_its_memory(cluster: FakeKubernetes, reader: PodReader) -> None:
    run = uuid4()
    cluster.add_workflow(run, phase="Failed")
    cluster.set_nodes(
        run,
        {"id": "p1", "type": "Pod", "phase": "Failed", "name": NODE, "message": "OOMKilled (exit code 137)"},
        {"id": "d", "type": "DAG", "phase": "Failed", "message": "child failed"},
    )
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-08-01T12:00:00Z"}
    side = {"name": "wait", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    cluster.add_pod("p1", run, _failed(_main(terminated=ended), side), node=NODE)
    cluster.add_pod("other", run, {"phase": "Succeeded"})
    cluster.add_pod("foreign", uuid4(), _failed(_main(terminated=ended)))
    cluster.logs["p1"] = "epoch 1\nepoch 2\n"
    cluster.add_event("p1", "FailedScheduling", "0/3 nodes are available: 3 Insufficient memory.")
    cluster.add_event("p1", "Pulled", "Successfully pulled image", kind="Normal")
    found = reader.of_failed(run)
    assert [one.witness for one in found] == [Witness.CONTAINER, Witness.EVENT, Witness.LOG, Witness.STEP]
    assert {one.step for one in found} == {NODE}
    cause = rank_causes(found)[0]
    assert cause.kind is CauseKind.OUT_OF_MEMORY
    assert cause.message == "out of memory (OOMKilled, exit code 137)"
    asked = next(one for one in cluster.asked if one.resource == "pods/log")
    assert (asked.query["container"], asked.query["tailLines"], asked.query["limitBytes"]) == (
        "main",
        "50",
        "8192",
    )


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (
            _failed(status="x", reason="Evicted", message="The node was low on resource: memory."),
            CauseKind.NODE,
            "evicted",
        ),
        (
            _failed(
                reason="DeadlineExceeded",
                message="Pod was active on the node longer than the specified deadline",
            ),
            CauseKind.TIMEOUT,
            "deadline",
        ),
        (
            _failed(
                _main(terminated={"exitCode": 137, "reason": "Error"}),
                conditions=[
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByTaintManager",
                        "message": "",
                    }
                ],
            ),
            CauseKind.NODE,
            "node",
        ),
        (
            {
                "phase": "Failed",
                "initContainerStatuses": [
                    {"name": "init", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
                ],
            },
            CauseKind.OUT_OF_MEMORY,
            "container init",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "main",
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ],
            },
            CauseKind.OUT_OF_MEMORY,
            "OOMKilled",
        ),
    ],
)
def test_what_a_status_says(
    cluster: FakeKubernetes, reader: PodReader, status: dict[str, Any], kind: CauseKind, told: str
) -> None:
    run = uuid4()
    cluster.add_pod("p1", run, status, node=NODE)
    cause = rank_causes(reader.of_failed(run))[0]
    assert cause.kind is kind
    assert told in cause.message


def test_what_pods_wait_for_is_one_question_for_all_runs(cluster: FakeKubernetes, reader: PodReader) -> None:
    gpu, image, starts = uuid4(), uuid4(), uuid4()
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.",
    }
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "acme/train:v9"'}
    cluster.add_pod("gpu", gpu, {"phase": "Pending", "conditions": [condition]}, node=NODE)
    cluster.add_pod("img", image, {"phase": "Pending", "containerStatuses": [_main(waiting=waiting)]})
    creating = {"reason": "ContainerCreating"}
    cluster.add_pod("new", starts, {"phase": "Pending", "containerStatuses": [_main(waiting=creating)]})
    cluster.add_pod("run", starts, {"phase": "Running", "containerStatuses": [_main(running={})]})
    found = {one.kfp_run_id: rank_causes(one.evidence, waiting=True)[0] for one in reader.waiting()}
    assert {run: cause.kind for run, cause in found.items()} == {
        gpu: CauseKind.UNSCHEDULABLE,
        image: CauseKind.IMAGE,
    }
    assert "nvidia.com/gpu" in found[gpu].message
    assert [one.query["fieldSelector"] for one in cluster.asked] == ["status.phase=Pending"]


def test_a_step_that_a_quota_keeps_from_starting(cluster: FakeKubernetes, reader: PodReader) -> None:
    run = uuid4()
    cluster.add_workflow(run)
    message = (
        'pods "flow-1" is forbidden: exceeded quota: team-a, requested: limits.cpu=8, used: limits.cpu=60'
    )
    cluster.set_nodes(run, {"id": "p1", "type": "Pod", "phase": "Pending", "name": NODE, "message": message})
    (cause,) = rank_causes(reader.of_workflow(run), waiting=True)
    assert cause.kind is CauseKind.QUOTA


def test_what_may_not_be_read_is_left_out(cluster: FakeKubernetes, reader: PodReader) -> None:
    run = uuid4()
    cluster.allowed = frozenset({("list", "pods")})
    cluster.add_pod("p1", run, _failed(_main(terminated={"exitCode": 1, "reason": "Error"})))
    assert [one.witness for one in reader.of_failed(run)] == [Witness.CONTAINER]
    cluster.allowed = frozenset()
    with pytest.raises(KubeForbidden):
        reader.of_failed(run)


def test_only_a_bounded_part_of_a_large_run_is_read(cluster: FakeKubernetes, reader: PodReader) -> None:
    run = uuid4()
    for number in range(250):
        cluster.add_pod(
            f"p{number}", run, _failed(_main(terminated={"exitCode": 1, "message": "x" * 10_000}))
        )
    found = reader.of_failed(run)
    assert len({one.pod for one in found}) == 10
    assert max(len(one.message) for one in found) <= 2000
    assert cluster.count("list", "pods") == 2


def test_strange_objects_do_no_harm(cluster: FakeKubernetes, reader: PodReader) -> None:
    run = uuid4()
    cluster.add_workflow(run, phase="Failed")
    cluster.set_nodes(run, {"id": "a", "type": "Pod", "phase": "Failed"})
    cluster.add_pod("p1", run, {"phase": "Failed", "containerStatuses": [None, {}], "conditions": "x"})  # type: ignore[list-item]
    assert reader.of_failed(run) == []
