"""The API's messages about what runs used and cost."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from bridge.client.models import Message


class UsageModel(Message):
    """Hours that were set aside: of cores, GiB of memory, accelerators (all, and by their names), and of
    tasks of which it is not known. ``cost`` is null where nothing has a price; ``unpriced`` has none."""

    cpu_hours: float = 0.0
    memory_gib_hours: float = 0.0
    gpu_hours: float = 0.0
    accelerator_hours: dict[str, float] = Field(default_factory=dict)
    unknown_hours: float = 0.0
    run_hours: float = 0.0
    cost: float | None = None
    unpriced: list[str] = Field(default_factory=list)


class CostItem(UsageModel):
    """What one pipeline, team (``""``: none), project or month used."""

    key: str
    runs: int = 0


class PriceModel(Message):
    """What an hour of a resource costs at a backend (null: at any): ``cpu`` a core, ``memory`` a GiB, or an
    accelerator by its name, such as ``nvidia.com/gpu``."""

    backend: str | None = None
    resource: str
    per_hour: float


class CostModel(Message):
    """``GET /cost``: the dearest first. ``truncated``: there are more keys. ``pending``: events that have not
    been counted yet."""

    by: Literal["pipeline", "team", "project", "month"]
    first_month: str
    last_month: str
    currency: str
    prices: list[PriceModel] = Field(default_factory=list)
    items: list[CostItem] = Field(default_factory=list)
    total: UsageModel = Field(default_factory=UsageModel)
    truncated: bool = False
    pending: int = 0


class TaskCostModel(UsageModel):
    """What one task of a run used."""

    path: str
    seconds: float


class RunCostModel(Message):
    """``GET /runs/{id}/cost``: task by task, of a run that goes on up to now; at most 1,000 tasks."""

    run_id: UUID
    currency: str
    tasks: list[TaskCostModel] = Field(default_factory=list)
    total: UsageModel = Field(default_factory=UsageModel)
    truncated: bool = False
