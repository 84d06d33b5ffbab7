"""Engines: one way to open each database, and which of its errors are worth trying again."""

from __future__ import annotations

import sqlite3
from errno import EDQUOT, EFBIG, ENOSPC
from os import strerror
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, bindparam, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlmodel import Session

from bridge.lineage.columns import to_json
from bridge.lineage.errors import BadDatabasePlace

_WRITES = "kfbridge_writes"
# By which PostgreSQL's administrators, and a restore, see whose connections there are.
APPLICATION_NAME = "kfbridge"
# How long a statement may take and wait for a lock. A hung connection must not hold a worker for good.
_POSTGRESQL_SETTINGS = (
    "SET TIME ZONE 'UTC'",
    "SET statement_timeout = '60s'",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '120s'",
    # Compiling a plan takes longer than any statement of ours, all of which read by indexes.
    "SET jit = off",
)
# serialization_failure, deadlock_detected, lock_not_available, too_many_connections, admin_shutdown,
# crash_shutdown, cannot_connect_now, idle_in_transaction_session_timeout
_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "25P03"})
_UNDEFINED_STATES = frozenset({"42P01", "42703", "3F000"})
_UNWRITTEN_CODES = frozenset(
    {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_FSYNC}
)
_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def parse_url(text: str) -> URL:
    """The URL with its driver chosen. Raises ``ValueError``, never showing a password."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("the database URL is not one: use sqlite:///path or postgresql://…") from None
    match url.get_backend_name():
        case "sqlite":
            if not url.database or url.database == ":memory:":
                raise ValueError("SQLite needs a file, since several threads share it: sqlite:///path")
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise ValueError(f"the lineage database is SQLite or PostgreSQL, not {other!r}")


def open_engine(url: URL, *, pool_size: int, patience_seconds: float) -> Engine:
    """An engine for one of the two databases; nothing is connected yet.

    Raises ``BadDatabasePlace`` if a SQLite file can be neither opened nor made where the URL says.
    """
    common: dict[str, Any] = {
        "json_serializer": to_json,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": patience_seconds,
    }
    if url.get_backend_name() == "sqlite":
        _check_place(Path(str(url.database)))
        engine = create_engine(url, connect_args={"timeout": min(patience_seconds, 5.0)}, **common)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        asked = {"connect_timeout": 5, "application_name": APPLICATION_NAME}
        engine = create_engine(url, connect_args=asked, **common)
        event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _check_place(path: Path) -> None:
    # A folder made for a mistyped path would give an empty history without a word.
    folder = path.parent.absolute()
    if not folder.exists():
        raise BadDatabasePlace(
            f"the folder {folder} of the SQLite database {path.name} does not exist: "
            "make it, or correct the path"
        )
    if not folder.is_dir():
        raise BadDatabasePlace(f"the SQLite database {path.name} cannot be in {folder}, which is a file")
    if path.is_dir():
        raise BadDatabasePlace(
            f"{path.absolute()} is a folder; the SQLite database is a file: "
            f"name one in it, such as {path.absolute() / 'kfbridge.db'}"
        )


def for_writing(engine: Engine) -> Engine:
    """The engine (same pool) for transactions that write."""
    return engine.execution_options(**{_WRITES: True})


def may_write(session: Session) -> bool:
    """Whether the session is one of ``Database.transact``, not of ``Database.read``."""
    return bool(session.connection().get_execution_options().get(_WRITES))


def lock_name(session: Session, lock_class: int, name: str, *, shared: bool = False) -> None:
    """Wait for those who hold the name, and hold it until the end of the transaction; whoever holds it
    ``shared`` waits only for who does not. Does nothing on SQLite, where one transaction writes at a time."""
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        session.execute(select(lock(lock_class, func.hashtext(bindparam("name", name)))))


def for_reading(engine: Engine) -> Engine:
    """The engine (same pool) for transactions that may not write."""
    return (
        engine.execution_options(postgresql_readonly=True) if engine.dialect.name == "postgresql" else engine
    )


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own BEGIN comes late and deferred; ours is sent by _begin_sqlite.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = bool(connection.get_execution_options().get(_WRITES))
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    # IMMEDIATE: a transaction that reads first and writes later could not be given the lock any more.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgresql(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        for statement in _POSTGRESQL_SETTINGS:
            cursor.execute(statement)
    connection.commit()


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection is gone (or never came)."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state.startswith("08") or state in ("57P01", "57P02", "57P03")
    return not isinstance(error.orig, sqlite3.Error) and isinstance(error, OperationalError | InterfaceError)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES
    return is_disconnect(error) or getattr(error.orig, "sqlstate", None) in _TRANSIENT_STATES


def is_missing_schema(error: DBAPIError) -> bool:
    """Whether a table or column does not exist: the schema is not this program's."""
    if isinstance(error.orig, sqlite3.Error):
        text = str(error.orig)
        return "no such table" in text or "no such column" in text or "has no column" in text
    return getattr(error.orig, "sqlstate", None) in _UNDEFINED_STATES


def is_refused_write(error: DBAPIError) -> bool:
    """Whether something tried to write where only reading is allowed."""
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
    return getattr(error.orig, "sqlstate", None) == "25006"


def is_full(error: DBAPIError) -> bool:
    """Whether there was no room for what was to be written."""
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0)
        # A limit on the size of files is no "full" to SQLite, but a write that failed.
        return code & 0xFF == sqlite3.SQLITE_FULL or code in _UNWRITTEN_CODES
    if getattr(error.orig, "sqlstate", None) == "53100":
        return True
    return any(strerror(number) in str(error.orig) for number in (ENOSPC, EDQUOT, EFBIG))


def is_out_of_order(error: DBAPIError) -> bool:
    """Whether the database itself cannot serve: disk full, read-only, file gone or unreadable."""
    if is_refused_write(error):
        return True
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        return code in (
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        )
    state = getattr(error.orig, "sqlstate", None) or ""
    return state.startswith(("53", "58", "XX"))
