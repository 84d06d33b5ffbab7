"""A disk of a few megabytes that a test fills and empties, where one can be had; else files that cannot grow.

Mounting takes root. Without, the processes that write are held to the size that their files have: their
writes fail in the same place, with another number of the same meaning.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

_CHUNK = 64 * 1024
_BALLAST = "ballast"


class SmallDisk(Protocol):
    """A folder in which there is room, or none."""

    folder: Path

    def fill(self) -> None:
        """Leave no room."""

    def make_room(self) -> None:
        """Undo it."""


class MountedDisk:
    """A file system of its own in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Write a file until the disk is full."""
        with (self.folder / _BALLAST).open("ab", buffering=0) as ballast:
            for size in (_CHUNK, 4096, 1):
                with suppress(OSError):
                    while ballast.write(b"\0" * size) == size:
                        pass

    def make_room(self) -> None:
        """Delete that file."""
        (self.folder / _BALLAST).unlink()


class HeldFiles:
    """Processes that may not let a file in the folder grow beyond the largest one there."""

    def __init__(self, folder: Path, writers: Callable[[], Sequence[int]]) -> None:
        self.folder = folder
        self._writers = writers
        self._held: list[int] = []

    def fill(self) -> None:
        """Hold them."""
        largest = max((path.stat().st_size for path in self.folder.rglob("*") if path.is_file()), default=0)
        self._held = list(self._writers())
        for pid in self._held:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, hard))

    def make_room(self) -> None:
        """Let them go."""
        for pid in self._held:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        self._held = []


def _mounts(options: Sequence[str]) -> bool:
    if os.geteuid() != 0:
        return False
    return subprocess.run(["mount", *options], check=False, capture_output=True).returncode == 0


@contextmanager
def small_disk(folder: Path, megabytes: int, writers: Callable[[], Sequence[int]]) -> Iterator[SmallDisk]:
    """A disk of that size mounted at the folder, or, where that is not allowed, the second best.

    ``writers`` tells the processes that write there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(folder)]
    if not _mounts(options):
        yield HeldFiles(folder, writers)
        return
    try:
        yield MountedDisk(folder)
    finally:
        # Lazily: a process that was killed may still be on its way out.
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
