"""What runs used and what that cost: hours of processor, memory and accelerators. Pure.

Used is what was asked for, for as long as a task ran: that is what a cluster sets aside for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

RUN, CPU, MEMORY, UNKNOWN = "run", "cpu", "memory", "unknown"
PLAIN = (RUN, CPU, MEMORY, UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUse:
    """A task that ran for so long, and what it had meanwhile; ``known`` is whether that is known."""

    path: str
    seconds: float
    cpu: float | None = None
    memory_gib: float | None = None
    accelerator: str | None = None
    accelerators: float = 0.0
    known: bool = True


def hours_of(tasks: Iterable[TaskUse], run_seconds: float) -> dict[str, float]:
    """Hours by resource: ``cpu`` core hours, ``memory`` GiB hours, an accelerator's name its hours,
    ``unknown`` hours of tasks of which nothing is known, ``run`` the run's own from start to end."""
    hours = {RUN: run_seconds / 3600}
    for task in tasks:
        length = task.seconds / 3600
        parts = [
            (CPU, (task.cpu or 0.0) * length),
            (MEMORY, (task.memory_gib or 0.0) * length),
            (task.accelerator or "", task.accelerators * length),
            (UNKNOWN, 0.0 if task.known else length),
        ]
        for resource, amount in parts:
            if resource and amount > 0:
                hours[resource] = hours.get(resource, 0.0) + amount
    return hours


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per hour by backend (``""``: any) and resource."""

    per_hour: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def of(self, backend: str, resource: str) -> float | None:
        """What an hour costs there; ``None`` if nobody said."""
        return self.per_hour.get((backend, resource), self.per_hour.get(("", resource)))

    def cost(self, backend: str, hours: Mapping[str, float]) -> float | None:
        """What these hours cost; ``None`` if none of them has a price."""
        found = [
            price * amount for name, amount in hours.items() if (price := self.of(backend, name)) is not None
        ]
        return sum(found) if found else None

    def unpriced(self, backend: str, hours: Mapping[str, float]) -> list[str]:
        """The resources among these that nobody priced; a run's own time need not be."""
        return sorted(name for name in hours if name not in (RUN, UNKNOWN) and self.of(backend, name) is None)
