from __future__ import annotations

import asyncio
import threading

import pytest

from bridge.service.threads import PatientThreads, TooManyHang


async def test_an_answer_and_an_error_come_back() -> None:
    threads = PatientThreads(1)
    assert await threads.ask(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.ask(lambda: 1 // 0, 5)


async def test_what_hangs_keeps_its_thread_until_it_ends_and_no_more_than_the_bound() -> None:
    threads, gone_on = PatientThreads(2), threading.Event()
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await threads.ask(gone_on.wait, 0.02)
        assert threads.hanging == 2
        with pytest.raises(TooManyHang):
            await threads.ask(lambda: 1, 5)
    finally:
        gone_on.set()
    async with asyncio.timeout(5):
        while threads.hanging:
            await asyncio.sleep(0.005)
    assert await threads.ask(lambda: 1, 5) == 1


async def test_who_finds_no_thread_free_waits_its_time() -> None:
    threads, gone_on = PatientThreads(1), threading.Event()
    try:
        busy = asyncio.ensure_future(threads.ask(gone_on.wait, 5))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await threads.ask(lambda: 1, 0.02)
        assert threads.hanging == 0
    finally:
        gone_on.set()
    assert await busy
