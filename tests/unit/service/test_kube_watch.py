"""What the bridge makes of what a cluster tells: hints, causes, what runs wait for; no cluster needed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from bridge.domain.causes import Evidence, Witness
from bridge.domain.lineage import RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kube.access import Access, KubeApi
from bridge.kube.errors import KubeError, KubeForbidden
from bridge.kube.pods import PodEvidence, PodReader
from bridge.kube.watch import Change, WatchHealth, WorkflowWatch
from bridge.service.cluster import Cluster
from bridge.service.kube_settings import KubernetesSettings
from bridge.service.workers.evidence import with_tasks
from bridge.service.workers.kube_watch import KubeWatch
from bridge.service.workers.waiting import WaitingPods
from tests.unit.service.harness import Harness

POD = "flow-x7k2p-system-container-impl-2277833670"


@dataclass
class StoredPods:
    """What a cluster would tell of pods."""

    pending: list[PodEvidence] = field(default_factory=list)
    failed: list[Evidence] = field(default_factory=list)
    steps: dict[UUID, list[Evidence]] = field(default_factory=dict)
    error: KubeError | None = None
    asked: int = 0

    def waiting(self) -> list[PodEvidence]:
        self.asked += 1
        if self.error:
            raise self.error
        return self.pending

    def of_failed(self, kfp_run_id: UUID, namespace: str | None = None) -> list[Evidence]:
        if self.error:
            raise self.error
        return self.failed

    def of_workflow(self, kfp_run_id: UUID, namespace: str | None = None) -> list[Evidence]:
        return self.steps.get(kfp_run_id, [])


@dataclass
class Watched:
    """A service whose backend has a cluster, and the worker that listens to it."""

    service: Harness
    cluster: Cluster
    pods: StoredPods
    worker: KubeWatch
    waiting: WaitingPods
    health: WatchHealth

    async def tell(self, run: dict[str, Any] | UUID, phase: str = "Succeeded", **more: Any) -> None:
        key = run if isinstance(run, UUID) else UUID(run["kfp_run_id"])
        finished = phase in ("Succeeded", "Failed", "Error")
        self.worker.tell([Change(key, phase, finished, **{"stored": False, **more})])
        await self.worker.step()


@pytest.fixture
def watched(service: Harness) -> Watched:
    settings = KubernetesSettings(enabled=True)
    pods = StoredPods()
    health = WatchHealth("kubeflow", healthy_since=datetime.now(UTC))
    cluster = Cluster(
        settings=settings,
        namespaces=("kubeflow",),
        api=KubeApi(Access()),
        pods=cast(PodReader, pods),
        watches=[cast(WorkflowWatch, SimpleNamespace(health=health))],
    )
    service.backend.cluster = cluster
    service.backend.leads = True
    return Watched(
        service,
        cluster,
        pods,
        KubeWatch(service.context, service.backend, cluster),
        WaitingPods(service.context, service.backend, cluster),
        health,
    )


def _asked(service: Harness, run: dict[str, Any]) -> int:
    return service.kfp.requests.count(("GET", f"/apis/v2beta1/runs/{run['kfp_run_id']}"))


async def _until(watched: Watched, run: dict[str, Any], phase: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    found = run
    while found["phase"] != phase:
        assert time.monotonic() < deadline, found
        await watched.worker.step()
        found = await watched.service.run(run["run_id"])
    return found


async def test_an_end_that_the_cluster_tells_is_read_from_kfp_at_once(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    service.kfp.finish(run["kfp_run_id"])
    before = len(service.kfp.requests)
    await watched.tell(run)
    assert (await service.run(run["run_id"]))["phase"] == "ENDED"
    assert service.kfp.requests[before:] == [("GET", f"/apis/v2beta1/runs/{run['kfp_run_id']}")]
    assert watched.cluster.lag_seconds is not None
    assert watched.cluster.lag_seconds < 5


async def test_the_cluster_is_not_believed_and_kfp_asked_again(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    before = _asked(service, run)
    await watched.tell(run, "Failed")
    assert (await service.run(run["run_id"]))["state"] == "RUNNING"
    assert _asked(service, run) == before + 1
    # Not without a pause.
    (hint,) = watched.worker._hints.values()
    assert hint.due >= hint.since + 0.2
    service.kfp.finish(run["kfp_run_id"])
    found = await _until(watched, run, "ENDED")
    assert found["state"] == "SUCCEEDED"


async def test_once_kfp_has_stored_the_end_it_is_asked_at_once(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    await watched.tell(run)
    for _ in range(8):
        hint = watched.worker._hints[UUID(run["kfp_run_id"])]
        hint.due = 0.0
        await watched.worker.step()
    service.kfp.finish(run["kfp_run_id"])
    assert watched.worker._hints[UUID(run["kfp_run_id"])].due > time.monotonic() + 5
    await watched.tell(run, stored=True)
    assert (await service.run(run["run_id"]))["phase"] == "ENDED"


async def test_kfp_is_asked_for_a_while_and_then_left_to_the_sweeps(watched: Watched) -> None:
    run = await watched.service.submitted()
    await watched.tell(run)
    (hint,) = watched.worker._hints.values()
    tries = 0
    now = hint.since
    while hint.later(now):
        now, tries = hint.due, tries + 1
    assert 40 <= tries <= 60
    assert 570 <= now - hint.since <= 600


async def test_a_run_that_kfp_does_not_know_is_no_lost_run(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    del service.kfp.runs[run["kfp_run_id"]]
    await watched.tell(run, gone=True)
    assert (await service.run(run["run_id"]))["phase"] == "ACTIVE"


async def test_of_a_list_only_what_is_followed_is_asked_about(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.finish(run["kfp_run_id"])
    old = [Change(uuid4(), "Succeeded", True, True, listed=True) for _ in range(300)]
    goes_on = Change(UUID(run["kfp_run_id"]), "Running", False, False, listed=True)
    before = len(service.kfp.requests)
    watched.worker.tell([*old, goes_on])
    await watched.worker.step()
    assert len(service.kfp.requests) == before
    await watched.tell(run, listed=True)
    assert (await service.run(run["run_id"]))["phase"] == "ENDED"
    assert len(service.kfp.requests) == before + 1
    # How long ago it ended is not known.
    assert watched.cluster.lag_seconds is None


async def test_a_run_of_somebody_else_brings_the_sweep_forward(watched: Watched) -> None:
    foreign = watched.service.kfp.add_foreign_run()
    bell = watched.service.context.wakeups.track("default")
    await bell.wait(0)
    await watched.tell(foreign, "Running")
    assert await bell.wait(0)


async def test_a_flood_of_ends_is_left_to_one_sweep(watched: Watched) -> None:
    bell = watched.service.context.wakeups.track("default")
    await bell.wait(0)
    followed = await watched.service.submitted()
    before = len(watched.service.kfp.requests)
    ends = [Change(uuid4(), "Succeeded", True, False) for _ in range(50)]
    watched.worker.tell([*ends, Change(UUID(followed["kfp_run_id"]), "Succeeded", True, False)])
    await watched.worker.step()
    assert await bell.wait(0)
    for hint in watched.worker._hints.values():
        hint.due = 0.0
    await watched.worker.step()
    # What is not followed, or was seen to end, is forgotten; nobody was asked about one by one.
    assert list(watched.worker._hints) == [UUID(followed["kfp_run_id"])]
    assert len(watched.service.kfp.requests) == before


async def test_a_backend_that_is_away_is_asked_again(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.finish(run["kfp_run_id"])
    service.kfp.down = True
    await watched.tell(run)
    service.kfp.down = False
    assert (await _until(watched, run, "ENDED"))["state"] == "SUCCEEDED"


async def test_sweeps_are_rarer_while_the_watch_is_well(watched: Watched) -> None:
    service = watched.service
    await service.submitted()
    pause = await service.track_worker.step()
    assert 5 < pause.seconds <= watched.cluster.settings.watched_tick_seconds
    assert pause.least_seconds < 2
    await watched.worker.step()
    bell = service.context.wakeups.track("default")
    await bell.wait(0)
    watched.health.healthy_since = None
    watched.health.last_error = "the API server is away"
    await watched.worker.step()
    # The pause under way ends now, and the next ones are short.
    assert await bell.wait(0)
    assert (await service.track_worker.step()).seconds < 2


async def test_status_tells_of_the_watch(watched: Watched) -> None:
    service = watched.service
    watched.health.restarts, watched.health.events = 3, 17
    await watched.worker.step()

    async def told() -> dict[str, Any]:
        answer = (await service.client.get("/api/v1/status")).json()
        found: dict[str, Any] = answer["backends"][0]["watch"]
        return found

    assert (await told())["state"] == "healthy"
    assert ((await told())["restarts"], (await told())["events"]) == (3, 17)
    watched.health.healthy_since = None
    watched.health.off_because = "workflows is forbidden"
    await watched.worker.step()
    # Another process, which does not watch, tells what this one wrote down.
    service.backend.leads = False
    watched.cluster.watches = []
    assert ((await told())["state"], (await told())["off_because"]) == ("off", "workflows is forbidden")
    service.backend.cluster = None
    assert (await service.client.get("/api/v1/status")).json()["backends"][0]["watch"] is None


def _unschedulable() -> Evidence:
    message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    return Evidence(
        witness=Witness.POD,
        reason="Unschedulable",
        message=message,
        pod=POD,
        step="flow-x7k2p.root.train.executor",
    )


async def test_what_a_run_waits_for_is_shown_and_taken_back(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    key = UUID(run["kfp_run_id"])
    service.kfp.mirrors[key] = RunMirror(tasks=(_task("train", RuntimeState.PENDING),))
    await service.mirror()
    watched.pods.pending = [PodEvidence(key, (_unschedulable(),))]
    await watched.waiting.step()
    shown = await service.run(run["run_id"])
    (cause,) = shown["causes"]
    assert (cause["kind"], cause["task"], cause["waiting"]) == ("unschedulable", "train", True)
    assert "nvidia.com/gpu" in cause["message"]
    assert cause["evidence"][0]["reason"] == "Unschedulable"
    (task,) = (await service.client.get(f"/api/v1/runs/{run['run_id']}/tasks")).json()["items"]
    assert [one["kind"] for one in task["causes"]] == ["unschedulable"]
    # Seen again it is no news; once the pod has started it is none any longer.
    await watched.waiting.step()
    assert (await service.run(run["run_id"]))["version"] == shown["version"]
    watched.pods.pending = []
    await watched.waiting.step()
    after = await service.run(run["run_id"])
    assert (after["causes"], after["version"]) == ([], shown["version"] + 1)


async def test_a_step_without_a_pod_waits_for_its_quota(watched: Watched) -> None:
    service = watched.service
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    told = Evidence(
        witness=Witness.STEP,
        reason="Pending",
        message='pods "flow" is forbidden: exceeded quota: team-a, requested: limits.cpu=8',
        step="flow-x7k2p.root.train.executor",
    )
    watched.pods.steps[UUID(run["kfp_run_id"])] = [told]
    await watched.waiting.step()
    (cause,) = (await service.run(run["run_id"]))["causes"]
    assert cause["kind"] == "quota"


async def test_without_runs_or_rights_no_pods_are_asked_about(watched: Watched) -> None:
    assert await watched.waiting.step() == watched.cluster.settings.waiting_check_seconds
    assert watched.pods.asked == 0
    await watched.service.submitted()
    watched.service.backend.leads = False
    await watched.waiting.step()
    assert watched.pods.asked == 0
    watched.service.backend.leads = True
    watched.pods.error = KubeForbidden("pods is forbidden", status=403)
    assert await watched.waiting.step() >= 60
    assert watched.cluster.pods_off_because == "pods is forbidden"
    watched.pods.error = KubeError("no answer")
    assert await watched.waiting.step() < 60
    watched.pods.error = None
    await watched.waiting.step()
    assert watched.cluster.pods_off_because is None


def _task(name: str, state: RuntimeState, **more: Any) -> Task:
    return Task(task_id=name, name=name, path=name, parent_task_id=None, state=state, **more)


async def _fail(watched: Watched, *tasks: Task, log: str | None = None) -> dict[str, Any]:
    service = watched.service
    run = await service.submitted()
    service.kfp.finish(run["kfp_run_id"], "FAILED", error="Pipeline failed")
    service.kfp.mirrors[UUID(run["kfp_run_id"])] = RunMirror(tasks=tasks)
    if log is not None:
        service.kfp.logs[POD] = log
    await service.follow()
    return await service.run(run["run_id"])


async def test_a_task_killed_for_its_memory_says_so(watched: Watched) -> None:
    watched.pods.failed = [
        Evidence(
            witness=Witness.CONTAINER, reason="OOMKilled", exit_code=137, pod=POD, container="main", step="x"
        )
    ]
    run = await _fail(watched, _task("train", RuntimeState.FAILED, pod_name=POD), log="epoch 1\nepoch 2\n")
    error = run["error"]
    assert (error["kind"], error["task"]) == ("out_of_memory", "train")
    assert error["message"] == "out of memory (OOMKilled, exit code 137)"
    assert error["log_tail"] == ["epoch 1", "epoch 2"]
    assert (run["causes"][0]["kind"], run["causes"][0]["task"]) == ("out_of_memory", "train")
    assert run["causes"][0]["waiting"] is False
    assert run["causes"][0]["message"] == "out of memory (OOMKilled, exit code 137)"


async def test_a_pod_that_belongs_to_no_task_yet_still_tells_why(watched: Watched) -> None:
    watched.pods.failed = [
        Evidence(
            witness=Witness.CONTAINER,
            reason="ImagePullBackOff",
            message='Back-off pulling image "acme/train:v9"',
            pod="flow-x7k2p-1",
            step="flow-x7k2p.root.nobody-knows.executor",
        ),
        Evidence(witness=Witness.LOG, message="starting\n", pod="flow-x7k2p-1", step="a.b.executor"),
    ]
    run = await _fail(watched)
    assert run["error"]["log_tail"] == ["starting"]
    assert run["error"]["kind"] == "image"
    assert "acme/train:v9" in run["error"]["message"]


async def test_a_bug_is_told_in_the_codes_own_words(watched: Watched) -> None:
    watched.pods.failed = [Evidence(witness=Witness.CONTAINER, reason="Error", exit_code=1, pod=POD)]
    log = 'Traceback (most recent call last):\n  File "/app/train.py", line 7, in fit\n    x\nKeyError: 1\n'
    run = await _fail(watched, _task("train", RuntimeState.FAILED, pod_name=POD), log=log)
    assert (run["error"]["message"], run["error"]["kind"]) == ("KeyError: 1 (train.py:7 in fit)", "code")
    assert run["causes"][0]["message"] == "KeyError: 1 (train.py:7 in fit)"


async def test_a_cluster_that_does_not_answer_holds_no_end_up(watched: Watched) -> None:
    watched.pods.error = KubeError("no answer")
    run = await _fail(watched, _task("train", RuntimeState.FAILED, pod_name=POD), log="ValueError: boom\n")
    assert run["over"]
    assert run["error"]["message"] == "ValueError: boom"


def test_evidence_finds_its_task() -> None:
    tasks = [
        _task("train", RuntimeState.FAILED, pod_name=POD),
        _task("etl", RuntimeState.RUNNING),
        Task(task_id="l0", name="loop", path="loop[0]", parent_task_id=None, state=RuntimeState.PENDING),
        Task(task_id="l1", name="loop", path="loop[1]", parent_task_id=None, state=RuntimeState.PENDING),
        _task("group", RuntimeState.RUNNING, kind="dag"),
    ]

    def task_of(**told: Any) -> str | None:
        return with_tasks([Evidence(witness=Witness.POD, **told)], tasks)[0].task

    assert task_of(pod=POD, step="flow-x7k2p.root.x.executor") == "train"
    # Argo's id of the node, which only ends like the pod's name.
    assert task_of(pod="flow-x7k2p-2277833670", step="?") == "train"
    assert task_of(pod="p", step="flow-x7k2p.root.etl.executor") == "etl"
    assert task_of(pod="p", step="flow-x7k2p.root.etl-driver") == "etl"
    assert task_of(pod="p", step="flow-x7k2p.root.for-loop-1.iteration(1:b).etl.executor") == "etl"
    # Two tasks of one name: nobody guesses which.
    assert task_of(pod="p", step="flow-x7k2p.root.loop.executor") is None
    assert task_of(pod="p", step="flow-x7k2p.root.group") is None
    assert task_of(task="told") == "told"
    assert task_of() is None
