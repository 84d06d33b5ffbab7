"""Child processes in groups of their own, so that a task and all it started can be ended together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# A run must be dead within two seconds of its cancel: one second to end by itself, then SIGKILL.
TERMINATE_PATIENCE_SECONDS = 1.0


async def run_group(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    patience_seconds: float = TERMINATE_PATIENCE_SECONDS,
) -> int:
    """Runs a command in a new process group, all its output appended to a file; returns its exit code
    (negative: the signal that ended it).

    When this is cancelled, the group gets SIGTERM and, if it is still there after
    ``patience_seconds``, SIGKILL. However the command ends, nothing of its group is left.
    Raises ``OSError`` if it cannot be started.
    """
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(env),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        _signal(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                await process.wait()
        raise
    finally:
        _signal(process.pid, signal.SIGKILL)
        if process.returncode is None:
            await process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
