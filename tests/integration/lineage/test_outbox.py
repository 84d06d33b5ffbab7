"""Events are numbered without gaps, in an order that no reader can fall behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.lineage.database import Database
from bridge.lineage.outbox import append, events_after, last_number, number_events
from tests.support.lineage_samples import some_uuid


def test_events_are_seen_once_they_are_numbered(database: Database) -> None:
    run = some_uuid(5)

    def write(session):  # type: ignore[no-untyped-def]
        append(session, "run.changed", run, {"state": "RUNNING"}, project="p", backend="b")
        append(session, "note", None, {})

    database.transact(write)
    assert database.read(lambda session: events_after(session, 0)) == []
    assert database.read(last_number) == 0
    assert database.transact(number_events) == 2
    assert database.transact(number_events) == 0
    first, second = database.read(lambda session: events_after(session, 0))
    assert (first.number, first.type, first.run_id, first.project, first.backend) == (
        1,
        "run.changed",
        run,
        "p",
        "b",
    )
    assert first.data == {"state": "RUNNING"}
    assert (second.number, second.run_id) == (2, None)
    assert database.read(lambda session: events_after(session, 1)) == [second]
    assert database.read(lambda session: events_after(session, 0, run_id=run)) == [first]
    assert database.read(last_number) == 2


def test_what_was_rolled_back_is_never_told(database: Database) -> None:
    class Undone(Exception):
        """What the work raises."""

    def write(session):  # type: ignore[no-untyped-def]
        append(session, "note", None, {})
        raise Undone

    with pytest.raises(Undone):
        database.transact(write)
    assert database.transact(number_events) == 0


def test_writers_and_sequencers_at_once_leave_no_gap(database: Database, other: Database) -> None:
    def write(number: int) -> None:
        database.transact(lambda session: append(session, "note", None, {"number": number}))

    def sequence(_: int) -> int:
        return other.transact(lambda session: number_events(session, limit=3))

    with ThreadPoolExecutor(6) as pool:
        writes = [pool.submit(write, number) for number in range(60)]
        sequenced = [pool.submit(sequence, number) for number in range(30)]
        numbered = sum(future.result(timeout=60) for future in sequenced)
        for future in writes:
            future.result(timeout=60)
    while more := database.transact(lambda session: number_events(session, limit=7)):
        numbered += more
    events = database.read(lambda session: events_after(session, 0, limit=200))
    assert [event.number for event in events] == list(range(1, 61))
    assert {event.data["number"] for event in events} == set(range(60))
    assert numbered == 60
