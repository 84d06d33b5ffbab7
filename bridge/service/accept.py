"""``POST /runs``: from a request to a recorded submission, or to the answer it was given before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlmodel import Session

from bridge.client.models import SubmitRequest
from bridge.domain.identity import caller_key, lineage_of_key, submission_key
from bridge.domain.lineage import OnClear, OnRetry, Run, Submission
from bridge.domain.resubmission import Answer, answer_repeat
from bridge.lineage import submissions
from bridge.service.admission import check_admission
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.convert import origin_of
from bridge.service.crash import crash_point
from bridge.service.grouping import Grouped
from bridge.service.pipelines import Found, PipelineSource, Reference, Resolved, reference_of, resolve
from bridge.service.problems import ProblemError
from bridge.service.queueing import QueueBounds
from bridge.service.recording import (
    STARTED_EARLIER,
    Accepted,
    Intent,
    Recorder,
    changed_arguments,
    refuse,
    refuse_older_generation,
)
from bridge.service.requests import arguments_of, check_gate, digest_of, display_name_of, inputs_of
from bridge.service.revive import retry_failed_tasks
from bridge.service.workers.upload import DEFAULT_EXPERIMENT

_MAX_KEY_LENGTH = 255
_MOST_TOGETHER = 64
_STOPPING_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Identity:
    key: UUID
    family: UUID | None
    digest: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database says of a request: its submission with the run that answers for it, if there is one,
    and what the pipeline that it names means."""

    stored: tuple[Submission, Run] | None
    resolved: Resolved | None


class Acceptance:
    """Accepts submissions for one service process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._recorder = Recorder(context.store)
        self._look = Grouped(self._look_together, most=_MOST_TOGETHER)
        self._bounds = QueueBounds(context.store, context.settings)
        self.pipelines = PipelineSource(context.store)

    async def accept(
        self, request: SubmitRequest, idempotency_key: str | None, *, actor: str = ""
    ) -> Accepted:
        """Record the submission, durably, or find the run that is its answer; ``actor`` asks, for the audit
        log. Raises ``ProblemError``.

        A request with a known key and try is answered before its pipeline is looked at: what was
        accepted once stays accepted.
        """
        identity = self._identify(request, idempotency_key)
        known = await self._look((identity.key, reference_of(request)))
        repeat = await self._repeat_of(request, identity, known, actor)
        if repeat is not None:
            return repeat
        if self._context.stopping:
            text = "this bridge is about to stop; nothing was recorded, send it again"
            raise ProblemError("stopping", text, retry_after_seconds=_STOPPING_RETRY_SECONDS)
        backend = self._backend(request)
        await self._bounds.check(request.project)
        submission, found = await self._prepare(request, identity, known, backend)
        intent = Intent(submission, found, request.skip_if_unchanged, actor)
        accepted = await self._recorder.record(intent)
        if accepted is None:
            # The run failed between the two looks, and its failed tasks are to be retried.
            known = await self._look((identity.key, reference_of(request)))
            repeat = await self._repeat_of(request, identity, known, actor)
            assert repeat is not None, "a run that ended does not begin by itself"
            return repeat
        crash_point("accept.after_commit")
        if not accepted.replayed:
            self._bounds.accepted(request.project)
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

    def _namespace(self, request: SubmitRequest, backend: Backend) -> str | None:
        own = self._context.settings.namespaces_of(request.project)
        followed = backend.settings.namespaces
        default = next((name for name in own if name in followed), backend.default_namespace)
        namespace = request.namespace or default or None
        if own and namespace is not None and namespace not in own:
            text = f"project {request.project} has no namespace {namespace}; it has: {', '.join(own)}"
            raise ProblemError("forbidden", text, errors=[("/namespace", text)])
        return namespace

    async def _look_together(self, asked: Sequence[tuple[UUID, Reference | None]]) -> list[_Known]:
        def read(session: Session) -> list[_Known]:
            stored = submissions.current_runs(session, [key for key, _ in asked])
            named = {reference for _, reference in asked if reference is not None}
            resolved = {reference: resolve(session, reference) for reference in named}
            return [
                _Known(stored.get(key), resolved[reference] if reference is not None else None)
                for key, reference in asked
            ]

        return await self._store.read(read)

    async def _repeat_of(
        self, request: SubmitRequest, identity: _Identity, known: _Known, actor: str
    ) -> Accepted | None:
        """The answer to a request whose try needs no new run; ``None`` if the whole request is needed."""
        if known.stored is None:
            return None
        stored, run = known.stored
        try_number = request.origin.try_number
        answer = answer_repeat(stored, run, identity.digest, try_number, OnRetry(request.on_retry))
        refuse(answer, stored, try_number)
        if answer is Answer.SAME:
            return Accepted(run, replayed=True)
        if answer is Answer.ADOPT:
            warnings = await self._compared(request, stored, identity, known)
            await self._record_try(identity, try_number)
            return Accepted(run, replayed=True, warnings=warnings)
        if answer is Answer.RETRY_TASKS:
            await self._store.read(lambda s: refuse_older_generation(s, stored, origin_of(request.origin)))
            revived = await retry_failed_tasks(self._context, run, actor=actor)
            warnings = await self._compared(request, stored, identity, known)
            await self._record_try(identity, try_number)
            return Accepted(revived, warnings=warnings)
        return None

    async def _compared(
        self, request: SubmitRequest, stored: Submission, identity: _Identity, known: _Known
    ) -> list[str]:
        """What to tell a later try whose body is another one: only what the run would compute counts."""
        if stored.request_digest == identity.digest:
            return []
        try:
            wanted, _ = await self._prepare(request, identity, known, self._backend(request))
        except ProblemError as error:
            # The run was accepted and goes on; a later try's mistake must not end it.
            return [f"{STARTED_EARLIER}; what this try asks for would be refused: {error}"]
        return changed_arguments(stored, wanted)

    async def _record_try(self, identity: _Identity, try_number: int) -> None:
        # With its digest, so that this try's own repeats are recognised.
        await self._store.transact(
            lambda s: submissions.record_try(s, identity.key, try_number, request_digest=identity.digest),
            repeatable=True,
        )

    async def _prepare(
        self, request: SubmitRequest, identity: _Identity, known: _Known, backend: Backend
    ) -> tuple[Submission, Found]:
        check_gate(request.gate)
        namespace = self._namespace(request, backend)
        found = await self.pipelines.find(request, known.resolved, backend, namespace)
        rules = self._context.settings.admission_of(request.project)
        check_admission(found.pipeline, rules, request.project)
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
