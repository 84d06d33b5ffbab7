"""Whether a backend was swept since this process began.

Until then the database may be older than the backend, restored from a backup: a run that looks new can be
there already.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from bridge.lineage import backends
from bridge.service.backends import Backend
from bridge.service.store import Store


class SweptSince:
    """Remembers the answer once it is yes."""

    def __init__(self, store: Store, backend: Backend) -> None:
        self._store = store
        self._backend = backend
        self._began: datetime | None = None
        self._is_swept = False

    async def is_swept(self, now: datetime) -> bool:
        """Whether all of the backend was; ``now`` is the database's time."""
        if self._began is None:
            self._began = now
        if not self._is_swept:
            self._is_swept = await self._store.read(self._read)
        return self._is_swept

    def _read(self, session: Session) -> bool:
        name, began = self._backend.name, self._began
        assert began is not None
        swept = [
            backends.backend_state(session, name, namespace).last_slow_sweep_at
            for namespace in self._backend.settings.namespaces
        ]
        return all(moment is not None and moment > began for moment in swept)
