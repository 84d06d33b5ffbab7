"""``kfbridge run``: interruptions before the run has begun, and what the backend refuses."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.console import Console
from bridge.commands.failures import CommandError
from bridge.commands.interruption import listen_for_interruption, unless_interrupted
from bridge.commands.local_run import LocalRun
from bridge.commands.pipelines import load_file
from bridge.commands.private_backend import PrivateBackend
from bridge.kfp_api.errors import KfpInvalid, KfpUnreachable


async def test_a_cancellation_is_kept_when_the_backend_is_ready_at_the_same_time() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "", stdout=asyncio.subprocess.PIPE)
    backend = PrivateBackend(process)
    asking = asyncio.create_task(backend.url())
    await asyncio.sleep(0)
    backend._url.set_result("http://127.0.0.1:1")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_preparation(number: signal.Signals) -> None:
    stop = listen_for_interruption()
    try:
        never = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        with pytest.raises(CommandError, match="interrupted before the run had begun") as caught:
            await unless_interrupted(stop, never)
        assert caught.value.exit_code == 130
        assert never.cancelled()
    finally:
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(one)


async def test_an_interruption_comes_before_what_is_ready_at_the_same_time() -> None:
    async def ready() -> str:
        return "http://127.0.0.1:1"

    stop = asyncio.Event()
    work = asyncio.create_task(ready())
    assert await unless_interrupted(stop, work) == "http://127.0.0.1:1"
    stop.set()
    with pytest.raises(CommandError, match="interrupted"):
        await unless_interrupted(stop, work)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KfpInvalid("no such executor", request="POST /runs"), 2, "refused the run: no such executor"),
        (KfpUnreachable("reset", sent=True), 5, "the local backend failed: reset"),
    ],
)
async def test_what_the_backend_refuses_is_no_outage(
    error: Exception, code: int, said: str, training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(LocalRun, "_to_its_end", fail)
    console = Console(out=io.StringIO(), err=io.StringIO(), environ={})
    args = argparse.Namespace(json=False)
    run = LocalRun(load_file(Path(training)), {"epochs": 1}, args, console, asyncio.Event())
    with pytest.raises(CommandError, match=said) as caught:
        await run.run_on("http://127.0.0.1:1")
    assert caught.value.exit_code == code
