"""What is old enough is removed, and nothing else, on both databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Table, func, select, text, update
from sqlmodel import Session

from bridge.domain.lineage import Artifact, Direction, Run, RunError, RunMirror
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import deliveries, holds, leases, outbox, retention, submissions, webhooks
from bridge.lineage.database import Database, now
from bridge.lineage.mirror import set_task_error, store_mirror
from bridge.lineage.reading import artifacts_of, tasks_of
from bridge.lineage.reunite import known_keys
from bridge.lineage.runs import change_run, get_run
from bridge.lineage.tables import (
    ARTIFACTS,
    AUDIT,
    DUTIES,
    METRICS,
    OUTBOX,
    RUN_LABELS,
    RUNS,
    SUBMISSIONS,
    TASKS,
)
from bridge.service.retaining import LEASE, Removed, RetentionBusy, RetentionPass
from bridge.service.retention_settings import RetentionSettings
from tests.support.lineage_samples import a_mirror, a_run, a_submission, a_task, end, submit, use

RUNS_ONLY = RetentionSettings(runs_days=30)
_OLD = datetime.now(UTC) - timedelta(days=60)
_ENDED = {"phase": "ENDED", "state": "FAILED", "finished_at": _OLD, "created_at": _OLD}


def ended(
    database: Database, number: int = 1, *, days: float = 60, mirror: bool = True, **fields: Any
) -> Run:
    """A run that ended so many days ago, good if nothing else is said, and of which nothing is owed."""
    submission = fields.pop("submission", None) or a_submission(
        created_at=datetime.now(UTC) - timedelta(days=days, seconds=number), labels={"number": str(number)}
    )

    def write(session: Session) -> Run:
        run = submit(session, submission, labels=submission.labels)
        if mirror:
            store_mirror(session, run.run_id, a_mirror(number))
        run = change_run(session, run.run_id, **(end(run) | fields))
        session.execute(update(DUTIES).values(due_at=None))
        return run

    return database.transact(write)


def clean(database: Database, settings: RetentionSettings = RUNS_ONLY, **options: Any) -> Removed:
    one = RetentionPass(database, settings, holder="test", **options)
    for _ in one.batches():
        pass
    return one.removed


def left(database: Database, table: Table) -> int:
    return database.read(lambda s: s.scalars(select(func.count()).select_from(table)).one())


def is_there(database: Database, run: Run) -> bool:
    return database.read(lambda s: get_run(s, run.run_id)) is not None


def test_an_old_run_goes_with_all_that_is_its_own(database: Database) -> None:
    old = ended(database, 1)
    newer = ended(database, 2, days=1)
    dry = clean(database, dry_run=True)
    assert (dry.runs, is_there(database, old)) == (1, True)
    removed = clean(database)
    assert (removed.runs, removed.staying) == (1, {})
    assert (is_there(database, old), is_there(database, newer)) == (False, True)
    assert (left(database, RUNS), left(database, SUBMISSIONS), left(database, RUN_LABELS)) == (1, 1, 1)
    assert (left(database, TASKS), left(database, METRICS), left(database, ARTIFACTS)) == (2, 2, 1)
    assert database.read(lambda s: tasks_of(s, newer.run_id))
    (told,) = database.read(
        lambda s: s.execute(select(AUDIT.c.data).where(AUDIT.c.action == "retention.runs")).scalars().all()
    )
    assert told["runs"] == [str(old.run_id)]
    assert clean(database).runs == 0


def test_the_last_good_run_of_a_pipeline_stays(database: Database) -> None:
    good = ended(database, 1, days=90)
    failed = ended(database, 2, days=80, state=RuntimeState.FAILED)
    removed = clean(database)
    assert removed.staying == {"last good": 1}
    assert (is_there(database, good), is_there(database, failed)) == (True, False)


def test_runs_that_are_not_over_or_of_which_work_is_owed_stay(database: Database) -> None:
    ended(database, 9, days=1)
    running = ended(database, 1, phase=RunPhase.ACTIVE, state=RuntimeState.RUNNING, finished_at=None)
    owed = ended(database, 2)
    awaited = ended(database, 3)

    def owe(session: Session) -> None:
        key = select(RUNS.c.id).where(RUNS.c.run_id == owed.run_id).scalar_subquery()
        session.execute(update(DUTIES).where(DUTIES.c.run == key).values(due_at=now(session)))
        waiting = submit(session, a_submission(), after_run=awaited.run_id)
        assert waiting.phase is RunPhase.QUEUED

    database.transact(owe)
    removed = clean(database)
    # The one that waits is new in phase and old in creation.
    assert removed.staying["younger or not over"] == 2
    assert removed.staying["work is owed"] == 2
    assert all(is_there(database, run) for run in (running, owed, awaited))


def test_a_run_whose_model_another_run_uses_stays_until_that_is_gone(database: Database) -> None:
    maker = ended(database, 1, days=90)
    user = ended(database, 2, days=60, mirror=False)
    ended(database, 3, days=1, mirror=False)
    model = Artifact(
        backend_artifact_id="101",
        type="system.Model",
        uri="file:///artifacts/1/train/model",
        created_at=a_mirror(1).artifacts[0].created_at,
        uses=(use("score", "model", Direction.INPUT),),
    )
    database.transact(
        lambda s: store_mirror(s, user.run_id, RunMirror(tasks=(a_task("score"),), artifacts=(model,)))
    )
    first = clean(database)
    assert (first.runs, first.staying) == (1, {"its model is in use": 1})
    assert (is_there(database, maker), is_there(database, user)) == (True, False)
    assert clean(database).runs == 1
    assert (is_there(database, maker), left(database, ARTIFACTS)) == (False, 0)


def test_what_is_held_stays(database: Database) -> None:
    ended(database, 9, days=1)
    held, other = ended(database, 1), ended(database, 2)
    database.transact(lambda s: holds.hold(s, reason="case 17", run_id=held.run_id))
    everything = RetentionSettings(runs_days=30, artifacts_days=5, logs_days=5, events_days=30)
    database.transact(outbox.number_events)
    database.transact(lambda s: s.execute(update(OUTBOX).values(time=_OLD)))
    removed = clean(database, everything, readers=())
    assert removed.staying == {"held": 1}
    assert (is_there(database, held), is_there(database, other)) == (True, False)
    assert database.read(lambda s: artifacts_of(s, held.run_id))
    kept = database.read(lambda s: set(s.scalars(select(OUTBOX.c.run_id))))
    assert kept == {held.run_id}


def test_attempts_of_a_submission_go_together(database: Database) -> None:
    ended(database, 9, days=1)
    both = a_submission(created_at=_OLD)
    first = ended(database, 1, submission=both, phase=RunPhase.ABANDONED, state=RuntimeState.UNSPECIFIED)
    second = database.transact(lambda s: get_run(s, first.run_id))
    assert second is not None
    young = a_submission(created_at=datetime.now(UTC), family=uuid4())
    ended(database, 3, submission=young)
    database.transact(
        lambda s: s.execute(
            update(RUNS).where(RUNS.c.submission_key == young.key).values(submission_key=both.key, attempt=2)
        )
    )
    removed = clean(database)
    assert removed.staying == {"another attempt stays": 1}
    assert is_there(database, first)


def test_a_key_is_remembered_with_its_attempts_when_its_submission_goes(database: Database) -> None:
    ended(database, 9, days=1)
    old = ended(database, 1)
    key = old.submission_key
    assert key is not None
    database.transact(
        lambda s: submissions.add_attempt(s, a_submission(key=key), a_run(a_submission(key=key), attempt=2))
    )
    assert clean(database).staying["another attempt stays"] == 1
    database.transact(lambda s: s.execute(update(RUNS).where(RUNS.c.attempt == 2).values(**_ENDED)))
    database.transact(lambda s: s.execute(update(DUTIES).values(due_at=None)))
    assert clean(database).runs == 2
    assert database.read(lambda s: submissions.find_submission(s, key)) is None
    assert database.read(lambda s: submissions.attempts_made(s, key)) == 2
    others = [a_submission(key=key), a_submission(key=uuid4())]
    assert database.read(lambda s: known_keys(s, others)) == {key}


def test_a_run_that_answers_a_younger_submission_stays_until_that_is_old(database: Database) -> None:
    ended(database, 9, days=1)
    run = ended(database, 1)
    adopting = a_submission(created_at=datetime.now(UTC), family=uuid4())
    database.transact(lambda s: submissions.add_adopting_submission(s, adopting, run.run_id))
    assert clean(database).staying == {"it answers a younger submission": 1}
    database.transact(
        lambda s: s.execute(
            update(SUBMISSIONS).where(SUBMISSIONS.c.key == adopting.key).values(created_at=_OLD)
        )
    )
    assert clean(database).runs == 1
    assert database.read(lambda s: submissions.find_submission(s, adopting.key)) is None
    assert database.read(lambda s: submissions.attempts_made(s, adopting.key)) == 0


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_retry_that_races_keeps_its_submission(database: Database, other: Database) -> None:
    ended(database, 9, days=1)
    old = ended(database, 1)
    submission = a_submission(key=old.submission_key)
    keys = database.read(lambda s: retention.old_runs(s, before=_OLD + timedelta(days=30), after=None)).going
    assert len(keys) == 1
    asked = threading.Event()

    def remove() -> list[int]:
        asked.set()
        return other.transact(lambda s: retention.remove_runs(s, keys, _OLD + timedelta(days=30)))

    with ThreadPoolExecutor(1) as pool:

        def retry(session: Session) -> Future[list[int]]:
            assert submissions.find_submission(session, submission.key) is not None
            removing = pool.submit(remove)
            assert asked.wait(10)
            _wait_for_a_lock(session)
            submissions.add_attempt(session, submission, a_run(submission, attempt=2))
            return removing

        assert database.transact(retry).result(10) == []
    assert database.read(lambda s: submissions.find_submission(s, submission.key)) is not None
    assert is_there(database, old)


def _wait_for_a_lock(session: Session) -> None:
    """Until another transaction of this database waits for one."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + 10
    while session.execute(waiting).scalar_one() == 0:
        # Of what it told once it tells the same until it is asked anew.
        session.execute(text("SELECT pg_stat_clear_snapshot()"))
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_artifacts_go_before_their_run_and_models_with_it(database: Database) -> None:
    ended(database, 9, days=1, mirror=False)
    old = ended(database, 1)
    young = ended(database, 2, days=1, mirror=False)
    shared = Artifact(
        backend_artifact_id="77",
        type="system.Dataset",
        uri="file:///artifacts/shared",
        created_at=_OLD,
        uses=(use("train", "shared"),),
    )
    own = Artifact(
        backend_artifact_id="78",
        type="system.HTML",
        uri="file:///x",
        created_at=_OLD,
        uses=(use("train", "page"),),
    )
    database.transact(
        lambda s: store_mirror(s, old.run_id, RunMirror(tasks=(a_task("train"),), artifacts=(shared, own)))
    )
    database.transact(
        lambda s: store_mirror(s, young.run_id, RunMirror(tasks=(a_task("train"),), artifacts=(shared,)))
    )
    removed = clean(database, RetentionSettings(artifacts_days=30))
    assert (removed.artifacts, is_there(database, old)) == (1, True)
    types = database.read(lambda s: {one.type for one in artifacts_of(s, old.run_id)})
    assert types == {"system.Model", "system.Dataset"}
    assert database.read(lambda s: [one.type for one in artifacts_of(s, young.run_id)]) == ["system.Dataset"]


def test_lines_of_logs_are_forgotten_and_what_was_said_stays(database: Database) -> None:
    error = RunError(message="no such column: delay", task="train", log_tail=("line 1", "line 2"))
    old = ended(database, 1, state=RuntimeState.FAILED, error=error)
    young = ended(database, 2, days=1, state=RuntimeState.FAILED, error=error)
    database.transact(lambda s: set_task_error(s, old.run_id, "id-train", error))
    settings = RetentionSettings(logs_days=30)
    assert clean(database, settings, dry_run=True).logs == 1
    assert (clean(database, settings).logs, clean(database, settings).logs) == (1, 0)
    kept = database.read(lambda s: get_run(s, old.run_id))
    assert kept is not None
    assert kept.error == RunError(message="no such column: delay", task="train", log_tail=())
    (task,) = (one for one in database.read(lambda s: tasks_of(s, old.run_id)) if one.path == "train")
    assert task.error is not None
    assert task.error.log_tail == ()
    other = database.read(lambda s: get_run(s, young.run_id))
    assert other is not None
    assert other.error == error


def test_events_go_when_everybody_has_read_them(database: Database) -> None:
    def tell(session: Session, count: int) -> None:
        for _ in range(count):
            outbox.append(session, "run.settled", uuid4(), {"state": "SUCCEEDED"})

    settings = RetentionSettings(events_days=30)
    database.transact(lambda s: tell(s, 4))
    database.transact(outbox.number_events)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    database.transact(lambda s: webhooks.add_webhook(s, url="https://receiver.example", secret=secret))
    database.transact(lambda s: tell(s, 2))
    database.transact(outbox.number_events)
    assert clean(database, settings, readers=()).events == 0
    database.transact(lambda s: s.execute(update(OUTBOX).values(time=_OLD)))
    # The webhook was begun at the fourth and has looked at no more.
    assert clean(database, settings, readers=()).events == 4
    database.transact(deliveries.fan_out)
    assert clean(database, settings, readers=()).events == 0
    claimed = database.transact(lambda s: deliveries.claim_deliveries(s, {}, most=9, sending_seconds=5))
    for one in claimed:
        database.transact(
            lambda s, one=one: deliveries.finish_delivery(s, one, "delivered", status=200, error=None)
        )
    database.transact(lambda s: deliveries.forget_delivered(s, 0))
    unread = database.transact(lambda s: tell(s, 1))
    assert (unread, clean(database, settings, readers=()).events) == (None, 2)
    assert left(database, OUTBOX) == 1


def make_pages(database: Database, run: Run, count: int) -> None:
    """Artifacts of the run that are no models."""
    pages = tuple(
        Artifact(
            backend_artifact_id=str(number),
            type="system.HTML",
            uri=f"file:///{number}",
            created_at=_OLD,
            uses=(use("train", f"page-{number}"),),
        )
        for number in range(count)
    )
    mirror = RunMirror(tasks=(a_task("train"),), artifacts=pages)
    database.transact(lambda s: store_mirror(s, run.run_id, mirror))


class Interrupted(RetentionPass):
    """Somebody holds everything after it was looked at, and before anything is removed."""

    takes = 0

    def _take(self) -> None:
        super()._take()
        self.takes += 1
        if self.takes == 2:
            self._database.transact(lambda s: holds.hold(s, reason="case 17"))


@pytest.mark.parametrize("what", ["artifacts_days", "logs_days", "events_days"])
def test_what_comes_to_matter_meanwhile_stays(database: Database, what: str) -> None:
    error = RunError(message="no", task="train", log_tail=("line 1",))
    run = ended(database, 1, state=RuntimeState.FAILED, error=error, mirror=False)
    make_pages(database, run, 1)
    database.transact(outbox.number_events)
    database.transact(lambda s: s.execute(update(OUTBOX).values(time=_OLD)))
    edges, events = len(database.read(lambda s: artifacts_of(s, run.run_id))), left(database, OUTBOX)
    one = Interrupted(database, RetentionSettings(**{what: 30}), holder="test", readers=())
    for _ in one.batches():
        pass
    assert one.takes == 2
    assert one.removed.counts() == {"runs": 0, "artifacts": 0, "logs": 0, "events": 0}
    assert len(database.read(lambda s: artifacts_of(s, run.run_id))) == edges
    assert left(database, OUTBOX) >= events
    kept = database.read(lambda s: get_run(s, run.run_id))
    assert kept is not None
    assert kept.error == error


def test_many_edges_go_a_few_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(database, 9, days=1, mirror=False)
    run = ended(database, 1, mirror=False)
    make_pages(database, run, 5)
    monkeypatch.setattr(retention, "MOST_EDGES", 2)
    settings = RetentionSettings(artifacts_days=30)
    assert clean(database, settings, dry_run=True).artifacts == 5
    one = RetentionPass(database, settings, holder="test")
    assert [one.removed.artifacts for _ in one.batches()] == [2, 4, 5]
    assert left(database, ARTIFACTS) == 0


@pytest.mark.parametrize(("held", "kept"), [("", 3), ("fraud", 2)])
def test_events_of_what_is_held_stay_whether_or_not_there_is_a_run(
    database: Database, held: str, kept: int
) -> None:
    def tell(session: Session) -> None:
        outbox.append(session, "backend.paused", None, {}, backend="local")
        outbox.append(session, "alias.moved", None, {}, project="fraud")
        outbox.append(session, "run.settled", uuid4(), {}, project="fraud")

    settings = RetentionSettings(events_days=30)
    database.transact(tell)
    database.transact(outbox.number_events)
    database.transact(lambda s: s.execute(update(OUTBOX).values(time=_OLD)))
    made = database.transact(lambda s: holds.hold(s, reason="case 17", project=held))
    clean(database, settings, readers=())
    assert left(database, OUTBOX) == kept
    database.transact(lambda s: holds.release(s, made.number))
    clean(database, settings, readers=())
    assert left(database, OUTBOX) == 0


def test_one_process_at_a_time_removes(database: Database, other: Database) -> None:
    ended(database, 9, days=1)
    ended(database, 1)
    assert database.transact(lambda s: leases.take_lease(s, LEASE, holder="another", lease_seconds=30))
    with pytest.raises(RetentionBusy):
        clean(other)
    database.transact(lambda s: leases.drop_lease(s, LEASE, holder="another"))
    assert clean(other).runs == 1


def test_many_runs_go_page_by_page(database: Database) -> None:
    for number in range(120):
        ended(database, number + 1, mirror=False)
    ended(database, 0, days=1, mirror=False)
    one = RetentionPass(database, RUNS_ONLY, holder="test")
    steps = sum(1 for _ in one.batches())
    assert (one.removed.runs, steps, left(database, RUNS)) == (120, 3, 1)
