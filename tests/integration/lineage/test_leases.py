"""Claims: never two workers at one run, never a write by one that lost its claim."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import waiters
from bridge.lineage.database import Database, now
from bridge.lineage.errors import FencedOut, HeldByAnother, NotStored
from bridge.lineage.leases import (
    backlog,
    claim,
    drop_database,
    drop_lease,
    extend,
    next_due,
    release,
    take_database,
    take_lease,
)
from bridge.lineage.mirror import store_mirror
from bridge.lineage.records import Claim, Duty
from bridge.lineage.runs import change_run, get_run, request_cancel
from tests.support.lineage_samples import T0, a_mirror, end, many_runs, submit


def claimed(database: Database, worker: str = "w1", **narrow: object) -> list[Claim]:
    """One call of ``claim`` in a transaction."""
    return database.transact(lambda session: claim(session, worker=worker, **narrow))  # type: ignore[arg-type]


def test_a_new_submission_is_due_at_once_and_for_one_worker(database: Database, other: Database) -> None:
    run = database.transact(submit)
    (mine,) = claimed(database)
    assert mine.run == run
    assert mine.fence.duty is Duty.FOLLOW
    assert claimed(other, "w2") == []
    assert claimed(database) == []


def test_workers_get_disjoint_runs(database: Database, other: Database) -> None:
    runs = database.transact(lambda session: many_runs(session, 120))
    start = threading.Barrier(4)

    def work(number: int) -> list[Claim]:
        start.wait(timeout=30)
        got: list[Claim] = []
        while batch := claimed((database, other)[number % 2], f"w{number}", limit=7):
            got += batch
        return got

    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(work, range(4)))
    taken = [one.run.run_id for batch in batches for one in batch]
    assert len(taken) == len(set(taken))
    # A row that another worker was just locking is passed over, and may be left for the next call.
    taken += [one.run.run_id for one in claimed(database, limit=200)]
    assert sorted(taken) == sorted(run.run_id for run in runs)


def test_the_longest_due_come_first_and_backend_and_phase_narrow(database: Database) -> None:
    first, second, third = database.transact(lambda session: many_runs(session, 3))
    moment = database.read(now)

    def plan(session):  # type: ignore[no-untyped-def]
        change_run(session, first.run_id, due_at=moment - timedelta(seconds=1))
        change_run(session, second.run_id, due_at=moment - timedelta(seconds=9), phase=RunPhase.ACTIVE)
        change_run(session, third.run_id, due_at=moment - timedelta(seconds=5))

    database.transact(plan)
    assert claimed(database, backend="elsewhere") == []
    assert [one.run.run_id for one in claimed(database, phases=[RunPhase.ACTIVE])] == [second.run_id]
    assert [one.run.run_id for one in claimed(database, limit=1)] == [third.run_id]
    assert [one.run.run_id for one in claimed(database, backend="local")] == [first.run_id]


def test_what_is_due_later_is_claimed_later(database: Database) -> None:
    run = database.transact(submit)
    later = database.read(now) + timedelta(hours=1)
    (mine,) = claimed(database)
    assert database.transact(lambda session: release(session, mine, due_at=later, failures=2))
    assert claimed(database) == []
    assert database.read(lambda session: next_due(session, Duty.FOLLOW)) == later
    database.transact(lambda session: request_cancel(session, run.run_id, at=T0))
    (again,) = claimed(database)
    assert again.failures == 2
    assert again.fence.number == mine.fence.number + 1


def test_giving_back_without_a_time_means_not_until_asked(database: Database) -> None:
    database.transact(submit)
    (mine,) = claimed(database)
    database.transact(lambda session: release(session, mine))
    assert claimed(database) == []
    assert database.read(lambda session: backlog(session, Duty.FOLLOW)) == 0
    assert database.read(lambda session: next_due(session, Duty.FOLLOW)) is None


def test_a_wish_during_the_claim_survives_giving_it_back(database: Database) -> None:
    run = database.transact(submit)
    (mine,) = claimed(database)
    database.transact(lambda session: request_cancel(session, run.run_id, at=T0))
    assert claimed(database) == [], "it is still held"
    later = database.read(now) + timedelta(hours=1)
    database.transact(lambda session: release(session, mine, due_at=later))
    assert [one.run.run_id for one in claimed(database)] == [run.run_id]


def test_the_holders_own_time_is_kept_when_giving_back(database: Database) -> None:
    run = database.transact(submit)
    (mine,) = claimed(database)
    soon = database.read(now)
    database.transact(
        lambda session: change_run(
            session, run.run_id, fence=mine.fence, due_at=soon, phase=RunPhase.SUBMITTING
        )
    )
    database.transact(lambda session: release(session, mine))
    (again,) = claimed(database)
    assert again.run.phase is RunPhase.SUBMITTING


def test_a_lease_that_ran_out_goes_to_the_next_and_the_first_is_fenced_out(database: Database) -> None:
    run = database.transact(submit)
    (frozen,) = claimed(database, "frozen", lease_seconds=0.0)
    (fresh,) = claimed(database, "fresh")
    assert fresh.fence.number > frozen.fence.number

    def attempts():  # type: ignore[no-untyped-def]
        yield lambda session: change_run(session, run.run_id, fence=frozen.fence, state=RuntimeState.FAILED)
        yield lambda session: store_mirror(session, run.run_id, a_mirror(), fence=frozen.fence)
        yield lambda session: extend(session, frozen, 60)

    for attempt in attempts():
        with pytest.raises(FencedOut):
            database.transact(attempt)
    assert database.transact(lambda session: release(session, frozen)) is False
    assert database.read(lambda session: get_run(session, run.run_id)) == run
    changed = database.transact(
        lambda session: change_run(session, run.run_id, fence=fresh.fence, state=RuntimeState.RUNNING)
    )
    assert changed.state is RuntimeState.RUNNING


def test_an_extended_lease_is_not_given_away(database: Database) -> None:
    database.transact(submit)
    (mine,) = claimed(database, lease_seconds=0.0)
    longer = database.transact(lambda session: extend(session, mine, 60))
    assert longer.lease_until > mine.lease_until
    assert claimed(database, "w2") == []
    database.transact(lambda session: release(session, longer))
    with pytest.raises(FencedOut):
        database.transact(lambda session: extend(session, longer, 60))


def test_mirroring_is_a_duty_of_its_own(database: Database) -> None:
    run = database.transact(submit)
    (following,) = claimed(database)
    assert claimed(database, duty=Duty.MIRROR) == []
    moment = database.read(now)
    database.transact(
        lambda session: change_run(
            session, run.run_id, fence=following.fence, **end(run), mirror_due_at=moment, mirror_failures=1
        )
    )
    assert database.read(lambda session: backlog(session, Duty.MIRROR)) == 1
    assert database.read(lambda session: backlog(session, Duty.MIRROR, "elsewhere")) == 0
    (mirroring,) = claimed(database, "w2", duty=Duty.MIRROR)
    assert (mirroring.run.phase, mirroring.failures) == (RunPhase.ENDED, 1)
    database.transact(lambda session: store_mirror(session, run.run_id, a_mirror(), fence=mirroring.fence))
    database.transact(lambda session: release(session, mirroring))
    assert database.read(lambda session: backlog(session, Duty.MIRROR)) == 0


def test_a_named_lease_has_one_holder(database: Database) -> None:
    def take(holder: str, seconds: float = 60.0):  # type: ignore[no-untyped-def]
        return database.transact(
            lambda session: take_lease(session, "sequencer", holder=holder, lease_seconds=seconds)
        )

    first = take("a")
    assert take("b") is None
    extended = take("a", 0.0)
    assert extended.fence == first.fence
    second = take("b")
    assert second.fence > first.fence
    database.transact(lambda session: drop_lease(session, "sequencer", holder="a"))
    assert take("a") is None
    database.transact(lambda session: drop_lease(session, "sequencer", holder="b"))
    assert take("a").fence > second.fence


def test_sqlite_serves_one_process_and_postgresql_many(database: Database) -> None:
    def take(holder: str) -> None:
        database.transact(lambda session: take_database(session, holder=holder, lease_seconds=60))

    take("host-a pid 1")
    take("host-a pid 1")
    if database.dialect == "postgresql":
        take("host-b pid 2")
        return
    with pytest.raises(HeldByAnother, match=r"host-a pid 1.*PostgreSQL") as refused:
        take("host-b pid 2")
    assert refused.value.holder == "host-a pid 1"
    database.transact(lambda session: drop_database(session, holder="host-a pid 1"))
    take("host-b pid 2")


def test_the_next_process_of_sqlite_gets_at_once_what_a_dead_one_had_claimed(database: Database) -> None:
    if database.dialect == "postgresql":
        return  # several processes there: a claim of another may well be alive
    database.transact(submit)
    database.transact(lambda session: take_database(session, holder="first", lease_seconds=60))
    [before] = claimed(database, "first", lease_seconds=600.0)
    assert claimed(database, "first") == []
    database.transact(lambda session: drop_database(session, holder="first"))
    database.transact(lambda session: take_database(session, holder="second", lease_seconds=60))
    [after] = claimed(database, "second")
    assert after.run.run_id == before.run.run_id
    assert after.fence.number > before.fence.number


def test_a_waiter_is_expected_heard_of_and_forgotten(database: Database) -> None:
    silent, heard, forgotten, free = database.transact(lambda session: many_runs(session, 4))

    def promise(session):  # type: ignore[no-untyped-def]
        for run in (silent, heard, forgotten):
            waiters.expect(session, run.run_id, -1.0)
        waiters.forget(session, forgotten.run_id)
        asked = [heard.run_id, forgotten.run_id, free.run_id]
        return waiters.heard(session, asked, 300.0)

    assert database.transact(promise) == 1
    assert [one.run.run_id for one in claimed(database, duty=Duty.WAITER)] == [silent.run_id]
    due = database.read(lambda session: next_due(session, Duty.WAITER))
    assert due is not None
    assert timedelta(0) < due - database.read(now) <= timedelta(seconds=300)
    with pytest.raises(NotStored):
        database.transact(lambda session: waiters.expect(session, uuid4(), 1.0))
