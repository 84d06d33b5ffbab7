"""Runs that were found at a backend become a submission's when its key is asked for again."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from sqlalchemy import select

from bridge.domain.identity import Origin, kfp_run_id
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage.database import Database
from bridge.lineage.datasets import inputs_of
from bridge.lineage.mirror import store_mirror
from bridge.lineage.reunite import adopt_found_runs, known_keys
from bridge.lineage.runs import add_found_run, change_run, get_run
from bridge.lineage.submissions import add_submission, current_run, find_submission
from bridge.lineage.tables import ARTIFACTS, METRICS, TASKS
from tests.support.lineage_samples import T0, a_mirror, a_run, a_submission, partition


def test_nothing_is_written_when_nothing_was_found(database: Database) -> None:
    submission = a_submission()
    assert database.transact(lambda s: adopt_found_runs(s, submission)) is None
    assert database.read(lambda s: find_submission(s, submission.key)) is None


def test_a_key_is_known_that_is_stored_or_whose_run_was_found_at_its_backend(database: Database) -> None:
    stored, found, elsewhere, new = (a_submission(key=uuid4()) for _ in range(4))
    database.transact(lambda s: add_submission(s, stored, a_run(stored)))
    for submission, backend in ((found, found.backend), (elsewhere, "another")):
        run = a_run(
            kfp_run_id=kfp_run_id(submission.key, 3), backend=backend, submission_key=None, origin=Origin()
        )
        database.transact(lambda s, run=run: add_found_run(s, run))
    asked = [stored, found, elsewhere, new, replace(elsewhere, key=uuid4(), backend="another")]
    assert database.read(lambda s: known_keys(s, asked)) == {stored.key, found.key}
    assert database.read(lambda s: known_keys(s, [])) == set()


def test_found_runs_become_the_attempts_of_their_submission(database: Database) -> None:
    submission = a_submission(
        project="team-a", inputs=(partition(5),), try_number=7, gate="evaluate.auc > 0.5"
    )
    # The first attempt was given up and never came to the backend.
    failed, newest = (
        a_run(
            kfp_run_id=kfp_run_id(submission.key, attempt),
            backend=submission.backend,
            project="default",
            submission_key=None,
            origin=Origin(),
            phase=RunPhase.ACTIVE,
            state=RuntimeState.RUNNING,
        )
        for attempt in (2, 3)
    )
    for run in (failed, newest):
        database.transact(lambda s, run=run: add_found_run(s, run))
        database.transact(lambda s, run=run: store_mirror(s, run.run_id, a_mirror()))
    database.transact(
        lambda s: change_run(
            s,
            newest.run_id,
            phase=RunPhase.ENDED,
            state=RuntimeState.SUCCEEDED,
            mirror=MirrorState.COMPLETE,
            settled_at=T0,
        )
    )
    adopted = database.transact(lambda s: adopt_found_runs(s, submission))
    assert adopted is not None
    stored, run = adopted
    assert (run.run_id, run.attempt, run.submission_key) == (newest.run_id, 3, submission.key)
    assert (run.project, run.origin, run.arguments) == ("team-a", submission.origin, submission.arguments)
    # Its gate was never judged, so that nobody is told yet that it is settled.
    assert run.settled_at is None
    assert stored.try_number == 3
    assert database.read(lambda s: find_submission(s, submission.key)) == replace(
        submission, try_number=3, current_run=newest.run_id
    )
    assert database.read(lambda s: current_run(s, submission.key)) == run
    first = database.read(lambda s: get_run(s, failed.run_id))
    assert first is not None
    assert (first.attempt, first.submission_key) == (2, submission.key)
    assert [item.uri for item in database.read(lambda s: inputs_of(s, run.run_id))] == [partition(5).uri]
    for table in (TASKS, METRICS, ARTIFACTS):
        projects = database.read(lambda s, table=table: set(s.scalars(select(table.c.project))))
        assert projects == {"team-a"}, table.name
