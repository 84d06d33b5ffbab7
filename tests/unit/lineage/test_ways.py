"""What ways to a page say of how far it is yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bridge.lineage.narrowing import Prefix
from bridge.lineage.paging import Place
from bridge.lineage.ways import Few, Follow, Walk

PLACE = Place(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1))


@dataclass
class Runs:
    """A page of 50 among endless runs; ``matching`` are how many match of those looked at at once."""

    matching: list[int]
    wanted: int = 50
    after: Place | None = None
    looked_at: list[int] = field(default_factory=list)

    def along(
        self, prefix: Prefix, after: Place | None, most: int, limit: int
    ) -> tuple[list[object], Place | None]:
        """As ``Page.along``."""
        self.looked_at.append(most)
        found = min(self.matching.pop(0), limit)
        return [object()] * found, None if found == limit else PLACE

    def of(self, runs: set[int]) -> list[int]:
        """As ``Page.of``."""
        return sorted(runs)[: self.wanted]


@dataclass
class Named:
    """So many candidates; ``worth_asking`` and the others as those of ``Candidates``."""

    number: int
    per_run: int = 1
    at_least: int = 0
    looked_at_per_run: float = 0.25
    worth_asking: float | None = 15_000
    asked: list[int] = field(default_factory=list)

    def count(self, most: int) -> int | None:
        """As ``Candidates.count``."""
        self.asked.append(int(most))
        return self.number if self.number <= most else None

    def runs(self) -> set[int]:
        """As ``Candidates.runs``."""
        return set(range(self.number))


def test_a_walk_that_found_nothing_goes_on_once_before_it_is_given_up() -> None:
    walk = Walk(Runs([0, 0, 10, 40]), ())  # type: ignore[arg-type]
    assert walk.go_on(400) is None
    assert walk.outlook == 1600
    assert walk.go_on(1600) is None
    assert walk.outlook == 2000 * 50
    assert walk.go_on(8000) is None
    assert walk.outlook == pytest.approx(10_000 * 40 / 10)
    found = walk.go_on(50_000)
    assert found is not None
    assert len(found) == 50


def test_few_are_looked_at_at_once_and_more_when_nothing_else_is_nearer() -> None:
    few = Few(Runs([]), Named(1000))  # type: ignore[arg-type]
    assert few.worth_trying == 15_000
    found = few.go_on(1000)
    assert found is not None
    assert len(found) == 50
    named = Named(2000, at_least=5000)
    many = Few(Runs([]), named)  # type: ignore[arg-type]
    assert many.go_on(400) is None
    assert many.outlook == 8000
    assert named.asked == [5000]
    assert many.go_on(400) is not None


def test_candidates_beyond_counting_are_far() -> None:
    named = Named(10**6, at_least=5000)
    few = Few(Runs([]), named)  # type: ignore[arg-type]
    assert few.go_on(400) is None
    assert few.go_on(400) is None
    assert named.asked == [5000, 20_000]
    assert few.outlook == 20_000 * 4 / 0.25


def test_what_lies_elsewhere_is_not_tried_before_a_walk_seems_long() -> None:
    assert Walk.worth_trying is None
    assert Follow.worth_trying is not None
    assert Follow.worth_trying > 1000
