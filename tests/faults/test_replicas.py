"""Rows 11 and 12 of the failure matrix: clocks that differ, and several processes of which one is killed."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from bridge.lineage.columns import database_time
from bridge.lineage.database import Database
from bridge.lineage.records import Duty
from bridge.lineage.tables import DUTIES, LEASES, RUNS
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import SHORT_GRACE, Service, Stage, eventually, on_both, on_postgresql
from tests.support.fault_proxy import hold

EPOCHS = {"epochs": 1}
HOUR = 3600.0
POST_RUN = ("POST", r"/apis/v2beta1/runs$")
LEASE_SECONDS = 2.0
TIMEOUT_SECONDS = 4.0
# What a process needs to notice and to do it, beyond the lease.
SLACK_SECONDS = 8.0


def follow_fences(stage: Stage) -> dict[UUID, int]:
    """How often each run was claimed to be sent."""
    statement = (
        select(RUNS.c.run_id, DUTIES.c.fence)
        .join(DUTIES, DUTIES.c.run == RUNS.c.id)
        .where(DUTIES.c.duty == Duty.FOLLOW.value)
    )
    with closing(Database(stage.database_url)) as database:
        rows = database.read(lambda s: s.execute(statement).all())
    return {row.run_id: row.fence for row in rows}


def holders(stage: Stage) -> list[str]:
    """Who holds a claim now, once for each."""
    statement = select(DUTIES.c.holder).where(DUTIES.c.lease_until > database_time())
    with closing(Database(stage.database_url)) as database:
        return database.read(lambda s: list(s.scalars(statement)))


def holds(service: Service, holder: str) -> bool:
    """Whether a claim's holder is this process."""
    return holder.split(":")[1] == str(service.process.pid)


@on_postgresql
def test_11_clocks_two_hours_apart_make_no_double_claim(stage: Stage) -> None:
    patient = {"KFBRIDGE_KFP_TIMEOUT_SECONDS": "60", "KFBRIDGE_LEASE_SECONDS": "20"}
    gates = [stage.proxy.gate() for _ in range(3)]
    for gate in gates:
        stage.proxy.when(*POST_RUN, hold(gate))
    began = datetime.now(UTC)
    with (
        stage.serving(patient, name="ahead", clock_seconds=HOUR) as ahead,
        stage.serving(patient, name="behind", clock_seconds=-HOUR) as behind,
    ):
        replicas = cycle((ahead, behind))
        keys = [f"clock-{number}" for number in range(8)]
        accepted = [
            service.post(trains(), key=f"{number}", arguments=EPOCHS, display_name=keys[number]).json()
            for number, service in zip(range(8), replicas, strict=False)
        ]
        for gate in gates:
            gate.wait_reached()

        # Three claims are held by POSTs without an answer; everything else is done meanwhile.
        def over() -> list[Any]:
            return [run for run in accepted if behind.run(run)["over"]]

        eventually(lambda: len(over()) == len(accepted) - len(gates), "the others are done")
        for gate in gates:
            gate.open()
        done = [ahead.wait(run, over=True) for run in accepted]
        assert {(run["state"], run["attempt"]) for run in done} == {("SUCCEEDED", 1)}
        assert set(follow_fences(stage).values()) == {1}
        for service in (ahead, behind):
            assert "claim lost" not in service.log
        # What is ordered by time is ordered by the database's.
        listed = ahead.client.get("/api/v1/runs").json()["items"]
        assert [run["display_name"] for run in reversed(listed)] == keys
        for run in done:
            for name in ("created_at", "submitted_at", "finished_at"):
                moment = datetime.fromisoformat(run[name])
                assert abs(moment - began) < timedelta(seconds=HOUR / 2), f"{name} is {moment}"
        with closing(Database(stage.database_url)) as database:
            lease = database.read(
                lambda s: s.execute(select(LEASES).where(LEASES.c.name == "track:default")).one()
            )
        assert lease.fence == 1, "the lead changed hands while its holder lived"
        check_invariants(stage, behind)


@on_both
def test_11_a_successor_with_another_clock_takes_over(stage: Stage) -> None:
    with stage.serving(crash_at="submit.after_post", clock_seconds=HOUR) as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        service.process.process.wait(30)
    began = time.monotonic()
    with stage.serving(clock_seconds=-HOUR) as service:
        done = service.wait(run, over=True)
        assert time.monotonic() - began < LEASE_SECONDS + TIMEOUT_SECONDS + SLACK_SECONDS
        assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1)
        check_invariants(stage, service)


@on_postgresql
def test_12_of_two_replicas_one_is_killed_under_load(stage: Stage) -> None:
    gate = stage.proxy.gate()
    names = [f"load-{number}" for number in range(16)]
    with (
        stage.serving(SHORT_GRACE, name="one") as one,
        stage.serving(SHORT_GRACE, name="two") as two,
        ThreadPoolExecutor(4) as threads,
    ):

        def submit(number: int) -> str:
            """As a caller does: at whichever replica answers, with the same key."""
            for service in cycle((one, two) if number % 2 else (two, one)):
                try:
                    answer = service.post(trains(), key=f"{one.tag}-{names[number]}", arguments=EPOCHS)
                except httpx.HTTPError:
                    continue
                assert answer.status_code == 202, answer.text
                return str(answer.json()["run_id"])
            raise AssertionError("unreachable")

        two.tag = one.tag
        first = [submit(number) for number in range(6)]
        for number in range(6):
            one.succeeds(f"{one.tag}-{names[number]}")
        # The next POST is held up: whoever sent it holds a claim, and is killed with it.
        stage.proxy.when(*POST_RUN, hold(gate))
        rest = [threads.submit(submit, number) for number in range(6, len(names))]
        gate.wait_reached()
        held = eventually(lambda: holders(stage), "a claim is held")
        victim, other = (one, two) if any(holds(one, holder) for holder in held) else (two, one)
        victim.process.stop(signal.SIGKILL)
        killed = time.monotonic()
        gate.open()
        eventually(
            lambda: not any(holds(victim, holder) for holder in holders(stage)),
            "nothing is held by the dead one",
            seconds=LEASE_SECONDS + TIMEOUT_SECONDS + SLACK_SECONDS,
        )
        took = time.monotonic() - killed
        ids = first + [future.result() for future in rest]
        assert len(set(ids)) == len(names)
        for name in names:
            assert other.succeeds(f"{one.tag}-{name}")["attempt"] <= 2
        assert took < LEASE_SECONDS + TIMEOUT_SECONDS + SLACK_SECONDS
        check_invariants(stage, other)


def test_12_a_second_process_of_a_sqlite_database_waits_and_takes_over(stage: Stage) -> None:
    go = stage.folder / "go"
    with ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        first = stack.enter_context(stage.serving(name="first"))
        run = first.wait(first.submit(waits(go), key="k"), state="RUNNING")
        coming = threads.submit(stack.enter_context, stage.serving(name="second"))
        log = stage.folder / "second" / "service.log"
        eventually(
            lambda: log.exists() and "waiting for the database" in log.read_text(), "the second one waits"
        )
        assert not coming.done()
        first.process.stop(signal.SIGKILL)
        killed = time.monotonic()
        second = coming.result(60)
        assert time.monotonic() - killed < SLACK_SECONDS
        go.touch()
        assert second.wait(run, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, second)
