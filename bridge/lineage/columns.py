"""Column types that mean the same on SQLite and on PostgreSQL, and the database's own clock.

The migrations use these types, so their stored form never changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, Integer, String, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement, FunctionElement, literal
from sqlalchemy.types import TypeDecorator, TypeEngine

# SQLite gives a column its rowid only if the type is spelled INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")
# A Python None in a nullable JSON column is SQL's NULL, so that "is it there" can be asked in SQL.
JsonText = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class NaiveMoment(ValueError):
    """A moment without a time zone cannot be stored."""


class UtcTime(TypeDecorator[datetime]):
    """A moment, always with the zone UTC in Python; a naive one is refused. Microseconds are kept.

    SQLite holds ``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC, which sorts as text; PostgreSQL ``timestamptz``.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveMoment("a moment without a time zone cannot be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def moment_of(stored: datetime | str) -> datetime:
    """The moment that a driver gives for a ``UtcTime`` column, or for JSON of one, where no type is known."""
    moment = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Uid(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's ``uuid``; on SQLite the text with hyphens that people see and paste."""

    impl = String(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Uuid() if dialect.name == "postgresql" else String(36))

    def process_bind_param(self, value: UUID | str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        uid = value if isinstance(value, UUID) else UUID(value)
        return uid if dialect.name == "postgresql" else str(uid)

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        return value if value is None or isinstance(value, UUID) else UUID(value)


class CleanText(TypeDecorator[str]):
    """Text of any length; characters that PostgreSQL refuses (NUL, lone surrogates) become ``U+FFFD``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


def clean_text(value: str) -> str:
    """The text without NUL characters and lone surrogates, which no UTF-8 text column can hold."""
    if value.isascii():
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    return value.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def clean_json(value: Any) -> Any:
    """The value with what JSON columns cannot hold replaced: texts cleaned, non-finite numbers as words."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    if isinstance(value, dict):
        return {clean_text(str(name)): clean_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    return value


def to_json(value: Any) -> str:
    """One text for one value (sorted keys), so that an unchanged value compares equal on both dialects."""
    return _dumps(value, None)


def rows_to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as one JSON text that PostgreSQL reads back as the columns' types; cleaned as ``to_json`` does.

    Raises ``ValueError`` for a moment without a time zone.
    """
    return _dumps(rows, _column_to_json)


def _column_to_json(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NaiveMoment("a moment without a time zone cannot be stored")
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no value of a column")


def _dumps(value: Any, default: Callable[[Any], str] | None) -> str:
    def dumps(what: Any) -> str:
        return json.dumps(
            what, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=default
        )

    try:
        text = dumps(value)
    except NaiveMoment:
        raise
    except ValueError:
        text = ""
    # Only escapes of NUL and of surrogates need the slow walk, and most texts hold neither.
    if not text or "\\u0000" in text or "\\ud" in text:
        text = dumps(clean_json(value))
    return text


class _Moment(FunctionElement[datetime]):
    """The database's time at the start of the statement, moved by a number of seconds."""

    type = UtcTime()
    inherit_cache = True
    name = "kfbridge_moment"


@compiles(_Moment, "postgresql")
def _moment_postgresql(element: _Moment, compiler: Any, **kwargs: Any) -> str:
    # Not clock_timestamp(): only a stable function can bound an index scan.
    (seconds,) = element.clauses
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(seconds, **kwargs)}))"


@compiles(_Moment, "sqlite")
def _moment_sqlite(element: _Moment, compiler: Any, **kwargs: Any) -> str:
    (seconds,) = element.clauses
    modifier = f"({compiler.process(seconds, **kwargs)}) || ' seconds'"
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {modifier}) || '000')"


def database_time(plus_seconds: float = 0.0) -> ColumnElement[datetime]:
    """SQL for the database's time, UTC, moved by ``plus_seconds``; the only clock leases go by."""
    return _Moment(literal(float(plus_seconds)))
