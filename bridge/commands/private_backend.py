"""A local backend for one command alone: started, used, and gone again with everything it started."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bridge.commands.failures import UNREACHABLE, CommandError

_READY = re.compile(rb"ready on (http://\S+)")
_READY_TIMEOUT_SECONDS = 60.0
# The backend's own grace for what it runs, and some more.
_STOP_TIMEOUT_SECONDS = 15.0
_MOST_AT_ONCE = 100
_SHOWN_OUTPUT_LINES = 15


@contextmanager
def reserved_dir(folder: Path) -> Iterator[Path]:
    """A data directory below ``folder`` that no other command uses meanwhile: ``1``, or else ``2`` …"""
    for number in range(1, _MOST_AT_ONCE + 1):
        directory = folder / str(number)
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "run.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield directory
            return
    raise CommandError(f"{_MOST_AT_ONCE} other runs use {folder}", to_do="give a --data-dir of its own.")


def share_environments(directory: Path, shared: Path) -> None:
    """Let the backend in ``directory`` use the environments that earlier commands built."""
    shared.mkdir(parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    own = directory / "environments"
    if not own.exists() and not own.is_symlink():
        own.symlink_to(shared.resolve(), target_is_directory=True)


@asynccontextmanager
async def private_backend(
    directory: Path, *, max_parallel: int, options: Sequence[str] = ()
) -> AsyncIterator[PrivateBackend]:
    """A backend that lives as long as the block; its processes are gone afterwards. ``options`` are further
    ones of ``kfbridge local``.

    It watches its standard input, so it also ends when this process is killed.
    """
    command = [sys.executable, "-m", "bridge.cli", "local", "--port", "0", "--data-dir", str(directory)]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--max-parallel",
        str(max_parallel),
        *options,
        "--stop-with-stdin",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # A Ctrl-C at the terminal is for the command, which ends the run before the backend.
        start_new_session=True,
    )
    reader: asyncio.Task[None] | None = None
    try:
        backend = PrivateBackend(process)
        reader = asyncio.create_task(backend.read())
        yield backend
    finally:
        await _stop(process)
        if reader is not None:
            await reader


class PrivateBackend:
    """A backend that is starting or serving."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._url: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        """Take what it says, until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._lines = [*self._lines[1 - _SHOWN_OUTPUT_LINES :], line.decode(errors="replace").rstrip()]
            ready = _READY.search(line)
            if ready and not self._url.done():
                self._url.set_result(ready[1].decode())
        if not self._url.done():
            self._url.set_result(None)

    async def url(self) -> str:
        """Its address, once it serves. Raises ``CommandError`` with what it said when it does not."""
        try:
            # Not wait_for, which in Python 3.11 drops a cancellation that comes when the future is done.
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
                found = await self._url
        except TimeoutError:
            found = None
        if found is None:
            raise CommandError(
                "the local backend did not start",
                details=self._lines,
                exit_code=UNREACHABLE,
            )
        return found


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    _signal_group(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
            await process.wait()
    except TimeoutError:
        _signal_group(process, signal.SIGKILL)
        await process.wait()


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        # It ended just now.
        return
