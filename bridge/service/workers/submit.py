"""Sends queued runs to their backend, each once, and finds out about those whose answer was lost."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from sqlmodel import Session

from bridge.domain.decide import LookUp, Missing, NewAttempt, Observation, Post, WaitUntil, Withdraw, decide
from bridge.domain.identity import kfp_run_id
from bridge.domain.lineage import Run, RunError, Submission
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.kfp_api import messages
from bridge.kfp_api.errors import (
    KfpAuthError,
    KfpBadAnswer,
    KfpBadUrl,
    KfpError,
    KfpInvalid,
    KfpNotFound,
)
from bridge.lineage import leases, queue, runs, submissions, switches
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import FencedOut
from bridge.lineage.records import BackendVersion, Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.crash import crash_point
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.claiming import ClaimWorker
from bridge.service.workers.record import Recorded, observation_of, record
from bridge.service.workers.refusals import refusal
from bridge.service.workers.suspects import cannot_be_read
from bridge.service.workers.swept import SweptSince
from bridge.service.workers.upload import (
    DEFAULT_EXPERIMENT,
    SpecGone,
    ensure_experiment,
    ensure_version,
    forget_version,
)

log = logging.getLogger(__name__)

_AFTER_RUN_CHECK_SECONDS = 2.0
# Refusals: asking again would get the same answer.
_DEFINITIVE = (KfpAuthError, KfpInvalid, KfpNotFound, KfpBadUrl)


class SubmitWorker(ClaimWorker):
    """Works off one backend's queued runs."""

    name = "submit"
    duty = Duty.FOLLOW
    phases = (RunPhase.QUEUED, RunPhase.SUBMITTING)

    def __init__(self, context: Context, backend: Backend) -> None:
        bell = context.wakeups.submit(backend.name)
        super().__init__(context, backend, bell, pool_size=backend.settings.max_submitting)
        self._swept = SweptSince(context.store, backend)

    def _claim_due(self, session: Session, room: int) -> list[Claim]:
        """What is due already has its place, or needs none; what room is left goes to the queue."""
        claims = super()._claim_due(session, room)
        settings = self._context.settings
        switches.note_drained(session, self._backend.name)
        return claims + queue.place(
            session,
            worker=self._context.holder,
            backend=self._backend.name,
            share_of=settings.share_of,
            max_active_runs=self._backend.settings.max_active_runs,
            limit=room - len(claims),
            lease_seconds=settings.lease_seconds,
        )

    @property
    def _lease_seconds(self) -> float:
        # A claim has to outlast the POST that was begun under it.
        return self._context.settings.lease_seconds + self._backend.settings.timeout_seconds

    async def _work(self, claim: Claim) -> None:
        crash_point("submit.after_claim")
        action = decide(claim.run, None, self._claimed_at(claim), self._backend.policy)
        if isinstance(action, Withdraw):
            await self._withdraw(claim)
        elif isinstance(action, Post):
            if await self._has_to_wait(claim):
                await self._release(claim, _AFTER_RUN_CHECK_SECONDS)
            elif claim.run.placed_at is None:
                await self._queue(claim)
            elif await self._store.read(lambda s: switches.is_paused(s, self._backend.name)):
                await self._give_place_back(claim)
            elif await self._is_new(claim) or not await self._is_there(claim):
                await self._post(claim)
        elif isinstance(action, LookUp):
            await self._look_up(claim)
        else:
            await self._release(claim, None)

    async def _has_to_wait(self, claim: Claim) -> bool:
        after = claim.run.after_run
        if after is None:
            return False
        earlier = await self._store.read(lambda s: runs.get_run(s, after))
        return earlier is not None and not earlier.phase.is_over

    async def _queue(self, claim: Claim) -> None:
        """It waited for another run's end, or comes from a version without a queue: it takes its turn."""

        def write(session: Session) -> None:
            queue.join_queue(session, claim.run.run_id)
            _release_or_undo(session, claim)

        await self._store.transact(write, repeatable=True)
        self._bell.ring()

    async def _give_place_back(self, claim: Claim) -> None:
        """The backend was paused when the run had its place already: it waits in the queue instead."""

        def write(session: Session) -> None:
            queue.give_place_back(session, claim.run.run_id)
            _release_or_undo(session, claim)

        await self._store.transact(write, repeatable=True)

    async def _is_new(self, claim: Claim) -> bool:
        """Whether the backend cannot have the run already, from a time that is not in the database."""
        # A later try whose first run is asked for: an earlier try may have been forgotten.
        if claim.run.origin.try_number > claim.run.attempt:
            return False
        return await self._swept.is_swept(self._claimed_at(claim))

    async def _is_there(self, claim: Claim) -> bool:
        """Look whether the backend has the run before it is sent; if it has, or cannot say, the claim is
        given back."""
        try:
            found = await self._backend.client.get_run(claim.run.kfp_run_id)
        except KfpNotFound:
            return False
        except KfpBadAnswer as error:
            # A gateway that is not ready yet says nothing of the run.
            self._note_error(error)
            await self._release(claim, self._pause(claim, error), failures=claim.failures + 1)
            return True
        except KfpError as error:
            await self._not_sent(claim, error, "looking for the run")
            return True
        seen = observation_of(found, asked_at=self._claimed_at(claim))
        assert seen is not None, "get_run gives the run that was asked for"
        await self._adopt(claim, seen)
        return True

    async def _post(self, claim: Claim) -> None:
        key = claim.run.submission_key
        submission = await self._store.read(lambda s: submissions.find_submission(s, key)) if key else None
        if submission is None:
            await self._reject(
                claim, RunError(code="NO_SUBMISSION", message="the submission of this run is gone")
            )
            return
        namespace = claim.run.namespace or self._backend.default_namespace
        try:
            version = await ensure_version(self._store, self._backend, claim.run, namespace)
            experiment_id = await ensure_experiment(
                self._backend, claim.run.experiment or DEFAULT_EXPERIMENT, namespace
            )
        except SpecGone as error:
            await self._reject(claim, RunError(code="NO_SPEC", message=str(error)))
            return
        except KfpError as error:
            await self._not_sent(claim, error, "preparing the run")
            return
        await self._send(claim, _message(claim.run, submission, version, experiment_id), namespace)

    async def _send(self, claim: Claim, message: messages.Run, namespace: str) -> None:
        def begin(session: Session) -> list[Run]:
            if not switches.may_send(session, self._backend.name):
                return []
            leases.extend(session, claim, self._lease_seconds)
            begun = runs.change_run(
                session,
                claim.run.run_id,
                fence=claim.fence,
                phase=RunPhase.SUBMITTING,
                submitted_at=database_now(session),
            )
            return [begun]

        if not await self._store.change(begin):
            await self._give_place_back(claim)
            return
        crash_point("submit.before_post")
        try:
            with self._context.tracing.of_run("kfbridge.submit", claim.run):
                created = await self._backend.client.create_run(message)
        except KfpNotFound as error:
            # The version or the experiment we remember was deleted there: make them anew, once.
            await forget_version(self._store, self._backend, claim.run, namespace)
            self._backend.experiments.clear()
            if claim.failures == 0:
                await self._back_to_queue(claim, error)
            else:
                await self._reject(claim, refusal(error, self._backend, "creating the run"))
        except KfpError as error:
            await self._not_created(claim, error)
        else:
            crash_point("submit.after_post")
            self._worked(claim)
            self._context.note_answer(self._backend)
            await self._created(claim, created)

    async def _created(self, claim: Claim, created: messages.Run) -> None:
        seen = observation_of(created, asked_at=self._claimed_at(claim)) or Observation(
            kfp_run_id=claim.run.kfp_run_id,
            state=created.runtime_state,
            state_word=created.state,
            asked_at=self._claimed_at(claim),
        )
        if seen.kfp_run_id != claim.run.kfp_run_id:
            log.error(
                "backend ignored the run_id it was given",
                extra={
                    "run_id": claim.run.run_id,
                    "kfp_run_id": seen.kfp_run_id,
                    "backend": self._backend.name,
                },
            )
        if seen.state is RuntimeState.UNSPECIFIED:
            # A fresh row has no state yet; it is there all the same.
            seen = replace(seen, state=RuntimeState.PENDING)
        await self._record(claim, seen)
        self._context.wakeups.track(self._backend.name).ring()
        log.info("run submitted", extra={"run_id": claim.run.run_id, "kfp_run_id": claim.run.kfp_run_id})

    async def _not_created(self, claim: Claim, error: KfpError) -> None:
        if error.ambiguous:
            self._note_error(error)
            log.warning("unanswered POST", extra={"run_id": claim.run.run_id, "error": str(error)})
            await self._release(claim, self._backend.policy.lookup_interval_seconds, failures=0)
        elif error.retryable:
            await self._back_to_queue(claim, error)
        elif isinstance(error, _DEFINITIVE):
            await self._reject(claim, refusal(error, self._backend, "creating the run"))
        else:
            # 409: the run is there already, by an earlier POST of ours.
            await self._release(claim, 0.0, failures=0)

    async def _not_sent(self, claim: Claim, error: KfpError, doing: str) -> None:
        """A step before the POST failed: nothing was created, so everything may be tried again."""
        if isinstance(error, _DEFINITIVE) or (isinstance(error, KfpBadAnswer) and not error.cut):
            await self._reject(claim, refusal(error, self._backend, doing))
            return
        self._note_error(error)
        await self._release(claim, self._pause(claim, error), failures=claim.failures + 1)

    async def _back_to_queue(self, claim: Claim, error: KfpError) -> None:
        if error.retryable:
            self._note_error(error)
        pause = self._pause(claim, error)

        def queue(session: Session) -> Run:
            changed = runs.change_run(
                session, claim.run.run_id, fence=claim.fence, phase=RunPhase.QUEUED, submitted_at=None
            )
            due = database_now(session) + timedelta(seconds=pause)
            leases.release(session, claim, due_at=due, failures=claim.failures + 1)
            return changed

        await self._store.change(queue)

    def _pause(self, claim: Claim, error: KfpError) -> float:
        return max(error.retry_after_seconds or 0.0, backoff_seconds(claim.failures + 1))

    def _note_error(self, error: KfpError) -> None:
        self._context.note_error(self._backend, error)

    async def _look_up(self, claim: Claim) -> None:
        seen: Observation | Missing
        try:
            found = await self._backend.client.get_run(claim.run.kfp_run_id)
        except KfpNotFound:
            seen = Missing()
        except KfpError as error:
            if self._is_its_own(claim, error):
                await self._blame(claim, error)
                return
            if cannot_be_read(error):
                self._suspects.suspect(claim.run.run_id)
            self._note_error(error)
            await self._release(claim, self._pause(claim, error), failures=claim.failures + 1)
            return
        else:
            self._worked(claim)
            told = observation_of(found, asked_at=self._claimed_at(claim))
            assert told is not None, "get_run gives the run that was asked for"
            seen = told
        self._context.note_answer(self._backend)
        action = decide(claim.run, seen, self._claimed_at(claim), self._backend.policy)
        if isinstance(action, WaitUntil):
            await self._release(claim, (action.moment - self._claimed_at(claim)).total_seconds(), failures=0)
        elif isinstance(action, NewAttempt):
            await self._new_attempt(claim, action.reason)
        elif isinstance(action, Withdraw):
            await self._withdraw(claim)
        elif isinstance(seen, Observation):
            await self._adopt(claim, seen)

    async def _adopt(self, claim: Claim, seen: Observation) -> None:
        await self._record(claim, seen)
        log.info("run adopted", extra={"run_id": claim.run.run_id, "kfp_run_id": claim.run.kfp_run_id})

    async def _record(self, claim: Claim, seen: Observation) -> None:
        def write(session: Session) -> Recorded:
            stored = runs.get_run(session, claim.run.run_id) or claim.run
            moment = database_now(session)
            recorded = record(session, stored, seen, moment, self._backend.policy, fence=claim.fence)
            wants_end = recorded.run.cancel_requested_at is not None and not recorded.run.phase.is_over
            leases.release(session, claim, due_at=moment if wants_end else None)
            return recorded

        recorded = await self._store.transact(write)
        self._store.announce(recorded.changed)
        self._context.ring_after(recorded.changed)

    async def _new_attempt(self, claim: Claim, reason: str) -> None:
        def give_up(session: Session) -> list[Run]:
            key = claim.run.submission_key
            submission = submissions.find_submission(session, key) if key else None
            error = RunError(code="ABANDONED", message=reason)
            abandoned = runs.change_run(
                session, claim.run.run_id, fence=claim.fence, phase=RunPhase.ABANDONED, error=error
            )
            if submission is None:
                return [abandoned]
            successor = _next_attempt(abandoned, submission, database_now(session))
            submissions.add_attempt(session, replace(submission, current_run=successor.run_id), successor)
            submissions.answer_with_successor(session, submission, abandoned.run_id, successor.run_id)
            leases.release(session, claim)
            return [abandoned, successor]

        changed = await self._store.change(give_up)
        log.warning(
            "attempt abandoned",
            extra={"run_id": claim.run.run_id, "reason": reason, "next": changed[-1].run_id},
        )
        self._bell.ring()

    async def _withdraw(self, claim: Claim) -> None:
        def write(session: Session) -> Run:
            moment = database_now(session)
            withdrawn = runs.change_run(
                session,
                claim.run.run_id,
                fence=claim.fence,
                event="run.ended",
                phase=RunPhase.ENDED,
                state=RuntimeState.CANCELED,
                mirror=MirrorState.COMPLETE,
                queued_at=None,
                finished_at=moment,
                settled_at=moment,
            )
            leases.release(session, claim)
            return withdrawn

        self._context.ring_after([await self._store.change(write)])

    async def _reject(self, claim: Claim, error: RunError) -> None:
        def write(session: Session) -> Run:
            moment = database_now(session)
            rejected = runs.change_run(
                session,
                claim.run.run_id,
                fence=claim.fence,
                event="run.rejected",
                phase=RunPhase.REJECTED,
                error=error,
                settled_at=moment,
            )
            leases.release(session, claim)
            return rejected

        log.error("run rejected", extra={"run_id": claim.run.run_id, "error": error.message})
        self._context.ring_after([await self._store.change(write)])


def _release_or_undo(session: Session, claim: Claim) -> None:
    """Raises ``FencedOut`` if somebody else has the run now: what was written with it is rolled back."""
    if not leases.release(session, claim):
        raise FencedOut(claim.run.run_id, claim.fence.duty.value, claim.fence.number)


def _message(run: Run, submission: Submission, version: BackendVersion, experiment_id: str) -> messages.Run:
    return messages.Run(
        run_id=str(run.kfp_run_id),
        display_name=run.display_name,
        experiment_id=experiment_id or None,
        pipeline_version_reference=messages.PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=messages.RuntimeConfig(
            parameters=dict(run.arguments), pipeline_root=submission.pipeline_root
        ),
        service_account=submission.service_account,
    )


def _next_attempt(run: Run, submission: Submission, moment: datetime) -> Run:
    attempt = run.attempt + 1
    return replace(
        run,
        run_id=uuid4(),
        kfp_run_id=kfp_run_id(submission.key, attempt),
        attempt=attempt,
        phase=RunPhase.QUEUED,
        state=RuntimeState.UNSPECIFIED,
        mirror=MirrorState.NONE,
        version=1,
        created_at=moment,
        submitted_at=None,
        started_at=None,
        finished_at=None,
        observed_at=None,
        settled_at=None,
        after_run=None,
        # It takes over the place of the attempt that was given up.
        queued_at=None,
        placed_at=moment,
        error=None,
        gate=None,
        revivals=0,
    )
