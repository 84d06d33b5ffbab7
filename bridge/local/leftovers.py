"""Ends the components that a killed backend could not end itself."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)


def end_leftovers(runs_dir: Path, processes: Path = Path("/proc")) -> int:
    """Kill every process that was started as a component of the runs in a folder; returns how many.

    They are known by their ``TMPDIR``, which the launcher puts below the run's own folder and which all that
    a component starts inherits. Only for a backend that has its data directory to itself and has started
    nothing yet. Where there is no ``/proc`` nothing is found.
    """
    marker = f"TMPDIR={runs_dir}{os.sep}".encode()
    found = [pid for pid in _pids(processes) if _has_variable(processes / str(pid) / "environ", marker)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if found:
        logger.warning("%d process(es) that an earlier start had left behind were ended", len(found))
    return len(found)


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
