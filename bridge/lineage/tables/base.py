"""What all tables share: metadata with a naming convention, the two columns every table has."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ForeignKey, MetaData, Table
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from bridge.lineage.columns import BigId, CleanText, JsonText, Uid, UtcTime

# Names are fixed here so that a later migration can name what it changes on either database.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Row(SQLModel, registry=registry(metadata=METADATA)):
    """A row of any table: which backend and which project it belongs to."""

    backend: str = Field(default="", sa_type=CleanText)
    project: str = Field(default="", sa_type=CleanText)


def table(row: type[Row]) -> Table:
    """The SQLAlchemy table of a row class, for statements over many rows."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]


def surrogate() -> Any:
    """A primary key of 64 bits that the database counts up."""
    return Field(default=None, primary_key=True, sa_type=BigId)


def text_column(default: str | None = None) -> Any:
    """A text column; nullable where the annotation allows ``None``."""
    return Field(sa_type=CleanText) if default is None else Field(default=default, sa_type=CleanText)


def optional_text() -> Any:
    """A text column that may be NULL."""
    return Field(default=None, sa_type=CleanText)


def time_column() -> Any:
    """A moment that is always there."""
    return Field(sa_type=UtcTime)


def optional_time() -> Any:
    """A moment that may be NULL."""
    return Field(default=None, sa_type=UtcTime)


def uid_column() -> Any:
    """A UUID that is always there."""
    return Field(sa_type=Uid)


def optional_uid() -> Any:
    """A UUID that may be NULL."""
    return Field(default=None, sa_type=Uid)


def json_column() -> Any:
    """A JSON value that is always there."""
    return Field(default_factory=dict, sa_type=JsonText)


def optional_json() -> Any:
    """A JSON value that may be NULL."""
    return Field(default=None, sa_type=JsonText, nullable=True)


def reference(target: str, *, nullable: bool = False) -> Any:
    """A reference to another table's surrogate key, e.g. ``runs.id``."""
    if nullable:
        return Field(default=None, sa_type=BigId, sa_column_args=[ForeignKey(target)])
    return Field(sa_type=BigId, sa_column_args=[ForeignKey(target)])
