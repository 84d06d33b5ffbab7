"""A clock for a process of its own that can be made to run faster, for waits that take hours.

``install()`` puts it in the place of ``time.monotonic``, ``time.time`` and ``time.sleep``, before anything
else is imported that keeps them by name; an event loop that ``QuickClock.loop`` makes sleeps by it too. What
waits, retries and gives up by time then does in seconds what it would do in an hour, step by step.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from dataclasses import dataclass, field

_monotonic, _time, _sleep = time.monotonic, time.time, time.sleep


@dataclass
class QuickClock:
    """``rate`` seconds of it pass in one real second."""

    rate: float = 1.0
    _since: float = field(default_factory=_monotonic)
    _passed: float = 0.0

    def set_rate(self, rate: float) -> None:
        """Go on at another rate. An event loop heeds it from its next look at its timers on."""
        self._passed, self._since, self.rate = self.ahead(), _monotonic(), rate

    def ahead(self) -> float:
        """How many seconds more have passed by it than really."""
        return self._passed + (_monotonic() - self._since) * (self.rate - 1.0)

    def monotonic(self) -> float:
        """For ``time.monotonic``."""
        return _monotonic() + self.ahead()

    def time(self) -> float:
        """For ``time.time``."""
        return _time() + self.ahead()

    def sleep(self, seconds: float) -> None:
        """For ``time.sleep``."""
        _sleep(seconds / self.rate)

    def install(self) -> None:
        """See the module."""
        time.monotonic, time.time, time.sleep = self.monotonic, self.time, self.sleep

    def loop(self) -> asyncio.AbstractEventLoop:
        """An event loop whose timers go by this clock."""
        return asyncio.SelectorEventLoop(_QuickSelector(self))


class _QuickSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, clock: QuickClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]]
        found = super().select(None if timeout is None else timeout / self._clock.rate)
        return found
