"""Submissions: the recorded intents, their tries and their attempts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlmodel import Session

from bridge.domain.lineage import Run, Submission
from bridge.lineage.bulk import changed_rows, in_pieces, insert_keyed, insert_new
from bridge.lineage.convert import run_from_row, submission_from_row, submission_to_row
from bridge.lineage.datasets import record_inputs
from bridge.lineage.engine import may_write
from bridge.lineage.errors import DuplicateSubmission, NotStored
from bridge.lineage.jobs import expect_job_run
from bridge.lineage.runs import insert_runs
from bridge.lineage.tables import RUNS, SUBMISSIONS, USED_KEYS


def find_submission(session: Session, key: UUID, *, lock: bool = True) -> Submission | None:
    """The stored submission. In ``Database.transact`` nobody else changes it until the transaction ends, so
    that what is decided about it still holds when it is written; ``lock=False`` is for just looking."""
    statement = select(SUBMISSIONS).where(SUBMISSIONS.c.key == key)
    if lock and may_write(session):
        statement = statement.with_for_update()
    row = session.execute(statement).mappings().first()
    return None if row is None else submission_from_row(row)


def add_submission(session: Session, submission: Submission, run: Run) -> None:
    """Write a submission, its first run (due at once unless it is queued), its input edges and its
    ``run.created`` event.

    Raises ``DuplicateSubmission`` if the key is stored, also when another transaction is just storing
    it; the transaction stays usable, nothing of this one is written.
    """
    if not add_submissions(session, [(submission, run)]):
        raise DuplicateSubmission(submission.key)


def add_submissions(session: Session, pairs: Sequence[tuple[Submission, Run]]) -> set[UUID]:
    """As ``add_submission``, for several of different keys: the keys of those that were not stored yet,
    which are written. Raises ``DuplicateSubmission`` if one's run is stored without it."""
    # One order everywhere, so that two transactions never wait for each other crosswise.
    ordered = sorted(pairs, key=lambda pair: pair[0].key)
    rows = [submission_to_row(submission) | {"current_run": run.run_id} for submission, run in ordered]
    written = insert_keyed(session, SUBMISSIONS, "key", rows)
    _add_runs(session, [pair for pair in ordered if pair[0].key in written])
    return set(written)


def add_adopting_submission(session: Session, submission: Submission, run_id: UUID) -> None:
    """Write a submission that is answered by a run already stored (a cleared task with ``on_clear=adopt``).

    Raises ``DuplicateSubmission`` if the key is stored.
    """
    row = submission_to_row(submission) | {"current_run": run_id}
    if not insert_new(session, SUBMISSIONS, [row]):
        raise DuplicateSubmission(submission.key)


def add_attempt(session: Session, submission: Submission, run: Run) -> None:
    """Write the next attempt of a stored submission, due at once unless it is queued, and make it current.

    The stored submission takes over everything from ``submission``: a new try may have a new body.
    Raises ``NotStored`` if the key is not stored.
    """
    row = submission_to_row(submission) | {"current_run": run.run_id}
    if not changed_rows(
        session, update(SUBMISSIONS).where(SUBMISSIONS.c.key == submission.key).values(**row)
    ):
        raise NotStored(f"there is no submission {submission.key}")
    _add_runs(session, [(submission, run)])


def answer_with_successor(session: Session, submission: Submission, abandoned: UUID, successor: UUID) -> None:
    """Let the other submissions of the family that the abandoned run answered for (they adopted it) be
    answered by the attempt that took its place."""
    if submission.family is not None:
        session.execute(
            update(SUBMISSIONS)
            .where(SUBMISSIONS.c.family == submission.family, SUBMISSIONS.c.current_run == abandoned)
            .values(current_run=successor)
        )


def _add_runs(session: Session, pairs: Sequence[tuple[Submission, Run]]) -> None:
    # A run in the queue is due when it is given a place.
    written = insert_runs(session, [run for _, run in pairs if run.queued_at is not None])
    written |= insert_runs(session, [run for _, run in pairs if run.queued_at is None], due_now=True)
    for submission, run in pairs:
        if run.run_id not in written:
            raise DuplicateSubmission(submission.key)
        expect_job_run(session, submission.project, run.origin)
        record_inputs(session, run.run_id, submission.project, submission.inputs)


def record_try(
    session: Session, key: UUID, try_number: int, *, request_digest: str | None = None
) -> Submission:
    """Remember that a higher try asked; ``request_digest`` only where its body counts from now on.

    A try that is not higher than the stored one changes nothing. Raises ``NotStored``.
    """
    values: dict[str, object] = {"try_number": try_number}
    if request_digest is not None:
        values["request_digest"] = request_digest
    session.execute(
        update(SUBMISSIONS)
        .where(SUBMISSIONS.c.key == key, SUBMISSIONS.c.try_number < try_number)
        .values(**values)
    )
    found = find_submission(session, key)
    if found is None:
        raise NotStored(f"there is no submission {key}")
    return found


def newest_in_family(session: Session, family: UUID, *, other_than: UUID) -> Run | None:
    """The current run of the family's newest submission other than the one with the key ``other_than``."""
    row = (
        session.execute(
            select(RUNS)
            .join(SUBMISSIONS, SUBMISSIONS.c.current_run == RUNS.c.run_id)
            .where(SUBMISSIONS.c.family == family, SUBMISSIONS.c.key != other_than)
            .order_by(SUBMISSIONS.c.created_at.desc(), SUBMISSIONS.c.id.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    return None if row is None else run_from_row(row)


def current_runs(session: Session, keys: Collection[UUID]) -> dict[UUID, tuple[Submission, Run]]:
    """The stored submissions among the keys with the runs that answer for them now; for just looking."""
    found: dict[UUID, tuple[Submission, Run]] = {}
    for piece in in_pieces(keys):
        # Two statements, since both tables have columns of the same names.
        stored = {
            row["key"]: submission_from_row(row)
            for row in session.execute(select(SUBMISSIONS).where(SUBMISSIONS.c.key.in_(piece))).mappings()
        }
        current = [one.current_run for one in stored.values() if one.current_run is not None]
        rows = session.execute(select(RUNS).where(RUNS.c.run_id.in_(current))).mappings() if current else ()
        answering = {row["run_id"]: run_from_row(row) for row in rows}
        for key, submission in stored.items():
            if submission.current_run in answering:
                found[key] = (submission, answering[submission.current_run])
    return found


def gates_of(session: Session, keys: Collection[UUID]) -> dict[UUID, str]:
    """The gates of those submissions that have one, by key."""
    found: dict[UUID, str] = {}
    for piece in in_pieces(keys):
        statement = select(SUBMISSIONS.c.key, SUBMISSIONS.c.gate).where(
            SUBMISSIONS.c.key.in_(piece), SUBMISSIONS.c.gate.is_not(None)
        )
        found |= {row.key: row.gate for row in session.execute(statement)}
    return found


def attempts_made(session: Session, key: UUID) -> int:
    """The number of the key's last attempt, those that were removed included; 0 if there was none."""
    made = select(func.max(RUNS.c.attempt)).where(RUNS.c.submission_key == key).scalar_subquery()
    removed = select(USED_KEYS.c.attempts).where(USED_KEYS.c.key == key).scalar_subquery()
    return max(number or 0 for number in session.execute(select(made, removed)).one())


def known_families(session: Session, families: Collection[UUID]) -> set[UUID]:
    """Those of the families that have a submission."""
    return _known(session, SUBMISSIONS.c.family, families)


def _known(session: Session, column: ColumnElement[Any], values: Collection[UUID]) -> set[UUID]:
    found: set[UUID] = set()
    for piece in in_pieces(values):
        found.update(session.scalars(select(column).where(column.in_(piece)).distinct()))
    return found


def newest_submission(session: Session, family: UUID, *, other_than: UUID) -> Submission | None:
    """The family's newest submission other than the one with the key ``other_than``."""
    row = (
        session.execute(
            select(SUBMISSIONS)
            .where(SUBMISSIONS.c.family == family, SUBMISSIONS.c.key != other_than)
            .order_by(SUBMISSIONS.c.created_at.desc(), SUBMISSIONS.c.id.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    return None if row is None else submission_from_row(row)


def current_run(session: Session, key: UUID) -> Run | None:
    """The run that answers for the submission now."""
    row = (
        session.execute(
            select(RUNS)
            .join(SUBMISSIONS, SUBMISSIONS.c.current_run == RUNS.c.run_id)
            .where(SUBMISSIONS.c.key == key)
        )
        .mappings()
        .first()
    )
    return None if row is None else run_from_row(row)
