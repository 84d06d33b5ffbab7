"""Threads for questions that may never come back: a network file system that is away keeps who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class TooManyHang(Exception):
    """As many questions as there may be threads hang: nothing more is asked."""


class PatientThreads:
    """Asks questions in threads of their own, ``most`` at a time. One that hangs keeps its thread and nothing
    else: whoever asked goes on after its time, and the process ends without it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._hanging = 0

    @property
    def hanging(self) -> int:
        """How many threads nobody waits for any more."""
        return self._hanging

    async def ask(self, question: Callable[[], T], seconds: float) -> T:
        """The answer, or what the question raised.

        Raises ``TimeoutError`` after so many seconds, those included that no thread was free, and
        ``TooManyHang``.
        """
        if self._hanging >= self._most:
            raise TooManyHang(f"{self._hanging} questions to files and stores hang")
        async with asyncio.timeout(seconds):
            await self._free.acquire()
            return await self._answer(question)

    async def _answer(self, question: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def tell(set_answer: Callable[[], None]) -> None:
            self._free.release()
            if answer.cancelled():
                self._hanging -= 1
            else:
                set_answer()

        def work() -> None:
            try:
                told = partial(answer.set_result, question())
            except BaseException as error:
                told = partial(answer.set_exception, error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, told)

        Thread(target=work, name="kfbridge-patient", daemon=True).start()
        try:
            return await answer
        finally:
            if answer.cancelled():
                self._hanging += 1
