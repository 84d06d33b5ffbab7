"""Keeps a SQLite database to one bridge process: taken before work begins, held, and given back."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time

from bridge.lineage import leases
from bridge.lineage.database import Database
from bridge.lineage.errors import HeldByAnother
from bridge.service.context import Context

log = logging.getLogger(__name__)

HOLD_SECONDS = 10.0
_RETRY_SECONDS = 0.5


def take_database(database: Database, holder: str, *, patience_seconds: float = HOLD_SECONDS + 2.0) -> None:
    """Take the database, waiting for the hold of a process that died; nothing to do on PostgreSQL.

    Raises ``HeldByAnother`` when the holder is still there after ``patience_seconds``.
    """
    deadline = time.monotonic() + patience_seconds
    told = False
    while True:
        try:
            database.transact(lambda s: leases.take_database(s, holder=holder, lease_seconds=HOLD_SECONDS))
            return
        except HeldByAnother as error:
            if is_dead(error.holder):
                drop_database(database, error.holder)
                continue
            if time.monotonic() >= deadline:
                raise
            if not told:
                log.warning("waiting for the database", extra={"reason": str(error)})
                told = True
            time.sleep(_RETRY_SECONDS)


def name_holder() -> str:
    """This process, as it stands in a lease: a person finds it, and its successor sees that it died."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_dead(holder: str) -> bool:
    """Whether a process of this machine held the database and is no more."""
    host, _, pid = holder.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def drop_database(database: Database, holder: str) -> None:
    """Let the next process take it at once."""
    database.transact(lambda s: leases.drop_database(s, holder=holder), repeatable=True)


class DatabaseHold:
    """Extends the hold while the process lives."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Extend until cancelled. A process that was frozen, and whose database another took, ends."""
        store, holder = self._context.store, self._context.holder
        while True:
            try:
                await store.transact(
                    lambda s: leases.take_database(s, holder=holder, lease_seconds=HOLD_SECONDS),
                    repeatable=True,
                )
            except HeldByAnother as error:
                log.critical("the database was taken over; stopping", extra={"error": str(error)})
                os.kill(os.getpid(), signal.SIGTERM)
                return
            await asyncio.sleep(HOLD_SECONDS / 3)
