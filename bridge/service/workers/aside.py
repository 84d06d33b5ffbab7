"""What of a backend's lists is set aside: rows that are no runs, and runs that cannot be taken in."""

from __future__ import annotations

import logging
from uuid import UUID

from sqlmodel import Session

from bridge.lineage import quarantine, runs
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.workers.suspects import Suspects

log = logging.getLogger(__name__)

# The kinds of work: a row that is no run; a run whose news cannot be read or recorded.
LIST = "list"
SWEEP = "sweep"


class RowsAside:
    """The set-aside rows of one backend, as a sweep has to know them."""

    def __init__(self, context: Context, backend: Backend) -> None:
        self._context = context
        self._store = context.background
        self._backend = backend
        self._suspects = Suspects()
        self._known: dict[str, set[str]] = {LIST: set(), SWEEP: set()}

    async def load(self) -> None:
        """Read what is set aside now: somebody may have released it."""
        name = self._backend.name
        self._known = await self._store.read(
            lambda s: {work: quarantine.subjects(s, name, work) for work in (LIST, SWEEP)}
        )

    def holds(self, work: str, subject: str) -> bool:
        """Whether that is to be passed over."""
        return subject in self._known[work]

    async def blame(self, work: str, subject: str, error: Exception) -> None:
        """Count a failure; set the subject aside when there were too many in a row."""
        failures = self._suspects.failed((work, subject))
        if failures < self._context.settings.quarantine_after_failures:
            return
        reason = str(error) if work == LIST else f"{type(error).__name__}: {error}"

        def write(session: Session) -> None:
            run = None
            if work == SWEEP:
                kfp_run_id = UUID(subject)
                run = runs.get_by_kfp_id(session, self._backend.name, [kfp_run_id]).get(kfp_run_id)
            quarantine.set_aside(
                session,
                backend=self._backend.name,
                project=run.project if run else self._backend.settings.found_runs_project,
                work=work,
                subject=subject,
                run_id=run.run_id if run else None,
                reason=reason,
                failures=failures,
            )

        await self._store.transact(write, repeatable=True)
        self._known[work].add(subject)
        self._suspects.forget((work, subject))
        facts = {"backend": self._backend.name, "work": work, "subject": subject, "reason": reason}
        log.error("work set aside", extra=facts)
