"""Calls that come at the same time go together, and each gets what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.service.grouping import Grouped


class Doubling:
    """Doubles numbers; remembers its groups, and waits in each until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        await self.go.wait()
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


async def _started(count: int, doubled: Grouped[int, int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.ensure_future(doubled(item)) for item in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_who_comes_while_one_is_under_way_goes_with_the_next() -> None:
    work = Doubling()
    doubled = Grouped(work, most=3)
    first = asyncio.ensure_future(doubled(100))
    while not work.groups:
        await asyncio.sleep(0)
    rest = [asyncio.ensure_future(doubled(item)) for item in range(5)]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(first, *rest) == [200, 0, 2, 4, 6, 8]
    assert work.groups == [[100], [0, 1, 2], [3, 4]]


async def test_an_error_is_its_group_s_and_the_next_group_goes_on() -> None:
    work = Doubling()
    work.go.set()
    doubled = Grouped(work, most=2)
    tasks = [asyncio.ensure_future(doubled(item)) for item in (13, 1, 2, 3)]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(item) for item in found] == ["thirteen", "thirteen", "4", "6"]
    assert await doubled(5) == 10


async def test_a_caller_that_leaves_takes_nobody_along() -> None:
    work = Doubling()
    doubled = Grouped(work, most=9)
    first, second = await _started(2, doubled)
    first.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
