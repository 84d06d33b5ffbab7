"""What runs used, by resource: of each run, summed up by month, and what an hour costs."""

from __future__ import annotations

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from bridge.lineage.tables.base import Row, reference, surrogate, text_column

# What PostgreSQL does not have.
ONLY_ON_SQLITE = frozenset({"ix_usage_totals_pipeline", "ix_usage_totals_month"})


class RunUsageRow(Row, table=True):
    """Hours of one resource that a run used; ``month`` is that of its end, such as ``2026-08``."""

    __tablename__ = "run_usage"
    __table_args__ = (UniqueConstraint("run", "resource"),)

    id: int | None = surrogate()
    run: int = reference("runs.id")
    resource: str = text_column()
    month: str = text_column()
    pipeline: str = text_column()
    team: str = text_column("")
    hours: float = Field()


class UsageTotalRow(Row, table=True):
    """The same summed up, with the number of runs.

    The indexes have the sums in the order in which they are asked for. PostgreSQL does without: it adds up in
    memory, and what an index holds makes each change of a row dearer.
    """

    __tablename__ = "usage_totals"
    __table_args__ = (
        UniqueConstraint("month", "project", "pipeline", "team", "backend", "resource"),
        Index(
            *("ix_usage_totals_pipeline", "pipeline", "backend", "resource", "project", "month"),
            *("runs", "hours"),
        ).ddl_if(dialect="sqlite"),
        Index(
            *("ix_usage_totals_month", "month", "backend", "resource", "team", "project", "runs", "hours"),
        ).ddl_if(dialect="sqlite"),
    )

    id: int | None = surrogate()
    month: str = text_column()
    pipeline: str = text_column()
    team: str = text_column("")
    resource: str = text_column()
    runs: int = Field(default=0)
    hours: float = Field(default=0.0)


class PriceRow(Row, table=True):
    """What an hour of a resource costs at a backend (``''``: at any), as the settings say."""

    __tablename__ = "prices"
    __table_args__ = (UniqueConstraint("backend", "resource"),)

    id: int | None = surrogate()
    resource: str = text_column()
    per_hour: float = Field()
    currency: str = text_column()
