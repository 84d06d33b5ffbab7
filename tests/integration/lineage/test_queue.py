"""The queue: places are given in turn, never beyond a cap, and never twice."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from bridge.domain.fairness import Share
from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.database import Database
from bridge.lineage.leases import claim, release
from bridge.lineage.queue import (
    _WAITING_PROJECTS,
    active_runs,
    join_queue,
    lengths,
    place,
    positions,
    queues,
)
from bridge.lineage.records import Claim
from bridge.lineage.runs import add_found_run, change_run, get_run, request_cancel
from tests.support.lineage_samples import T0, a_run, a_submission, submit

CAP = 5


def shares(project: str) -> Share:
    return Share(CAP)


def queued(database: Database, count: int, project: str = "default", *, after: float = 0) -> list[Run]:
    """That many submissions of the project in the queue, a second apart, oldest first."""

    def write(session: Any) -> list[Run]:
        moments = [T0 + timedelta(seconds=after + number) for number in range(count)]
        return [submit(session, a_submission(project=project, created_at=at), queued_at=at) for at in moments]

    return database.transact(write)


def placed(database: Database, worker: str = "w1", **more: Any) -> list[Claim]:
    """One call of ``place`` in a transaction."""
    options = {"backend": "local", "share_of": shares, "limit": 50, **more}
    return database.transact(lambda s: place(s, worker=worker, **options))


def projects(claims: list[Claim]) -> Counter[str]:
    return Counter(one.run.project for one in claims)


def test_a_run_in_the_queue_is_claimed_with_its_place_alone(database: Database) -> None:
    (run,) = queued(database, 1)
    assert database.transact(lambda s: claim(s, worker="w1")) == []
    (mine,) = placed(database)
    assert (mine.run.run_id, mine.run.queued_at) == (run.run_id, None)
    assert mine.run.placed_at is not None
    stored = database.read(lambda s: get_run(s, run.run_id))
    # Neither is news to anybody who follows the run.
    assert stored == mine.run
    assert mine.run.version == run.version
    assert placed(database) == []
    database.transact(lambda s: change_run(s, run.run_id, fence=mine.fence, phase=RunPhase.SUBMITTING))
    database.transact(lambda s: release(s, mine))


def test_the_oldest_are_first_and_the_cap_holds_until_an_end(database: Database) -> None:
    runs = queued(database, 8)
    claims = placed(database)
    assert [one.run.run_id for one in claims] == [run.run_id for run in runs[:CAP]]
    assert placed(database) == []
    database.transact(
        lambda s: change_run(s, runs[0].run_id, phase=RunPhase.ENDED, state=RuntimeState.SUCCEEDED)
    )
    (following,) = placed(database)
    assert following.run.run_id == runs[CAP].run_id


def test_another_project_passes_a_backfill_by(database: Database) -> None:
    queued(database, 50, "backfill")
    assert projects(placed(database, limit=3)) == {"backfill": 3}
    queued(database, 1, "other", after=1000)
    assert projects(placed(database, limit=1)) == {"other": 1}
    queued(database, 20, "third", after=2000)
    assert projects(placed(database)) == {"backfill": 2, "third": CAP}


def test_a_backends_own_cap_is_for_all_projects(database: Database) -> None:
    queued(database, 10, "a")
    queued(database, 10, "b", after=100)
    assert projects(placed(database, max_active_runs=6)) == {"a": 3, "b": 3}
    assert placed(database, max_active_runs=6) == []
    # Of another backend nothing is known here.
    assert placed(database, backend="elsewhere") == []


def test_found_runs_need_no_place(database: Database) -> None:
    found = [a_run(phase=RunPhase.ACTIVE, state=RuntimeState.RUNNING) for _ in range(CAP)]
    database.transact(lambda s: [add_found_run(s, run) for run in found])
    queued(database, 3)
    assert len(placed(database)) == 3


def test_a_cancel_reaches_a_run_in_the_queue(database: Database) -> None:
    run, other = queued(database, 2)
    database.transact(lambda s: request_cancel(s, run.run_id, at=T0))
    (mine,) = database.transact(lambda s: claim(s, worker="w1"))
    assert mine.run.run_id == run.run_id
    # While it is claimed to be withdrawn it is given no place.
    assert [one.run.run_id for one in placed(database)] == [other.run_id]
    database.transact(lambda s: change_run(s, run.run_id, fence=mine.fence, phase=RunPhase.ENDED))
    assert database.read(lengths) == {}


def test_a_run_that_waited_for_another_joins_at_its_age(database: Database) -> None:
    early = database.transact(lambda s: submit(s, a_submission(created_at=T0 - timedelta(hours=1))))
    queued(database, 3)
    database.transact(lambda s: join_queue(s, early.run_id))
    assert placed(database, limit=1)[0].run.run_id == early.run_id


def test_replicas_never_give_one_place_twice(database: Database, other: Database) -> None:
    for number in range(3):
        queued(database, 40, f"p{number}", after=number * 100)
    start = threading.Barrier(4)

    def work(number: int) -> list[Claim]:
        start.wait(timeout=30)
        got: list[Claim] = []
        for _ in range(10):
            got += placed((database, other)[number % 2], f"w{number}", limit=2, max_active_runs=12)
        return got

    with ThreadPoolExecutor(4) as pool:
        claims = [one for batch in pool.map(work, range(4)) for one in batch]
    assert len({one.run.run_id for one in claims}) == len(claims) == 12
    assert projects(claims) == {"p0": 4, "p1": 4, "p2": 4}
    assert database.read(lambda s: active_runs(s, "local")) == {"p0": 4, "p1": 4, "p2": 4}


def test_what_is_told_of_the_queue(database: Database) -> None:
    runs = queued(database, 8, "a")
    queued(database, 1, "b", after=50)
    placed(database, limit=CAP)
    told = {one.project: one for one in database.read(lambda s: queues(s, "local"))}
    assert (told["a"].waiting, told["a"].active) == (4, 4)
    assert told["a"].oldest == runs[4].created_at
    assert (told["b"].waiting, told["b"].active, told["b"].oldest) == (0, 1, None)
    assert database.read(lengths) == {"a": 4}
    stored = [
        run
        for run in runs
        if (found := database.read(lambda s, r=run: get_run(s, r.run_id))) and found.queued_at
    ]  # type: ignore[misc]
    before = database.read(lambda s: positions(s, stored))
    assert before == {runs[4].run_id: 0, runs[5].run_id: 1, runs[6].run_id: 2, runs[7].run_id: 3}


def test_finding_the_waiting_projects_reads_no_queue(database: Database) -> None:
    for project in ("a", "b"):
        queued(database, 300, project)
    database.transact(lambda s: s.execute(text("ANALYZE runs")))
    explain = "EXPLAIN " if database.dialect == "postgresql" else "EXPLAIN QUERY PLAN "
    statement = text(explain + str(_WAITING_PROJECTS))
    plan = database.read(lambda s: [str(row) for row in s.execute(statement, {"backend": "local"})])
    indexed = [line for line in plan if "ix_runs_queue" in line]
    assert len(indexed) >= 2, plan
    assert not any("ix_runs_open" in line or "Sort" in line or "B-TREE" in line for line in plan), plan
