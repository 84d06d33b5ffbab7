"""SQLite behind two small pools of threads, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bridge.local import store_native_schema, store_schema
from bridge.local.status import DiskFull

T = TypeVar("T")
_READERS = 2
_BUSY_TIMEOUT_SECONDS = 30.0
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


class Store:
    """The database of one local backend: one writer thread, a few readers, WAL between them.

    ``write`` runs a function in its own transaction, one after the other in the order of the calls:
    what it returns was committed. ``read`` runs a function on a snapshot that no writer disturbs.
    An exception of the function rolls its transaction back and reaches the caller. ``write`` raises
    ``DiskFull`` when there is no room.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer.submit(self._prepare).result()

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``change`` in one transaction and return what it returned, committed."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._transact, change)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` on a consistent snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._look, query)

    def close(self) -> None:
        """Finish what was begun and close every connection."""
        self._readers.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def _prepare(self) -> None:
        connection = self._connection()
        connection.execute("PRAGMA journal_mode=WAL")
        store_schema.prepare(connection)

    def _transact(self, change: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            # Of some errors SQLite rolls back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
                raise DiskFull(self._path.parent) from error
            raise
        return result

    def _look(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            connection.execute("COMMIT")

    def _connection(self) -> sqlite3.Connection:
        existing: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if existing is not None:
            return existing
        # Only the owning thread uses a connection; close() runs after all of them have ended.
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        # WAL with NORMAL survives the death of the process at any moment, without an fsync a commit.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.create_function("plain_json", 1, store_native_schema.plain_json, deterministic=True)
        with self._guard:
            self._connections.append(connection)
        self._local.connection = connection
        return connection
