"""Ends what components left behind: after a killed backend, or outside their own process group."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)
_MOST_ENDED = 10_000


def end_leftovers(folder: Path, processes: Path = Path("/proc")) -> int:
    """Kill every process that was started for something below a folder; returns how many.

    They are known by their ``TMPDIR``: the launcher puts it below the run's own folder, the builder of
    environments below theirs, and all that such a process starts inherits it, whatever session it makes for
    itself. Only for folders in which nothing is meant to go on. Where there is no ``/proc`` nothing is found.
    """
    marker = f"TMPDIR={folder}{os.sep}".encode()
    ended: set[int] = set()
    while found := set(_found(processes, marker)) - ended:
        # Looked for again until there is no new one: what is being killed may just have started another.
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
        if len(ended) > _MOST_ENDED:
            logger.warning("processes below %s start others faster than they can be ended", folder)
            break
    return len(ended)


def _found(processes: Path, marker: bytes) -> Iterator[int]:
    return (pid for pid in _pids(processes) if _has_variable(processes / str(pid) / "environ", marker))


def _pids(processes: Path) -> Iterator[int]:
    if processes.is_dir():
        for entry in processes.iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                yield int(entry.name)


def _has_variable(environ: Path, marker: bytes) -> bool:
    try:
        return any(entry.startswith(marker) for entry in environ.read_bytes().split(b"\0"))
    except OSError:
        # It has ended meanwhile, or belongs to somebody else.
        return False
