"""What is to be done, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done. A service lives for a random time, ``life_seconds`` on average
    after it serves."""

    submissions: int = 1000
    kills: int = 1000
    replicas: int = 2
    postgresql: bool = True
    life_seconds: float = 2.0
    cold: bool = False
    seed: int = 0


@dataclass(kw_only=True)
class Result:
    """What became of it. ``attempts`` counts submissions by how many attempts they needed."""

    database: str
    submissions: int = 0
    kills: int = 0
    killed_while_starting: int = 0
    runs_at_backend: int = 0
    posts: int = 0
    ends_mirrored: int = 0
    doubled: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return not self.failures
