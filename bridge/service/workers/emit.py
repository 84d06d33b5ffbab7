"""Tells the OpenLineage consumer of runs and tasks: at least once, and of each run in order."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlmodel import Session

from bridge.domain.emission import Told, Wording
from bridge.lineage import emissions, leases, quarantine
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.consumer import Circuit, Consumer, ConsumerAway, EventRefused
from bridge.service.context import Context
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.versions import package_version
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.claiming import ClaimWorker
from bridge.service.workers.keep import kept

log = logging.getLogger(__name__)

_NOTED_AT_ONCE = 1000
# So many events may come twice when a process dies.
_REMEMBER_EVERY = 100


class EmissionNoter:
    """Makes the runs due of which the outbox has news, from where any process left off."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Note until cancelled."""
        with self._context.wakeups.listening() as bell:
            while True:
                if await self.step() < _NOTED_AT_ONCE:
                    await bell.wait(self._context.settings.worker_poll_seconds)

    async def step(self) -> int:
        """Note one batch of events; how many those were."""
        noted = await self._context.background.transact(lambda s: emissions.note_news(s, _NOTED_AT_ONCE))
        if noted:
            for name in self._context.backends:
                self._context.wakeups.emit(name).ring()
        return noted


class EmitWorker(ClaimWorker):
    """Sends what the consumer is owed of one backend's runs.

    ``circuit`` is shared by all who send to the consumer. While that is away one run at a time is tried, and
    everything waits in the database.
    """

    name = "emit"
    duty = Duty.EMIT

    def __init__(
        self,
        context: Context,
        backend: Backend,
        settings: OpenLineageSettings,
        circuit: Circuit,
        consumer: Consumer | None = None,
    ) -> None:
        super().__init__(context, backend, context.wakeups.emit(backend.name), pool_size=settings.at_once)
        self._settings = settings
        self._circuit = circuit
        self._consumer = consumer or Consumer(settings)
        self._wording = Wording(
            producer=settings.producer,
            namespace=settings.namespace,
            version=package_version(),
            url=context.settings.public_url,
        )

    async def run(self) -> None:
        """Claim and send until cancelled."""
        async with self._consumer:
            await super().run()

    async def step(self) -> int:
        """As ``ClaimWorker.step``; nothing is claimed while the consumer is left alone."""
        busy = self._pool.free < self._pool.size
        if self._circuit.held_seconds > 0 or (self._circuit.is_probing and busy):
            return 0
        return await super().step()

    def _claim_due(self, session: Session, room: int) -> list[Claim]:
        return super()._claim_due(session, 1 if self._circuit.is_probing else room)

    async def _work(self, claim: Claim) -> None:
        async with kept(self._store, claim, self._context.settings.lease_seconds):
            found = await self._store.read(lambda s: emissions.facts_of(s, claim.run.run_id))
            taken: dict[str, Told] = {}
            try:
                if found is not None:
                    for owed in self._wording.owed(*found):
                        await self._consumer.send(owed.event)
                        self._circuit.note_answer()
                        taken[owed.subject] = owed.told
                        if len(taken) >= _REMEMBER_EVERY:
                            await self._remember(claim, taken)
                            taken.clear()
            except ConsumerAway as error:
                await self._away(claim, taken, error)
            except EventRefused as error:
                self._circuit.note_answer()
                await self._refused(claim, taken, error)
            else:
                await self._done(claim, taken)

    async def _remember(self, claim: Claim, taken: dict[str, Told]) -> None:
        await self._store.transact(lambda s: emissions.record_told(s, claim, taken), repeatable=True)

    async def _done(self, claim: Claim, taken: dict[str, Told]) -> None:
        def write(session: Session) -> None:
            if taken:
                emissions.record_told(session, claim, taken)
                emissions.note_trouble(session, claim, None)
            leases.release(session, claim)

        await self._store.transact(write, repeatable=True)

    async def _away(self, claim: Claim, taken: dict[str, Told], error: ConsumerAway) -> None:
        began = not self._circuit.is_probing
        settings = self._settings
        self._circuit.note_away(error, first=settings.retry_seconds, longest=settings.longest_retry_seconds)
        if began:
            log.warning("OpenLineage consumer takes nothing; its events wait", extra={"error": str(error)})
        patience = settings.patience_hours * 3600.0
        pause = self._circuit.held_seconds
        await self._failed(
            claim, taken, str(error), pause, failures=claim.failures, patience_seconds=patience
        )

    async def _refused(self, claim: Claim, taken: dict[str, Told], error: EventRefused) -> None:
        failures = claim.failures + 1
        patience = 0.0 if failures >= self._settings.refusals else None
        pause = backoff_seconds(
            failures, first=self._settings.retry_seconds, longest=self._settings.longest_retry_seconds
        )
        await self._failed(claim, taken, str(error), pause, failures=failures, patience_seconds=patience)

    async def _failed(
        self,
        claim: Claim,
        taken: dict[str, Told],
        reason: str,
        pause: float,
        *,
        failures: int,
        patience_seconds: float | None,
    ) -> None:
        """Try again after the pause, or set the run's events aside if that has gone on for too long."""
        run = claim.run

        def write(session: Session) -> bool:
            if taken:
                # The consumer took something: patience with what is left begins anew.
                emissions.record_told(session, claim, taken)
                emissions.note_trouble(session, claim, None)
            failing = emissions.note_trouble(session, claim, reason)
            if patience_seconds is None or failing < patience_seconds:
                # What the consumer keeps failing at holds everything up each time: it is tried seldom.
                longest = self._settings.longest_retry_seconds
                due = database_now(session) + timedelta(seconds=max(pause, min(failing / 2, longest)))
                leases.release(session, claim, due_at=due, failures=failures)
                return False
            quarantine.set_aside(
                session,
                backend=run.backend,
                project=run.project,
                work=self.duty.value,
                subject=str(run.run_id),
                run_id=run.run_id,
                reason=f"the OpenLineage consumer {reason}",
                failures=max(1, failures),
            )
            emissions.note_trouble(session, claim, None)
            leases.release(session, claim)
            return True

        if await self._store.transact(write, repeatable=True):
            facts = {"run_id": run.run_id, "worker": self.name, "reason": reason}
            log.error("work set aside", extra=facts)
