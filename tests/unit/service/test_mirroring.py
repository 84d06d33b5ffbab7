"""What is copied of a run, when callers are told, and what the gate says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import Session

from bridge.client.lineage import LineageGraphModel
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunError, RunMirror, Task
from bridge.domain.states import MirrorState, RuntimeState
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metadata import Changes
from bridge.lineage import leases
from bridge.lineage.database import Database
from bridge.lineage.records import Claim, Duty, Fence
from bridge.service.workers.cause import MAX_LOG_BYTES, failed_tasks, tail_of
from bridge.service.workers.ending import End, write_ends
from tests.support.fake_kfp import EPOCH
from tests.unit.service.harness import Harness, harness, mirror_of


async def test_tasks_are_mirrored_while_the_run_goes_on(service: Harness) -> None:
    run = await service.submitted()
    kfp_run_id = UUID(run["kfp_run_id"])
    service.kfp.start(kfp_run_id)
    await service.sweep()
    await service.mirror()
    service.kfp.mirrors[kfp_run_id] = mirror_of("RUNNING")
    service.kfp.changed[kfp_run_id] = 10**15
    await service.watch.step()
    await service.mirror()
    tasks = (await service.client.get(f"/api/v1/runs/{run['run_id']}/tasks")).json()["items"]
    assert [(task["path"], task["state"]) for task in tasks] == [("", "RUNNING"), ("train", "RUNNING")]
    assert (await service.run(run["run_id"]))["mirror"] == "PARTIAL"


async def going_on(service: Harness, count: int) -> list[dict[str, Any]]:
    """So many runs that go on, each with tasks that the metadata has news of."""
    submitted = [await service.submitted(f"k{number}") for number in range(count)]
    for run in submitted:
        service.kfp.start(UUID(run["kfp_run_id"]))
    await service.sweep()
    await service.mirror()
    for run in submitted:
        service.kfp.mirrors[UUID(run["kfp_run_id"])] = mirror_of("RUNNING")
        service.kfp.changed[UUID(run["kfp_run_id"])] = 10**15
    await service.watch.step()
    return submitted


async def test_one_of_many_that_ended_meanwhile_is_recorded_as_ended(service: Harness) -> None:
    first, *others = await going_on(service, 5)
    service.kfp.finish(first["kfp_run_id"])
    await service.mirror_worker.step()
    await service.mirror_worker.drain()
    told = await service.run(first["run_id"])
    assert (told["phase"], told["over"], told["mirror"]) == ("ENDED", False, "PARTIAL")
    assert [(await service.run(run["run_id"]))["mirror"] for run in others] == ["PARTIAL"] * 4
    await service.mirror()
    assert (await service.run(first["run_id"]))["mirror"] == "COMPLETE"


async def test_of_many_that_go_on_one_that_cannot_be_stored_is_no_matter_of_the_others(
    service: Harness,
) -> None:
    first, *others = await going_on(service, 4)
    too_long = replace(mirror_of("RUNNING").tasks[0], execution_id=2**70)
    service.kfp.mirrors[UUID(first["kfp_run_id"])] = RunMirror(tasks=(too_long,))
    await service.mirror_worker.step()
    await service.mirror_worker.drain()
    stored = {run.run_id: run for run in await service.stored()}
    assert stored[UUID(first["run_id"])].mirror is MirrorState.NONE
    assert {stored[UUID(run["run_id"])].mirror for run in others} == {MirrorState.PARTIAL}


async def test_what_did_not_change_is_not_read_again(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    await service.mirror()
    reader: Any = service.backend.reader
    before = reader.readings
    for _ in range(3):
        await service.watch.step()
        await service.mirror()
    assert reader.readings == before


async def test_callers_wait_for_the_last_mirror_within_patience(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.metadata_down = True
    service.kfp.finish(run["kfp_run_id"])
    await service.follow()
    waiting = await service.run(run["run_id"])
    assert (waiting["state"], waiting["over"], waiting["mirror"]) == ("SUCCEEDED", False, "PARTIAL")
    service.kfp.metadata_down = False
    service.kfp.mirrors[UUID(run["kfp_run_id"])] = mirror_of(metrics={"evaluate.auc": 0.8})
    await service.make_due()
    await service.mirror()
    done = await service.run(run["run_id"])
    assert (done["over"], done["mirror"]) == (True, "COMPLETE")


async def test_patience_ends_and_the_mirror_is_still_owed(database: Database) -> None:
    async with harness(database, mirror_patience_seconds=0) as service:
        run = await service.submitted()
        service.kfp.metadata_down = True
        service.kfp.finish(run["kfp_run_id"])
        await service.follow()
        told = await service.run(run["run_id"])
        assert (told["over"], told["mirror"]) == (True, "PARTIAL")
        owed = await service.context.store.read(lambda s: leases.next_due(s, Duty.MIRROR))
        assert owed is not None


async def test_metadata_that_was_collected_is_expired_and_not_empty(service: Harness) -> None:
    foreign = service.kfp.add_foreign_run()
    await service.sweep()
    service.kfp.finish(foreign, seconds_ago=86_400)
    await service.follow()
    (found,) = await service.stored()
    assert (found.mirror.value, found.settled_at is not None) == ("EXPIRED", True)


async def test_a_failed_run_names_its_task_and_shows_its_last_lines(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.logs["pod-train"] = "begin\nTraceback (most recent call last):\nValueError: no flights\n"
    ended = await service.ended(run, "FAILED")
    assert ended["error"]["task"] == "train"
    assert ended["error"]["message"] == "ValueError: no flights"
    assert ended["error"]["log_tail"][-1] == "ValueError: no flights"
    tasks = (await service.client.get(f"/api/v1/runs/{run['run_id']}/tasks")).json()["items"]
    assert tasks[1]["error"]["log_tail"][0] == "begin"
    log = await service.client.get(f"/api/v1/runs/{run['run_id']}/logs")
    assert log.text == service.kfp.logs["pod-train"]
    service.kfp.logs.clear()
    kept = await service.client.get(f"/api/v1/runs/{run['run_id']}/logs", params={"task": "train"})
    assert kept.text.endswith("ValueError: no flights\n")
    missing = await service.client.get(f"/api/v1/runs/{run['run_id']}/logs", params={"task": "nope"})
    assert missing.status_code == 404
    assert "train" in missing.json()["detail"]


async def test_a_failed_run_without_tasks_keeps_the_backend_s_words(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.finish(run["kfp_run_id"], "FAILED", error="no quota left")
    service.kfp.mirrors[UUID(run["kfp_run_id"])] = RunMirror()
    await service.follow()
    assert (await service.run(run["run_id"]))["error"]["message"] == "no quota left"


async def test_artifacts_are_shown_with_their_uses_and_content(service: Harness, tmp_path: Any) -> None:
    model = tmp_path / "model.txt"
    model.write_text("a model")
    use = ArtifactUse(task_id="2", task_path="train", key="model", direction=Direction.OUTPUT)
    made = Artifact(backend_artifact_id="7", type="system.Model", uri=model.as_uri(), name="m", uses=(use,))
    run = await service.submitted()
    await service.ended(run, mirror=replace(mirror_of(), artifacts=(made,)))
    (shown,) = (await service.client.get(f"/api/v1/runs/{run['run_id']}/artifacts")).json()["items"]
    assert (shown["uri"], shown["uses"][0]["key"]) == (model.as_uri(), "model")
    one = await service.client.get(f"/api/v1/artifacts/{shown['artifact_id']}")
    assert one.json()["uses"][0]["run_id"] == run["run_id"]
    graph = (await service.client.get(f"/api/v1/artifacts/{shown['artifact_id']}/lineage")).json()
    assert LineageGraphModel.model_validate(graph).nodes[0].artifact_id == UUID(shown["artifact_id"])
    assert {node["kind"] for node in graph["nodes"]} >= {"artifact", "task", "run"}
    node = next(node for node in graph["nodes"] if node["kind"] == "run")
    again = await service.client.get("/api/v1/lineage", params={"node": node["id"], "direction": "down"})
    assert shown["artifact_id"] in {node.get("artifact_id") for node in again.json()["nodes"]}
    content = await service.client.get(f"/api/v1/artifacts/{shown['artifact_id']}/content")
    assert (content.text, content.headers["content-type"]) == ("a model", "text/plain; charset=utf-8")
    assert content.headers["content-security-policy"].startswith("sandbox")
    listed = (await service.client.get("/api/v1/artifacts", params={"type": "system.Model"})).json()["items"]
    assert [(one["artifact_id"], one["key"], one["run"]["run_id"]) for one in listed] == [
        (shown["artifact_id"], "model", run["run_id"])
    ]
    bad = await service.client.get("/api/v1/artifacts", params={"cursor": "x"})
    assert bad.status_code == 422
    service.context.settings = service.context.settings.model_copy(
        update={"content_roots": (tmp_path / "elsewhere",)}
    )
    outside = await service.client.get(f"/api/v1/artifacts/{shown['artifact_id']}/content")
    assert "content_roots" in outside.json()["detail"]
    service.context.settings = service.context.settings.model_copy(update={"content_roots": (tmp_path,)})
    model.unlink()
    gone = await service.client.get(f"/api/v1/artifacts/{shown['artifact_id']}/content")
    assert gone.status_code == 404


async def judged(service: Harness, key: str, auc: float) -> dict[str, Any]:
    run = await service.submitted(key, gate="evaluate.auc >= last_good - 0.01")
    return await service.ended(run, mirror=mirror_of(metrics={"evaluate.auc": auc}))


async def test_the_gate_compares_with_the_last_good_run(service: Harness) -> None:
    first = await judged(service, "1", 0.80)
    assert (first["good"], first["gate"]["passed"]) == (True, True)
    assert first["gate"]["reason"] == "no good run yet"
    worse = await judged(service, "2", 0.70)
    assert (worse["state"], worse["good"], worse["gate"]["passed"]) == ("SUCCEEDED", False, False)
    assert worse["gate"]["last_good_run"] == first["run_id"]
    assert worse["gate"]["numbers"] == {"evaluate.auc": 0.7, "last_good.evaluate.auc": 0.8}
    third = await judged(service, "3", 0.795)
    assert third["good"] is True
    assert third["gate"]["last_good_run"] == first["run_id"]


async def test_a_gate_is_not_judged_for_a_run_that_failed(service: Harness) -> None:
    run = await service.submitted(gate="evaluate.auc > 0.5")
    ended = await service.ended(run, "FAILED")
    assert ended["gate"]["passed"] is None
    assert ended["gate"]["reason"] == "the run ended FAILED"


async def test_a_gate_without_its_metric_is_not_judged_and_not_good(service: Harness) -> None:
    run = await service.submitted(gate="evaluate.auc > 0.5")
    ended = await service.ended(run)
    assert (ended["gate"]["passed"], ended["good"]) == (None, False)
    assert "evaluate.auc" in ended["gate"]["reason"]


async def test_a_run_that_waits_for_its_verdict_is_not_yet_good(service: Harness) -> None:
    waiting = await service.submitted("1", gate="evaluate.auc > 0.99")
    service.kfp.metadata_down = True
    service.kfp.finish(waiting["kfp_run_id"])
    await service.follow()
    assert (await service.run(waiting["run_id"]))["good"] is False
    service.kfp.metadata_down = False
    second = await judged(service, "2", 0.5)
    assert second["gate"]["last_good_run"] is None


def task(task_id: str, parent: str | None, path: str, state: str = "FAILED") -> Task:
    return Task(task_id=task_id, name=path, path=path, parent_task_id=parent, state=RuntimeState(state))


def test_the_cause_is_the_deepest_failed_task() -> None:
    tasks = [
        task("1", None, ""),
        task("2", "1", "loop"),
        task("3", "2", "loop.train"),
        task("4", "2", "loop.ok", "SUCCEEDED"),
    ]
    assert [one.path for one in failed_tasks(tasks)] == ["loop.train"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("a\nb\n\n", ("a", "b")),
        ("\n".join(str(n) for n in range(60)), tuple(str(n) for n in range(10, 60))),
        ("nul\x00", ("nul\ufffd",)),
    ],
)
def test_a_tail_is_bounded(text: str, expected: tuple[str, ...]) -> None:
    assert tail_of(text) == expected


def test_a_tail_of_long_lines_is_bounded_in_bytes() -> None:
    tail = tail_of("\n".join("x" * 3000 for _ in range(40)))
    assert sum(len(line) for line in tail) <= MAX_LOG_BYTES


def test_errors_keep_what_the_backend_said() -> None:
    told = replace(task("3", None, "train"), error=RunError(message="OOMKilled", code="9"))
    from bridge.service.workers.cause import errors_of_tasks

    assert errors_of_tasks([told], {"3": ("last",)})["3"] == RunError(
        message="OOMKilled", code="9", task="train", log_tail=("last",)
    )


class Meanwhile:
    """A reader of metadata while whose reading something else happens."""

    def __init__(self, service: Harness, happens: Callable[[], Awaitable[None]]) -> None:
        self._reader, self._happens = service.backend.reader, happens

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        happens, self._happens = self._happens, _nothing
        try:
            return await self._reader.read_run(kfp_run_id, tasks)
        finally:
            await happens()

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        return {}

    async def changed_since(self, since_ms: int) -> Changes | None:
        return await self._reader.changed_since(since_ms)


async def _nothing() -> None:
    return None


async def test_callers_are_not_given_up_who_wait_for_a_run_that_lives_again(database: Database) -> None:
    async with harness(database, mirror_patience_seconds=0) as service:
        run = await service.submitted()
        service.kfp.finish(run["kfp_run_id"], "FAILED", error="no flights")
        await service.sweep()

        async def revive() -> None:
            service.kfp.runs[run["kfp_run_id"]].update(state="RUNNING", finished_at=EPOCH)
            await service.sweep()

        service.kfp.metadata_down = True
        service.backend.reader = Meanwhile(service, revive)
        await service.mirror_worker.step()
        await service.mirror_worker.drain()
        lives = await service.run(run["run_id"])
        assert (lives["phase"], lives["over"], lives["error"]) == ("ACTIVE", False, None)
        stored = (await service.stored())[0]
        assert stored.settled_at is None


async def test_a_mirror_of_an_earlier_end_does_not_settle_the_next(service: Harness) -> None:
    run = await service.submitted()
    kfp_run_id = UUID(run["kfp_run_id"])
    service.kfp.mirrors[kfp_run_id] = mirror_of("FAILED")
    service.kfp.finish(kfp_run_id, "FAILED", seconds_ago=60)
    await service.sweep()

    async def end_anew() -> None:
        # Retried at the backend, it succeeded before anybody looked.
        service.kfp.mirrors[kfp_run_id] = mirror_of(metrics={"evaluate.auc": 0.8})
        service.kfp.finish(kfp_run_id)
        await service.sweep()

    service.backend.reader = Meanwhile(service, end_anew)
    await service.mirror_worker.step()
    await service.mirror_worker.drain()
    between = await service.run(run["run_id"])
    assert (between["state"], between["over"], between["mirror"]) == ("SUCCEEDED", False, "PARTIAL")
    await service.mirror()
    done = await service.run(run["run_id"])
    assert (done["over"], done["mirror"]) == (True, "COMPLETE")
    metrics = (await service.client.get(f"/api/v1/runs/{run['run_id']}/metrics")).json()
    assert [metric["name"] for metric in metrics["scalars"]] == ["auc"]


async def test_a_mirror_that_cannot_be_stored_is_no_matter_of_the_others(service: Harness) -> None:
    submitted = [await service.submitted(f"k{number}") for number in range(4)]
    for number, run in enumerate(submitted):
        told = mirror_of(metrics={"train.auc": 0.5})
        if number == 1:
            too_large = tuple(replace(task, execution_id=2**80) for task in told.tasks)
            told = replace(told, tasks=too_large)
        service.kfp.mirrors[UUID(run["kfp_run_id"])] = told
        service.kfp.finish(run["kfp_run_id"])
    await service.sweep()
    await service.mirror_worker.step()
    await service.mirror_worker.drain()
    found = [await service.run(run["run_id"]) for run in submitted]
    assert [(run["over"], run["mirror"]) for run in found] == [
        (True, "COMPLETE"),
        (False, "PARTIAL"),
        (True, "COMPLETE"),
        (True, "COMPLETE"),
    ]


async def test_of_mirrors_stored_together_one_whose_claim_was_lost_writes_nothing(service: Harness) -> None:
    for number in range(3):
        run = await service.submitted(f"k{number}")
        service.kfp.finish(run["kfp_run_id"])
    await service.sweep()

    def claimed(session: Session) -> list[Claim]:
        return leases.claim(session, worker="one", duty=Duty.MIRROR, limit=9, lease_seconds=60)

    claims = await service.context.store.transact(claimed)
    late, *held = claims
    ends = [End(claim, mirror_of(), MirrorState.COMPLETE, {}, ()) for claim in held]
    outdated = replace(late, fence=Fence(Duty.MIRROR, late.fence.number - 1))
    ends.insert(1, End(outdated, mirror_of(), MirrorState.COMPLETE, {}, ()))
    written = await service.context.store.transact(lambda s: write_ends(s, ends))
    assert set(written) == {claim.run.run_id for claim in held}
    found = {run.run_id: run.settled_at is not None for run in await service.stored()}
    assert found == {late.run.run_id: False} | {claim.run.run_id: True for claim in held}
    tasks = await service.client.get(f"/api/v1/runs/{late.run.run_id}/tasks")
    assert tasks.json()["items"] == []
