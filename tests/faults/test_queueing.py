"""Row 21 of the failure matrix: 500 DAG runs are backfilled at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bridge.client.errors import BridgeError, ProblemError
from bridge.client.models import OriginModel, RunModel, SubmitRequest
from bridge.client.sync import BridgeClient
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import Service, Stage, eventually, on_both
from tests.support.busy_kfp import Busy, busy_kfp
from tests.support.fault_proxy import fault_proxy
from tests.support.local_backend import LocalBackend

EPOCHS = {"epochs": 1}
BACKFILL = 500
CAP = 60
SLOTS = 50
RUN_SECONDS = 0.4
START_WITHIN_SECONDS = 5.0


@contextmanager
def before_busy_kfp(stage: Stage) -> Iterator[tuple[Stage, Busy]]:
    """The stage with another backend, one of so many slots."""
    with (
        busy_kfp(stage.folder / "busy.log", slots=SLOTS, seconds=RUN_SECONDS) as busy,
        fault_proxy(busy.url) as proxy,
    ):
        backend = LocalBackend(busy.url, stage.folder, busy.process)
        yield replace(stage, backend=backend, proxy=proxy), busy


def dag_run(name: str, project: str) -> SubmitRequest:
    """A submission as the operator of a DAG run makes it."""
    origin = OriginModel(scheduler="airflow", dag_id=project, dag_run_id=name, task_id="train")
    return SubmitRequest(spec=trains(), project=project, display_name=name, arguments=EPOCHS, origin=origin)


def submit_all(service: Service, wishes: list[SubmitRequest]) -> list[RunModel]:
    """All of them at once, as so many tasks would, each with the patience that a task has; the runs."""
    with BridgeClient(service.process.url) as client, ThreadPoolExecutor(16) as threads:
        return list(threads.map(client.submit, wishes))


def keep_asking(service: Service, until: threading.Event) -> dict[str, float]:
    """Another project's submissions, one after the other; when each was accepted, by name."""
    asked: dict[str, float] = {}
    with BridgeClient(service.process.url) as client:
        while not until.wait(0.3):
            name = f"other {len(asked)}"
            client.submit(dag_run(name, "other"))
            asked[name] = time.time()
    return asked


@pytest.mark.timeout(480)
@on_both
def test_21_a_backfill_of_500_holds_its_cap_and_delays_nobody(stage: Stage) -> None:
    settings = {
        "KFBRIDGE_MAX_ACTIVE_RUNS": str(CAP),
        "KFBRIDGE_KFP_METADATA": "native",
        "KFBRIDGE_DATABASE_PATIENCE_SECONDS": "10",
        "KFBRIDGE_LEASE_SECONDS": "10",
        # As in production: the stage's own is shorter than these runs, and looks at each of them many times.
        "KFBRIDGE_KFP_TICK_SECONDS": "1",
    }
    with before_busy_kfp(stage) as (busy_stage, busy), busy_stage.serving(settings) as service:
        done = threading.Event()
        with ThreadPoolExecutor(1) as beside:
            others = beside.submit(keep_asking, service, done)
            try:
                runs = submit_all(service, [dag_run(f"backfill {n}", "backfill") for n in range(BACKFILL)])
                (queue,) = [one for one in service.status()["queues"] if one["project"] == "backfill"]
                assert queue["max_active_runs"] == CAP
                assert queue["waiting"] > 0
                last = service.run({"run_id": runs[-1].run_id})
                assert last["phase"] != "QUEUED" or last["waiting"].startswith("queued: "), last["waiting"]
                eventually(lambda: all_ended(busy, BACKFILL), "all have ended", seconds=400)
            finally:
                done.set()
            asked = others.result()
        came = busy.runs()
        most = busy.most_open()["backfill"]
        assert most <= CAP, f"{most} runs of the backfill at once"
        eventually(lambda: all(name in busy.runs() for name in asked), "the other project's runs were sent")
        waited = {name: busy.runs()[name][0] - at for name, at in asked.items()}
        assert len(waited) >= 5
        assert max(waited.values()) <= START_WITHIN_SECONDS, waited
        assert len([name for name in came if name.startswith("backfill ")]) == BACKFILL
        check_invariants(busy_stage, service)


def all_ended(busy: Busy, count: int) -> bool:
    """Whether so many runs of the backfill have come and ended."""
    ended = [name for name, times in busy.runs().items() if name.startswith("backfill ") and len(times) == 3]
    return len(ended) == count


@on_both
def test_21_a_full_queue_is_waited_for_and_nothing_is_lost(stage: Stage) -> None:
    full = {
        "KFBRIDGE_MAX_ACTIVE_RUNS": "1",
        "KFBRIDGE_MAX_QUEUED_RUNS": "1",
        "KFBRIDGE_MAX_QUEUED_RUNS_OVERALL": "2",
    }
    go = stage.folder / "go"
    with stage.serving(full) as service:
        running = service.wait(service.submit(waits(go), key="running"), state="RUNNING")
        service.submit(trains(), key="queued", arguments=EPOCHS)
        refused = service.post(trains(), key="late", arguments=EPOCHS)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:kfbridge:problem:queue-full")
        assert int(refused.headers["retry-after"]) >= 1
        service.submit(trains(), key="other", arguments=EPOCHS, project="other")
        service.wait(service.submit(trains(), key="other", arguments=EPOCHS, project="other"), over=True)
        # Without patience it is told at once; with it, the client comes again as it was asked to.
        wish = SubmitRequest(spec=trains(), arguments=EPOCHS)
        with (
            BridgeClient(service.process.url, patience_seconds=0) as hasty,
            pytest.raises(ProblemError) as told,
        ):
            hasty.submit(wish, service.key("late"))
        assert (told.value.slug, told.value.transient) == ("queue-full", True)
        told_of: list[float] = []

        def on_trouble(error: BridgeError, pause: float) -> None:
            told_of.append(pause)
            go.touch()

        with BridgeClient(service.process.url, on_trouble=on_trouble) as patient:
            accepted = patient.submit(wish, service.key("late"))
        assert told_of, "it had to wait"
        assert min(told_of) >= 5
        for run in (running, service.current("queued"), {"run_id": accepted.run_id}):
            assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, service)
