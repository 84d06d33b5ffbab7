"""Work that is done over and over: when it is due, and whenever something calls for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Rounds:
    """Calls ``work`` again after as many seconds as it returned, or sooner when it is woken.

    A round that fails is logged, and the next one comes after ``longest_seconds``, which bounds every
    pause: clocks are set and machines sleep. However often it is woken, ``least_seconds`` lie between rounds.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[float]],
        longest_seconds: float,
        least_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._work = work
        self._longest_seconds = longest_seconds
        self._least_seconds = least_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with a first round."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Let the next round come now."""
        self._woken.set()

    async def stop(self) -> None:
        """End, in the midst of a round if need be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                pause = min(await self._work(), self._longest_seconds)
            except Exception:
                logger.exception("a round of the %s failed", self._name)
                pause = self._longest_seconds
            await asyncio.sleep(self._least_seconds)
            try:
                # Not wait_for, which in Python 3.11 can lose a cancellation.
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue
