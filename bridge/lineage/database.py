"""The connection to the lineage database, its transactions and its schema."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy import exc as sa_exc
from sqlmodel import Session

from bridge.lineage import schema
from bridge.lineage.columns import database_time
from bridge.lineage.engine import (
    for_reading,
    for_writing,
    is_disconnect,
    is_full,
    is_missing_schema,
    is_out_of_order,
    is_refused_write,
    is_transient,
    open_engine,
    parse_url,
)
from bridge.lineage.errors import CommitUnknown, DatabaseFull, DatabaseUnavailable, SchemaMismatch

T = TypeVar("T")
_ROOM_AFTER_SECONDS = 2.0


class Database:
    """One SQLite file (``sqlite:///path``) or PostgreSQL database (``postgresql://…``).

    Thread-safe and synchronous: callers on an event loop use it in threads. ``pool_size`` is the
    number of connections at most; ``patience_seconds`` how long one call tries before it raises
    ``DatabaseUnavailable``. Nothing is connected until it is used, and no folder is made. Raises
    ``ValueError`` for a URL of anything else, ``BadDatabasePlace`` for a file that cannot be there.
    """

    dialect: Literal["sqlite", "postgresql"]

    def __init__(self, url: str, *, pool_size: int = 5, patience_seconds: float = 15.0) -> None:
        parsed = parse_url(url)
        self.patience_seconds = patience_seconds
        self.dialect = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql"
        self.shown_url = parsed.render_as_string(hide_password=True)
        self._engine = open_engine(parsed, pool_size=pool_size, patience_seconds=patience_seconds)
        self._writing = for_writing(self._engine)
        self._reading = for_reading(self._engine)
        # SQLite's own waiting for its one write lock sleeps in steps and is unfair; threads of this
        # process queue here instead.
        self._writer = threading.Lock() if self.dialect == "sqlite" else None
        self._in_transaction = threading.local()
        self._full_at: float | None = None

    def transact(self, work: Callable[[Session], T], *, repeatable: bool = False) -> T:
        """Run ``work`` in one transaction and commit it.

        ``work`` may be called several times, each time in a new transaction: after a deadlock, a
        serialization failure, a lock that was not to be had, and a lost connection. So it must do
        nothing but use its session. If the connection breaks while the COMMIT is under way, nobody
        knows whether it took place: the work is then done again only if it is ``repeatable``
        (upserts; ``add_submission``, whose key refuses a second one), else ``CommitUnknown`` is raised.

        Raises ``DatabaseUnavailable`` after ``patience_seconds``, ``DatabaseFull`` at once,
        ``SchemaMismatch`` if tables are missing; what ``work`` raises passes through, and nothing of it is
        stored.
        """
        return self._patiently(lambda: self._write_once(work), repeatable=repeatable)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run ``work`` in one transaction that may not write; repeated like ``transact``."""
        return self._patiently(lambda: self._read_once(work), repeatable=True)

    @property
    def is_full(self) -> bool:
        """Whether there was no room for something lately, and nothing was written since."""
        return self._full_at is not None

    def migrate(self) -> None:
        """Bring the schema to this program's revision; safe to call from several processes at once."""

        def upgrade() -> None:
            with self._write_lock(), self._writing.begin() as connection:
                schema.upgrade(connection)

        self._patiently(upgrade, repeatable=True)

    def revision(self) -> str | None:
        """The schema revision the database is at; ``None`` before the first migration."""
        return self._patiently(lambda: self._connected(schema.current_revision), repeatable=True)

    def head(self) -> str:
        """The schema revision this program needs."""
        return schema.head_revision()

    def check_schema(self) -> None:
        """Raise ``SchemaMismatch``, saying what to do, unless ``revision() == head()``."""
        revision, head = self.revision(), self.head()
        if revision != head:
            raise SchemaMismatch(
                f"the database {self.shown_url} is at schema revision {revision or 'none'}, "
                f"this program needs {head}: run `kfbridge migrate`"
            )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _write_once(self, work: Callable[[Session], T]) -> T:
        with self._write_lock(), Session(self._writing, expire_on_commit=False, autoflush=False) as session:
            result = work(session)
            session.flush()
            try:
                session.commit()
            except sa_exc.DBAPIError as error:
                if is_disconnect(error):
                    raise _CommitLost from error
                raise
            self._note_room()
            return result

    def _note_room(self) -> None:
        """Small writes may find room where others do not: it takes some time without trouble."""
        if self._full_at is not None and time.monotonic() - self._full_at >= _ROOM_AFTER_SECONDS:
            self._full_at = None

    def _read_once(self, work: Callable[[Session], T]) -> T:
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            try:
                return work(session)
            except sa_exc.DBAPIError as error:
                if is_refused_write(error):
                    raise RuntimeError("work that writes was given to read(); use transact()") from error
                raise

    def _connected(self, work: Callable[[Connection], T]) -> T:
        with self._reading.connect() as connection:
            return work(connection)

    @contextmanager
    def _write_lock(self) -> Iterator[None]:
        if self._writer is None:
            yield
            return
        if getattr(self._in_transaction, "held", False):
            raise RuntimeError("a transaction was begun inside another one's work")
        if not self._writer.acquire(timeout=self.patience_seconds):
            raise DatabaseUnavailable("another thread writes for too long", self.patience_seconds)
        self._in_transaction.held = True
        try:
            yield
        finally:
            self._in_transaction.held = False
            self._writer.release()

    def _patiently(self, once: Callable[[], T], *, repeatable: bool) -> T:
        deadline = time.monotonic() + self.patience_seconds
        pause = 0.01
        while True:
            try:
                return once()
            except _CommitLost as lost:
                error = lost.__cause__ or lost
                if not repeatable:
                    detail = "the connection broke during COMMIT; the work may or may not be stored"
                    raise CommitUnknown(detail, self.patience_seconds) from error
            except sa_exc.TimeoutError as full:
                error = full
            except sa_exc.DBAPIError as failed:
                error = failed
                if is_missing_schema(failed):
                    raise SchemaMismatch(
                        f"{_first_line(failed)}: the schema is not this program's, run `kfbridge migrate`"
                    ) from failed
                if is_full(failed):
                    self._full_at = time.monotonic()
                    raise DatabaseFull(_first_line(failed)) from failed
                if is_out_of_order(failed) and not is_transient(failed):
                    raise DatabaseUnavailable(_first_line(failed), 0) from failed
                if not is_transient(failed):
                    raise
            if time.monotonic() + pause > deadline:
                raise DatabaseUnavailable(_first_line(error), self.patience_seconds) from error
            # Jitter, so that those who collided do not collide again.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, 1.0)


class _CommitLost(Exception):
    """The connection broke while COMMIT was under way."""


def _first_line(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0]


def now(session: Session) -> datetime:
    """The database's time, UTC: what ``due_at`` and leases are compared with."""
    moment: datetime = session.execute(select(database_time())).scalar_one()
    return moment
