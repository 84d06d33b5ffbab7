"""SIGINT and SIGTERM as an event, for a command that has something to end first."""

from __future__ import annotations

import asyncio
import signal
from typing import TypeVar

from bridge.commands.failures import INTERRUPTED, CommandError

T = TypeVar("T")


def listen_for_interruption() -> asyncio.Event:
    """Set once SIGINT or SIGTERM came; from now on neither does anything else while the loop lives."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def unless_interrupted(stop: asyncio.Event, work: asyncio.Task[T]) -> T:
    """What the work gives; it is given up, with a ``CommandError``, when the interruption comes first."""
    interruption = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, interruption}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        interruption.cancel()
    if stop.is_set():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        raise CommandError("interrupted before the run had begun", exit_code=INTERRUPTED)
    return await work
