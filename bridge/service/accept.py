"""``POST /runs``: from a request to a recorded submission, or to the answer it was given before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlmodel import Session

from bridge.client.models import SubmitRequest
from bridge.domain.identity import caller_key, kfp_run_id, lineage_of_key, submission_key
from bridge.domain.lineage import OnClear, OnRetry, Run, Submission
from bridge.domain.resubmission import Answer, ClearAnswer, answer_clear, answer_repeat
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.domain.unchanged import unknown_versions, what_changed
from bridge.lineage import runs, specs, submissions, waiters
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import DuplicateSubmission
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.convert import origin_of
from bridge.service.crash import crash_point
from bridge.service.differences import changed_work
from bridge.service.pipelines import Found, PipelineSource
from bridge.service.problems import ProblemError
from bridge.service.requests import arguments_of, check_gate, digest_of, display_name_of, inputs_of
from bridge.service.revive import retry_failed_tasks
from bridge.service.workers.upload import DEFAULT_EXPERIMENT

_MAX_KEY_LENGTH = 255
_CANCELING_RETRY_SECONDS = 2.0
_STARTED_EARLIER = "the run was started by an earlier try and goes on as it was started"

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
class _Identity:
    key: UUID
    family: UUID | None
    digest: str


class Acceptance:
    """Accepts submissions for one service process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self.pipelines = PipelineSource(context.store)

    async def accept(self, request: SubmitRequest, idempotency_key: str | None) -> Accepted:
        """Record the submission, durably, or find the run that is its answer. Raises ``ProblemError``.

        A request with a known key and try is answered before its pipeline is looked at: what was
        accepted once stays accepted.
        """
        identity = self._identify(request, idempotency_key)
        repeat = await self._repeat_of(request, identity)
        if repeat is not None:
            return repeat
        backend = self._backend(request)
        submission, found = await self._prepare(request, identity, backend)
        accepted = await self._record(submission, found, skip=request.skip_if_unchanged)
        if accepted is None:
            # The run failed between the two looks, and its failed tasks are to be retried.
            repeat = await self._repeat_of(request, identity)
            assert repeat is not None, "a run that ended does not begin by itself"
            return repeat
        crash_point("accept.after_commit")
        self._store.announce([accepted.run, *accepted.changed])
        self._context.ring_after([accepted.run, *accepted.changed])
        return accepted

    def _identify(self, request: SubmitRequest, idempotency_key: str | None) -> _Identity:
        origin = origin_of(request.origin)
        digest = digest_of(request)
        if idempotency_key is not None:
            if not 0 < len(idempotency_key) <= _MAX_KEY_LENGTH or not idempotency_key.isprintable():
                raise ProblemError(
                    "invalid-request", f"Idempotency-Key is 1 to {_MAX_KEY_LENGTH} printable characters"
                )
            return _Identity(caller_key(request.project, idempotency_key), None, digest)
        if origin.is_task_instance:
            return _Identity(
                submission_key(request.project, origin), lineage_of_key(request.project, origin), digest
            )
        raise ProblemError(
            "missing-key",
            "send the header Idempotency-Key, or an origin with dag_id, dag_run_id and task_id: without "
            "a key a repeated request could not be told from a new one",
        )

    def _backend(self, request: SubmitRequest) -> Backend:
        known = self._context.backends
        backend = known.get(request.backend) if request.backend else self._context.default_backend()
        if backend is None:
            names = ", ".join(known) or "none"
            asked = request.backend or "(the default)"
            text = f"there is no backend {asked}; the bridge knows: {names}"
            raise ProblemError("unknown-backend", text, errors=[("/backend", text)])
        return backend

    async def _repeat_of(self, request: SubmitRequest, identity: _Identity) -> Accepted | None:
        """The answer to a request whose try needs no new run; ``None`` if the whole request is needed."""

        def read(session: Session) -> tuple[Submission, Run] | None:
            stored = submissions.find_submission(session, identity.key)
            run = submissions.current_run(session, identity.key) if stored else None
            return (stored, run) if stored and run else None

        found = await self._store.read(read)
        if found is None:
            return None
        stored, run = found
        try_number = request.origin.try_number
        answer = answer_repeat(stored, run, identity.digest, try_number, OnRetry(request.on_retry))
        _refuse(answer, stored, try_number)
        if answer is Answer.SAME:
            return Accepted(run, replayed=True)
        if answer is Answer.ADOPT:
            warnings = await self._compared(request, stored, identity)
            await self._record_try(identity, try_number)
            return Accepted(run, replayed=True, warnings=warnings)
        if answer is Answer.RETRY_TASKS:
            revived = await retry_failed_tasks(self._context, run)
            warnings = await self._compared(request, stored, identity)
            await self._record_try(identity, try_number)
            return Accepted(revived, warnings=warnings)
        return None

    async def _compared(self, request: SubmitRequest, stored: Submission, identity: _Identity) -> list[str]:
        """What to tell a later try whose body is another one: only what the run would compute counts."""
        if stored.request_digest == identity.digest:
            return []
        try:
            wanted, _ = await self._prepare(request, identity, self._backend(request))
        except ProblemError as error:
            # The run was accepted and goes on; a later try's mistake must not end it.
            return [f"{_STARTED_EARLIER}; what this try asks for would be refused: {error}"]
        return _changed_arguments(stored, wanted)

    async def _record_try(self, identity: _Identity, try_number: int) -> None:
        # With its digest, so that this try's own repeats are recognised.
        await self._store.transact(
            lambda s: submissions.record_try(s, identity.key, try_number, request_digest=identity.digest),
            repeatable=True,
        )

    async def _prepare(
        self, request: SubmitRequest, identity: _Identity, backend: Backend
    ) -> tuple[Submission, Found]:
        check_gate(request.gate)
        namespace = request.namespace or backend.default_namespace or None
        found = await self.pipelines.find(request, backend, namespace)
        inputs = inputs_of(request)
        arguments = arguments_of(found.pipeline, request, inputs)
        submission = Submission(
            key=identity.key,
            family=identity.family,
            backend=backend.name,
            project=request.project,
            namespace=namespace,
            pipeline=found.reference,
            display_name=request.display_name or display_name_of(found.pipeline, request),
            experiment=request.experiment or DEFAULT_EXPERIMENT,
            arguments=arguments,
            inputs=inputs,
            origin=origin_of(request.origin),
            request_digest=identity.digest,
            created_at=datetime.now(UTC),
            service_account=request.service_account,
            pipeline_root=request.pipeline_root,
            caching=request.caching,
            labels=dict(request.labels),
            on_retry=OnRetry(request.on_retry),
            on_clear=OnClear(request.on_clear),
            gate=request.gate,
            try_number=request.origin.try_number,
        )
        return submission, found

    async def _record(self, submission: Submission, found: Found, *, skip: bool) -> Accepted | None:
        def write(session: Session) -> Accepted | None:
            return _record(session, submission, found, skip=skip)

        try:
            return await self._store.transact(write, repeatable=True)
        except DuplicateSubmission:
            # Another request with the same key was a moment faster: it is stored now, so look again.
            return await self._store.transact(write, repeatable=True)


def _record(session: Session, wanted: Submission, found: Found, *, skip: bool) -> Accepted | None:
    """Write what a request calls for, in one transaction that has locked its submission; ``None`` if
    the backend has to be asked to retry the run's failed tasks."""
    moment = database_now(session)
    wanted = replace(wanted, created_at=moment)
    version, pipeline = found.version, found.pipeline
    specs.store_spec(
        session,
        wanted.project,
        version.name,
        version.digest,
        version.text,
        at=moment,
        version_name=found.version_name,
    )
    if pipeline.digest != version.digest:
        specs.store_text(session, wanted.project, pipeline.name, pipeline.digest, pipeline.text, at=moment)
    stored = submissions.find_submission(session, wanted.key)
    current = submissions.current_run(session, wanted.key) if stored else None
    if stored is None or current is None:
        return _first_of_key(session, wanted, moment, skip=skip)
    answer = answer_repeat(stored, current, wanted.request_digest, wanted.try_number, wanted.on_retry)
    _refuse(answer, stored, wanted.try_number)
    if answer is Answer.NEW_RUN:
        run = _new_run(wanted, current.attempt + 1, moment)
        submissions.add_attempt(session, replace(wanted, current_run=run.run_id), run)
        return Accepted(run)
    if answer is Answer.RETRY_TASKS:
        return None
    if answer is not Answer.SAME:
        submissions.record_try(session, wanted.key, wanted.try_number, request_digest=wanted.request_digest)
    return Accepted(current, replayed=True, warnings=_changed_arguments(stored, wanted))


def _first_of_key(session: Session, wanted: Submission, moment: datetime, *, skip: bool) -> Accepted:
    older = (
        submissions.newest_in_family(session, wanted.family, other_than=wanted.key) if wanted.family else None
    )
    answer = answer_clear(older, wanted.on_clear)
    if answer is ClearAnswer.ADOPT and older is not None:
        submissions.add_adopting_submission(session, wanted, older.run_id)
        warning = "the task was cleared while its run was active; that run was adopted (on_clear=adopt)"
        return Accepted(older, replayed=True, warnings=[warning])
    if older is not None and wanted.on_clear is OnClear.DETACH:
        waiters.forget(session, older.run_id)
    warnings: list[str] = []
    if skip and answer is ClearAnswer.NEW_RUN:
        unchanged = _last_good_if_unchanged(session, wanted)
        if unchanged is not None:
            submissions.add_adopting_submission(session, wanted, unchanged.run_id)
            return Accepted(unchanged, replayed=True, unchanged=True, warnings=[_UNCHANGED])
        warnings = _uncomparable(wanted)
    run = _new_run(wanted, 1, moment)
    changed: tuple[Run, ...] = ()
    if answer is ClearAnswer.CANCEL_THEN_NEW and older is not None:
        run = replace(run, after_run=older.run_id)
        reason = "the task was cleared (on_clear=cancel_then_new)"
        changed = (runs.request_cancel(session, older.run_id, at=moment, reason=reason),)
    submissions.add_submission(session, replace(wanted, current_run=run.run_id), run)
    return Accepted(run, warnings=warnings, changed=changed)


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
        f"skip_if_unchanged: the version of {unknown[0]} is unknown ({len(unknown)} of "
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
        arguments=wanted.arguments,
        labels=wanted.labels,
        origin=wanted.origin,
    )


def _refuse(answer: Answer, stored: Submission, try_number: int) -> None:
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


def _changed_arguments(stored: Submission, wanted: Submission) -> list[str]:
    """A warning if the run computes something else than is asked for now."""
    what = changed_work(stored, wanted)
    return [f"{_STARTED_EARLIER}, with other {' and other '.join(what)}"] if what else []
