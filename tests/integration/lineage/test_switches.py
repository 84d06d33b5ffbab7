"""The switch of a backend: no places while it is set, whoever asks, and a drain that ends once."""

from __future__ import annotations

from datetime import timedelta

from bridge.domain.fairness import Share
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import outbox, queue, switches
from bridge.lineage.database import Database
from bridge.lineage.leases import release
from bridge.lineage.records import Claim
from bridge.lineage.runs import change_run, get_run
from tests.support.lineage_samples import T0, a_submission, submit


def places(database: Database, worker: str = "w1") -> list[Claim]:
    return database.transact(
        lambda s: queue.place(s, worker=worker, backend="local", share_of=lambda _: Share(5), limit=5)
    )


def test_no_place_is_given_while_a_backend_is_paused(database: Database) -> None:
    run = database.transact(lambda s: submit(s, a_submission(created_at=T0), queued_at=T0))
    first = database.transact(lambda s: switches.pause(s, "local", reason="r" * 600))
    assert (first.draining, len(first.reason or "")) == (False, 500)
    assert places(database) == []
    later = database.transact(lambda s: switches.pause(s, "local", draining=True))
    assert (later.since, later.reason, later.draining) == (first.since, None, True)
    assert database.read(switches.switches) == {"local": later}
    assert database.read(lambda s: switches.switch_of(s, "other")) is None
    assert database.transact(lambda s: switches.resume(s, "local"))
    assert not database.transact(lambda s: switches.resume(s, "local"))
    assert [one.run.run_id for one in places(database)] == [run.run_id]


def test_a_place_given_back_is_waited_for_at_the_runs_own_age(database: Database) -> None:
    moments = [T0, T0 + timedelta(seconds=1)]
    first, second = [
        database.transact(lambda s, at=at: submit(s, a_submission(created_at=at), queued_at=at))
        for at in moments
    ]
    claims = places(database)
    for claim in claims:
        database.transact(lambda s, claim=claim: queue.give_place_back(s, claim.run.run_id))
        database.transact(lambda s, claim=claim: release(s, claim))
    stored = database.read(lambda s: get_run(s, second.run_id))
    assert stored is not None
    assert (stored.queued_at, stored.placed_at) == (stored.created_at, None)
    assert [one.run.run_id for one in places(database)] == [first.run_id, second.run_id]
    sent = places(database, "w2")
    assert sent == []


def test_a_drain_ends_once_and_not_while_anything_may_be_under_way(database: Database) -> None:
    run = database.transact(lambda s: submit(s, a_submission(created_at=T0), queued_at=T0))
    (claim,) = places(database)
    database.transact(lambda s: change_run(s, run.run_id, fence=claim.fence, phase=RunPhase.SUBMITTING))
    assert not database.transact(lambda s: switches.note_drained(s, "local"))
    database.transact(lambda s: switches.pause(s, "local", draining=True))
    assert not database.transact(lambda s: switches.note_drained(s, "local"))
    database.transact(lambda s: change_run(s, run.run_id, phase=RunPhase.ENDED, state=RuntimeState.FAILED))
    assert database.transact(lambda s: switches.note_drained(s, "local"))
    assert not database.transact(lambda s: switches.note_drained(s, "local"))
    waiting, oldest = database.read(outbox.unnumbered)
    assert waiting > 0
    assert oldest is not None
    database.transact(outbox.number_events)
    assert database.read(outbox.unnumbered) == (0, None)
    types = [event.type for event in database.read(lambda s: outbox.events_after(s, 0))]
    assert [one for one in types if one.startswith("backend.")] == ["backend.paused", "backend.drained"]
