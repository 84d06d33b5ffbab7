"""What was found out a moment ago: a memory that is bounded in size and in age."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """Values by key, each for ``keep_seconds``; of more than ``most`` the oldest are forgotten."""

    def __init__(self, keep_seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_seconds, self._most, self._clock = keep_seconds, most, clock
        self._kept: OrderedDict[KeyT, tuple[float, ValueT]] = OrderedDict()

    def get(self, key: KeyT) -> tuple[ValueT] | None:
        """The value alone in a tuple; ``None`` if it is not known, or no longer."""
        found = self._kept.get(key)
        if found is None or found[0] <= self._clock():
            return None
        return (found[1],)

    def keep(self, key: KeyT, value: ValueT, *, seconds: float | None = None) -> None:
        """Remember the value, for ``seconds`` if that is shorter."""
        kept = self._keep_seconds if seconds is None else min(seconds, self._keep_seconds)
        self._kept.pop(key, None)
        self._kept[key] = (self._clock() + kept, value)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
