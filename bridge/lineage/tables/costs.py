"""What runs used, by resource: of each run, summed up by month, and what an hour costs."""

from __future__ import annotations

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from bridge.lineage.tables.base import Row, reference, surrogate, text_column


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
    """The same summed up, with the number of runs."""

    __tablename__ = "usage_totals"
    __table_args__ = (UniqueConstraint("month", "project", "pipeline", "team", "backend", "resource"),)

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
