"""Writes down what requests call for: many at a time, and one by one where one needs to be looked at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from sqlmodel import Session

from bridge.domain.identity import Origin, kfp_run_id
from bridge.domain.lineage import OnClear, Run, Submission
from bridge.domain.redaction import redact_uri
from bridge.domain.resubmission import Answer, ClearAnswer, answer_clear, answer_repeat, is_superseded
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.domain.unchanged import unknown_versions, what_changed
from bridge.lineage import audit, runs, specs, submissions, waiters
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import DatabaseUnavailable, DuplicateSubmission
from bridge.lineage.reunite import adopt_found_runs, known_keys
from bridge.service.differences import changed_work
from bridge.service.grouping import Grouped
from bridge.service.pipelines import Found
from bridge.service.problems import ProblemError
from bridge.service.store import Store

log = logging.getLogger(__name__)

# Enough to share a commit among, and few enough that nobody waits long for the others.
_MOST_TOGETHER = 64
_CANCELING_RETRY_SECONDS = 2.0
STARTED_EARLIER = "the run was started by an earlier try and goes on as it was started"

_UNCHANGED = (
    "nothing changed since this run, the last good one: it is the answer, and no other was made "
    "(skip_if_unchanged)"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that answers a request; ``replayed`` if it was there before, ``unchanged`` if it is the last
    good run, which had everything that is asked for."""

    run: Run
    replayed: bool = False
    unchanged: bool = False
    warnings: list[str] = field(default_factory=list)
    changed: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """A checked request: the submission it makes, the pipeline it found, and who asks."""

    submission: Submission
    found: Found
    skip_if_unchanged: bool = False
    actor: str = ""


class Recorder:
    """Records intents for one service process; those that come together share a transaction.

    Only what is plainly new is written together. Whatever else a key can mean (a repeat, a later try, a
    cleared task) is decided in a transaction of its own, and so is each of a group that could not be written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._together = Grouped(self._write_together, most=_MOST_TOGETHER)

    async def record(self, intent: Intent) -> Accepted | None:
        """Write what a request calls for, durably; ``None`` if the backend has to be asked to retry the
        run's failed tasks. Raises ``ProblemError``."""
        if not intent.skip_if_unchanged:
            accepted = await self._together(intent)
            if accepted is not None:
                return accepted
        return await self._write_alone(intent)

    async def _write_together(self, intents: Sequence[Intent]) -> Sequence[Accepted | None]:
        try:
            return await self._store.transact(lambda s: _record_new(s, intents), repeatable=True)
        except DatabaseUnavailable:
            raise
        except Exception:
            # Which of them it was shows when each is tried alone.
            log.info("submissions are recorded one by one", extra={"count": len(intents)}, exc_info=True)
            return [None] * len(intents)

    async def _write_alone(self, intent: Intent) -> Accepted | None:
        def write(session: Session) -> Accepted | None:
            return _record(session, intent)

        try:
            return await self._store.transact(write, repeatable=True)
        except DuplicateSubmission:
            # Another request with the same key was a moment faster: it is stored now, so look again.
            return await self._store.transact(write, repeatable=True)


def _record_new(session: Session, intents: Sequence[Intent]) -> list[Accepted | None]:
    """Write those whose key and family nobody has used; the others are ``None``, and nothing of them is
    written."""
    moment = database_now(session)
    known = known_keys(session, [intent.submission for intent in intents])
    families = {one for intent in intents if (one := intent.submission.family) is not None}
    taken = submissions.known_families(session, families)
    new: dict[UUID, tuple[Submission, Run]] = {}
    plain: list[Intent] = []
    for intent in intents:
        wanted = replace(intent.submission, created_at=moment)
        if wanted.key in known or wanted.family in taken:
            continue
        known.add(wanted.key)
        if wanted.family is not None:
            taken.add(wanted.family)
        run = _new_run(wanted, 1, moment)
        new[wanted.key] = (replace(wanted, current_run=run.run_id), run)
        plain.append(intent)
    _store_specs(session, plain, moment)
    # A key that another process is just storing is left out, too.
    written = submissions.add_submissions(session, list(new.values()))
    told = [(intent.actor, *new[intent.submission.key]) for intent in plain]
    _audit_submissions(session, [one for one in told if one[1].key in written])
    chosen = {id(intent) for intent in plain if intent.submission.key in written}
    return [Accepted(new[intent.submission.key][1]) if id(intent) in chosen else None for intent in intents]


def _store_specs(session: Session, intents: Sequence[Intent], moment: datetime) -> None:
    wanted = {}
    for intent in intents:
        if intent.found.is_stored:
            continue
        version = intent.found.version
        key = (intent.submission.project, version.name, version.digest, intent.found.version_name)
        wanted[key] = version
    # One order everywhere, so that two transactions never wait for each other crosswise.
    for (project, name, digest, version_name), version in sorted(
        wanted.items(), key=lambda item: tuple(str(part) for part in item[0])
    ):
        specs.store_spec(session, project, name, digest, version.text, at=moment, version_name=version_name)
    changed = {
        (intent.submission.project, intent.found.pipeline.digest): intent.found.pipeline
        for intent in intents
        if intent.found.pipeline.digest != intent.found.version.digest
    }
    for (project, digest), pipeline in sorted(changed.items(), key=lambda item: item[0]):
        specs.store_text(session, project, pipeline.name, digest, pipeline.text, at=moment)


def _record(session: Session, intent: Intent) -> Accepted | None:
    moment = database_now(session)
    wanted = replace(intent.submission, created_at=moment)
    _store_specs(session, [intent], moment)
    stored = submissions.find_submission(session, wanted.key)
    current = submissions.current_run(session, wanted.key) if stored else None
    if stored is not None and current is None:
        return _begin_anew(session, intent, stored, wanted, moment)
    if stored is None or current is None:
        found_again = adopt_found_runs(session, wanted)
        if found_again is None:
            return _first_of_key(session, wanted, moment, intent)
        stored, current = found_again
    answer = answer_repeat(stored, current, wanted.request_digest, wanted.try_number, wanted.on_retry)
    refuse(answer, stored, wanted.try_number)
    if answer is Answer.NEW_RUN:
        refuse_older_generation(session, stored, wanted.origin)
        return _next_run(session, intent, wanted, moment)
    if answer is Answer.RETRY_TASKS:
        return None
    if answer is not Answer.SAME:
        submissions.record_try(session, wanted.key, wanted.try_number, request_digest=wanted.request_digest)
    return Accepted(current, replayed=True, warnings=changed_arguments(stored, wanted))


def _begin_anew(
    session: Session, intent: Intent, stored: Submission, wanted: Submission, moment: datetime
) -> Accepted:
    """The run that answered was another submission's, and was removed with it."""
    if wanted.try_number < stored.try_number:
        refuse(Answer.ZOMBIE, stored, wanted.try_number)
    refuse_older_generation(session, stored, wanted.origin)
    return _next_run(session, intent, wanted, moment)


def _next_run(session: Session, intent: Intent, wanted: Submission, moment: datetime) -> Accepted:
    # An adopted run is an attempt of the submission that made it: only this one's own are counted.
    run = _new_run(wanted, submissions.attempts_made(session, wanted.key) + 1, moment)
    submissions.add_attempt(session, replace(wanted, current_run=run.run_id), run)
    _audit_submissions(session, [(intent.actor, wanted, run)])
    return Accepted(run)


def _first_of_key(session: Session, wanted: Submission, moment: datetime, intent: Intent) -> Accepted:
    older = (
        submissions.newest_in_family(session, wanted.family, other_than=wanted.key) if wanted.family else None
    )
    if older is not None:
        refuse_older_generation(session, wanted, wanted.origin)
    answer = answer_clear(older, wanted.on_clear)
    if older is not None and not older.phase.is_over:
        _audit_clear(session, older, wanted, intent.actor)
    if answer is ClearAnswer.ADOPT and older is not None:
        submissions.add_adopting_submission(session, wanted, older.run_id)
        warning = "the task was cleared while its run was active; that run was adopted (on_clear=adopt)"
        return Accepted(older, replayed=True, warnings=[warning])
    if older is not None and wanted.on_clear is OnClear.DETACH:
        waiters.forget(session, older.run_id)
    warnings: list[str] = []
    if intent.skip_if_unchanged and answer is ClearAnswer.NEW_RUN:
        unchanged = _last_good_if_unchanged(session, wanted)
        if unchanged is not None:
            submissions.add_adopting_submission(session, wanted, unchanged.run_id)
            return Accepted(unchanged, replayed=True, unchanged=True, warnings=[_UNCHANGED])
        warnings = _uncomparable(wanted)
    run = _new_run(wanted, submissions.attempts_made(session, wanted.key) + 1, moment)
    changed: tuple[Run, ...] = ()
    if answer is ClearAnswer.CANCEL_THEN_NEW and older is not None:
        run = replace(run, after_run=older.run_id, queued_at=None)
        reason = "the task was cleared (on_clear=cancel_then_new)"
        changed = (runs.request_cancel(session, older.run_id, at=moment, reason=reason, actor=intent.actor),)
    submissions.add_submission(session, replace(wanted, current_run=run.run_id), run)
    _audit_submissions(session, [(intent.actor, wanted, run)])
    return Accepted(run, warnings=warnings, changed=changed)


def _audit_submissions(session: Session, made: Sequence[tuple[str, Submission, Run]]) -> None:
    """Who had runs made. Where nobody is asked for a name the submission itself tells all there is."""
    audit.record_all(
        session,
        [
            audit.entry(
                "run.submit",
                actor=actor,
                run_id=run.run_id,
                data={"submission_key": str(wanted.key), "try_number": wanted.try_number},
                project=run.project,
                backend=run.backend,
            )
            for actor, wanted, run in made
            if actor
        ],
    )


def _audit_clear(session: Session, older: Run, wanted: Submission, actor: str) -> None:
    audit.record(
        session,
        "run.clear",
        actor=actor,
        run_id=older.run_id,
        data={
            "on_clear": wanted.on_clear.value,
            "submission_key": str(wanted.key),
            "try_number": wanted.try_number,
        },
        before={"submission_key": str(older.submission_key)},
        after={"submission_key": str(wanted.key)},
        project=older.project,
        backend=older.backend,
    )


def refuse_older_generation(session: Session, submission: Submission, asking: Origin) -> None:
    """Raise ``ProblemError`` if the task was cleared since, and its next generation has asked already."""
    if submission.family is None:
        return
    newest = submissions.newest_submission(session, submission.family, other_than=submission.key)
    if newest is not None and is_superseded(asking, newest):
        raise ProblemError(
            "superseded",
            f"try {asking.try_number} asks, but the task was cleared and try {newest.try_number} asked since",
        )


def _last_good_if_unchanged(session: Session, wanted: Submission) -> Run | None:
    """The last good run, if it was made for the same."""
    found = runs.last_good_run(session, wanted.project, wanted.pipeline.name)
    if found is None or found[0].submission_key is None:
        return None
    last = found[0]
    asked = submissions.find_submission(session, found[0].submission_key, lock=False)
    return None if what_changed(wanted, last, asked) else last


def _uncomparable(wanted: Submission) -> list[str]:
    unknown = unknown_versions(wanted.inputs)
    if not unknown:
        return []
    return [
        f"skip_if_unchanged: the version of {redact_uri(unknown[0])} is unknown ({len(unknown)} of "
        f"{len(wanted.inputs)} inputs), so that it cannot be told whether it changed"
    ]


def _new_run(wanted: Submission, attempt: int, moment: datetime) -> Run:
    return Run(
        run_id=uuid4(),
        kfp_run_id=kfp_run_id(wanted.key, attempt),
        backend=wanted.backend,
        project=wanted.project,
        namespace=wanted.namespace,
        submission_key=wanted.key,
        attempt=attempt,
        pipeline=wanted.pipeline,
        display_name=wanted.display_name,
        experiment=wanted.experiment,
        phase=RunPhase.QUEUED,
        state=RuntimeState.UNSPECIFIED,
        mirror=MirrorState.NONE,
        version=1,
        created_at=moment,
        queued_at=moment,
        arguments=wanted.arguments,
        labels=wanted.labels,
        origin=wanted.origin,
    )


def refuse(answer: Answer, stored: Submission, try_number: int) -> None:
    """Raises ``ProblemError`` for an answer that is a refusal."""
    if answer is Answer.CONFLICT:
        raise ProblemError(
            "key-reused",
            "this key and try were used for a request with another body; send the same body, or another key",
        )
    if answer is Answer.ZOMBIE:
        raise ProblemError(
            "superseded",
            f"try {try_number} asks, but try {stored.try_number} of the same task has asked since",
        )
    if answer is Answer.WAIT:
        raise ProblemError(
            "canceling",
            "the run of an earlier try is being canceled; ask again when it has ended",
            retry_after_seconds=_CANCELING_RETRY_SECONDS,
        )


def changed_arguments(stored: Submission, wanted: Submission) -> list[str]:
    """A warning if the run computes something else than is asked for now."""
    what = changed_work(stored, wanted)
    return [f"{STARTED_EARLIER}, with other {' and other '.join(what)}"] if what else []
