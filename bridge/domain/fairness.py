"""Which project's run is sent next when several wait for places at a backend; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Share:
    """What a project may have of one backend: runs sent and not ended at the same time, and its weight
    against the others."""

    max_active_runs: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A project with runs in the queue: how many places it has, and since when its first one waits."""

    project: str
    active: int
    oldest: datetime
    share: Share
    waiting: int = 1

    @property
    def has_room(self) -> bool:
        """Whether its cap allows one more."""
        return self.active < self.share.max_active_runs


def in_turn(standings: Iterable[Standing]) -> list[Standing]:
    """Those that may be given a place, in the order in which they are: who has the least by weight first,
    then who has waited longest."""
    return sorted((one for one in standings if one.has_room), key=_turn)


def give_places(standings: Iterable[Standing], free: int) -> dict[str, int]:
    """How many of ``free`` places each project gets, one after the other in turn."""
    given: dict[str, int] = {}
    open_ones = {one.project: one for one in standings if one.has_room and one.waiting > 0}
    for _ in range(free):
        if not open_ones:
            break
        first = min(open_ones.values(), key=lambda one: _turn(one, given.get(one.project, 0)))
        count = given[first.project] = given.get(first.project, 0) + 1
        if count >= first.waiting or first.active + count >= first.share.max_active_runs:
            del open_ones[first.project]
    return given


def _turn(one: Standing, given: int = 0) -> tuple[float, datetime, str]:
    return ((one.active + given) / one.share.weight, one.oldest, one.project)
