"""Runs are listed by keyset, changed with a version and an event, and never end unnoticed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlmodel import Session

from bridge.domain.identity import Origin
from bridge.domain.lineage import GateVerdict, PipelineRef, Run, RunError
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage.database import Database, now
from bridge.lineage.errors import CursorError, NotStored
from bridge.lineage.leases import claim
from bridge.lineage.mirror import store_mirror
from bridge.lineage.outbox import events_after, number_events
from bridge.lineage.records import Duty, MetricFilter, RunFilter
from bridge.lineage.runs import (
    add_found_run,
    change_run,
    change_runs,
    count_by_phase,
    get_by_kfp_id,
    get_run,
    history_of,
    last_good_run,
    list_runs,
    request_cancel,
    unfinished_kfp_ids,
    waiting_for,
)
from tests.support.lineage_samples import T0, a_mirror, a_run, a_submission, end, many_runs, some_uuid, submit


def listed(database: Database, where: RunFilter, limit: int = 200) -> list:
    """All runs a filter gives, walked page by page."""
    found, cursor = [], None
    while True:
        page, cursor = database.read(
            lambda session, cursor=cursor: list_runs(session, where, cursor=cursor, limit=limit)
        )
        found += page
        if cursor is None:
            return found


def test_pages_hold_every_run_once_newest_first(database: Database) -> None:
    runs = database.transact(lambda session: many_runs(session, 23))
    # Runs of the same moment are told apart by their ids.
    runs += database.transact(lambda session: [submit(session) for _ in range(4)])
    walked = listed(database, RunFilter(), limit=5)
    assert walked == sorted(runs, key=lambda run: (run.created_at, str(run.run_id)), reverse=True)


def test_a_run_that_comes_while_paging_moves_nothing(database: Database) -> None:
    runs = database.transact(lambda session: many_runs(session, 6))
    page, cursor = database.read(lambda session: list_runs(session, RunFilter(), limit=3))
    database.transact(lambda session: submit(session, a_submission(created_at=T0 + timedelta(days=1))))
    rest, _ = database.read(lambda session: list_runs(session, RunFilter(), cursor=cursor, limit=3))
    assert page + rest == runs[::-1]


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!!", "WzFd", "WyJydW5zIiwieCIsInkiXQ", "WyJwaXBlbGluZXMiLCJhIiwiYiJd"]
)
def test_a_cursor_of_elsewhere_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(CursorError):
        database.read(lambda session: list_runs(session, RunFilter(), cursor=cursor))


def test_a_page_has_two_hundred_runs_at_most(database: Database) -> None:
    database.transact(lambda session: many_runs(session, 201))
    page, cursor = database.read(lambda session: list_runs(session, RunFilter(), limit=10_000))
    assert len(page) == 200
    assert cursor is not None
    with pytest.raises(ValueError, match="at least one"):
        database.read(lambda session: list_runs(session, RunFilter(), limit=0))


def test_filters_narrow(database: Database) -> None:
    other = PipelineRef(name="fraud_100%", digest="e" * 64)
    origin = Origin(dag_id="d", dag_run_id="r", task_id="t", map_index=3)

    def store(session):  # type: ignore[no-untyped-def]
        first = submit(session)
        second = submit(
            session,
            a_submission(
                pipeline=other,
                project="fraud",
                origin=origin,
                created_at=T0 + timedelta(hours=1),
                display_name="Nightly FRAUD",
            ),
            experiment="Fraud",
        )
        return first, change_run(session, second.run_id, **end(second))

    first, second = database.transact(store)
    database.transact(lambda session: store_mirror(session, second.run_id, a_mirror(auc=0.9)))
    cases = {
        RunFilter(ids=(second.run_id, some_uuid(7))): [second],
        RunFilter(ids=()): [],
        RunFilter(states=(RuntimeState.SUCCEEDED,)): [second],
        RunFilter(states=(RuntimeState.PENDING, RuntimeState.SUCCEEDED)): [second, first],
        RunFilter(phases=(RunPhase.QUEUED,)): [first],
        RunFilter(pipeline="fraud_100%"): [second],
        RunFilter(experiment="Fraud"): [second],
        RunFilter(projects=("fraud",)): [second],
        RunFilter(projects=("fraud", "default")): [second, first],
        RunFilter(backend="local"): [second, first],
        RunFilter(backend="elsewhere"): [],
        RunFilter(dag_id="d", dag_run_id="r", task_id="t", map_index=3): [second],
        RunFilter(dag_id="d", map_index=4): [],
        RunFilter(created_after=T0 + timedelta(minutes=1)): [second],
        RunFilter(created_before=T0 + timedelta(minutes=1)): [first],
        RunFilter(text="fraud"): [second],
        RunFilter(text="night fraud 100"): [second],
        RunFilter(text="night fraud 1"): [],
        RunFilter(text="fraud%100"): [second],
        RunFilter(text="raud"): [],
        RunFilter(text="%"): [],
        RunFilter(text="FLIGHT-delay"): [first],
        RunFilter(submission_key=second.submission_key): [second],
        RunFilter(metrics=(MetricFilter(key="evaluate.auc", op=">=", value=0.9),)): [second],
        RunFilter(metrics=(MetricFilter(key="evaluate.auc", op=">", value=0.9),)): [],
        RunFilter(metrics=(MetricFilter(key="evaluate.auc", op="==", value=0.9),), pipeline="x"): [],
    }
    for where, expected in cases.items():
        assert listed(database, where) == expected, where


def test_a_change_raises_the_version_and_tells_of_it_in_one_transaction(database: Database) -> None:
    run = database.transact(submit)
    error = RunError(message="boom", task="train", log_tail=("a", "b"))
    gate = GateVerdict(
        expression="evaluate.auc > 0.5",
        passed=False,
        numbers={"evaluate.auc": 0.4, "last_good": None},
        reason="0.4",
        last_good_run=some_uuid(3),
    )
    changed = database.transact(
        lambda session: change_run(
            session,
            run.run_id,
            phase=RunPhase.ENDED,
            state=RuntimeState.FAILED,
            mirror=MirrorState.PARTIAL,
            finished_at=T0,
            error=error,
            gate=gate,
        )
    )
    assert changed.version == 2
    assert database.read(lambda session: get_run(session, run.run_id)) == changed
    assert (changed.error, changed.gate) == (error, gate)

    def fails(session):  # type: ignore[no-untyped-def]
        change_run(session, run.run_id, state=RuntimeState.SUCCEEDED)
        raise LookupError("the work failed")

    with pytest.raises(LookupError):
        database.transact(fails)
    assert database.read(lambda session: get_run(session, run.run_id)) == changed
    database.transact(number_events)
    events = database.read(lambda session: events_after(session, 0, run_id=run.run_id))
    assert [(event.type, event.data["version"], event.data["state"]) for event in events] == [
        ("run.created", 1, "PENDING"),
        ("run.changed", 2, "FAILED"),
    ]
    history = database.read(lambda session: history_of(session, run.run_id))
    assert [(entry.phase, entry.state, entry.version) for entry in history] == [
        (RunPhase.QUEUED, RuntimeState.UNSPECIFIED, 1),
        (RunPhase.ENDED, RuntimeState.FAILED, 2),
    ]
    assert history[1].error == error


def test_a_change_that_changes_nothing_writes_nothing(database: Database) -> None:
    run = database.transact(submit)
    same = database.transact(
        lambda session: change_run(session, run.run_id, phase=run.phase, state=run.state)
    )
    assert same == run
    seen = database.transact(lambda session: change_run(session, run.run_id, observed_at=T0))
    assert seen == replace(run, observed_at=T0)
    assert database.read(lambda session: get_run(session, run.run_id)) == seen
    assert database.transact(number_events) == 1


def test_what_is_not_stored_cannot_be_changed(database: Database) -> None:
    with pytest.raises(NotStored):
        database.transact(lambda session: change_run(session, some_uuid(1), revivals=1))
    with pytest.raises(NotStored):
        database.transact(lambda session: request_cancel(session, some_uuid(1), at=T0))
    assert database.read(lambda session: get_run(session, some_uuid(1))) is None


def test_a_cancel_is_asked_once(database: Database) -> None:
    run = database.transact(submit)
    first = database.transact(
        lambda session: request_cancel(session, run.run_id, at=T0, reason="wrong", actor="ada")
    )
    again = database.transact(
        lambda session: request_cancel(session, run.run_id, at=T0 + timedelta(hours=1), actor="bob")
    )
    assert first.cancel_requested_at == T0
    assert first.shown_state is RuntimeState.CANCELING
    assert again == first
    ended = database.transact(submit)
    ended = database.transact(lambda session: change_run(session, ended.run_id, **end(ended)))
    assert database.transact(lambda session: request_cancel(session, ended.run_id, at=T0)) == ended


def test_runs_are_found_by_the_backends_ids(database: Database) -> None:
    runs = database.transact(lambda session: many_runs(session, 3))
    wanted = [run.kfp_run_id for run in runs[:2]] + [uuid4() for _ in range(1500)]
    found = database.read(lambda session: get_by_kfp_id(session, "local", wanted))
    assert found == {run.kfp_run_id: run for run in runs[:2]}
    assert database.read(lambda session: get_by_kfp_id(session, "elsewhere", wanted)) == {}


def test_a_run_found_on_the_backend_is_stored_once(database: Database) -> None:
    found = a_run(phase=RunPhase.ACTIVE, state=RuntimeState.RUNNING)
    assert database.transact(lambda session: add_found_run(session, found)) == found
    again = replace(found, run_id=uuid4(), state=RuntimeState.PENDING)
    assert database.transact(lambda session: add_found_run(session, again)) == found
    assert listed(database, RunFilter()) == [found]


def test_open_runs_are_counted_and_named(database: Database) -> None:
    queued, active, over = database.transact(lambda session: many_runs(session, 3))
    waiting = database.transact(lambda session: submit(session, after_run=active.run_id))
    database.transact(lambda session: change_run(session, active.run_id, phase=RunPhase.ACTIVE))
    database.transact(lambda session: change_run(session, over.run_id, **end(over)))
    assert database.read(lambda session: count_by_phase(session, "local")) == {
        RunPhase.QUEUED: 2,
        RunPhase.SUBMITTING: 0,
        RunPhase.ACTIVE: 1,
    }
    assert database.read(lambda session: unfinished_kfp_ids(session, "local")) == {active.kfp_run_id}
    assert database.read(lambda session: unfinished_kfp_ids(session, "local", "")) == {active.kfp_run_id}
    assert database.read(lambda session: unfinished_kfp_ids(session, "local", "team-a")) == set()
    assert database.read(lambda session: waiting_for(session, [active.run_id])) == [waiting]
    assert queued.phase is RunPhase.QUEUED


def test_many_runs_are_changed_as_each_would_be_alone(database: Database) -> None:
    first, second, third = database.transact(lambda session: many_runs(session, 3))
    due = T0 + timedelta(hours=1)
    database.transact(lambda session: change_run(session, second.run_id, mirror_due_at=T0))

    def write(session: Session) -> dict[UUID, Run]:
        ended = {"mirror_due_at": due, "mirror_failures": 0}
        return change_runs(
            session,
            {
                first.run_id: {**end(first), **ended},
                second.run_id: {**end(second), **ended},
                third.run_id: {"observed_at": T0},
            },
            event="run.ended",
        )

    changed = database.transact(write)
    assert [changed[run.run_id].version for run in (first, second, third)] == [
        first.version + 1,
        second.version + 1,
        third.version,
    ]
    database.transact(number_events)
    told = [one.run_id for one in database.read(lambda s: events_after(s, 0)) if one.type == "run.ended"]
    assert told == [first.run_id, second.run_id]
    claims = database.transact(lambda session: claim(session, worker="one", duty=Duty.MIRROR))
    assert {one.run.run_id for one in claims} == {first.run_id, second.run_id}
    assert len(database.read(lambda session: history_of(session, first.run_id))) == 2
    with pytest.raises(NotStored):
        database.transact(lambda session: change_runs(session, {uuid4(): {"observed_at": T0}}))


def test_the_last_good_run_is_the_newest_that_succeeded_and_passed(database: Database) -> None:
    runs = database.transact(lambda session: many_runs(session, 5))
    passed = GateVerdict(expression="x", passed=True, numbers={}, reason="")

    def finish(session):  # type: ignore[no-untyped-def]
        change_run(session, runs[0].run_id, **end(runs[0]))
        change_run(session, runs[1].run_id, **end(runs[1]), gate=passed)
        change_run(session, runs[2].run_id, **end(runs[2]), gate=replace(passed, passed=False))
        change_run(session, runs[3].run_id, phase=RunPhase.ENDED, state=RuntimeState.FAILED)
        # Ended well, but its gate may still fail it.
        change_run(session, runs[4].run_id, **end(runs[4], settled_at=None))
        store_mirror(session, runs[1].run_id, a_mirror(auc=0.7))

    database.transact(finish)

    def last(**kwargs):  # type: ignore[no-untyped-def]
        return database.read(lambda session: last_good_run(session, "default", "flight-delay", **kwargs))

    run, metrics = last()
    assert run.run_id == runs[1].run_id
    assert {metric.key: metric.value for metric in metrics} == {"evaluate.auc": 0.7, "evaluate.accuracy": 0.8}
    assert last(excluding=runs[1].run_id)[0].run_id == runs[0].run_id
    assert last(before=runs[1].created_at)[0].run_id == runs[0].run_id
    assert last(before=runs[0].created_at) is None
    assert database.read(lambda session: last_good_run(session, "other", "flight-delay")) is None


def test_times_come_back_in_utc_to_the_microsecond(database: Database) -> None:
    run = database.transact(submit)
    stored = database.read(lambda session: get_run(session, run.run_id))
    assert stored is not None
    assert stored.created_at.isoformat() == "2013-01-05T02:00:00.123456+00:00"
    moment = database.read(now)
    assert moment.utcoffset() == timedelta(0)
    with pytest.raises(Exception, match="time zone"):
        database.transact(
            lambda session: change_run(session, run.run_id, finished_at=T0.replace(tzinfo=None))
        )
