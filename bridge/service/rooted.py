"""Opens files by their path so that no link leads elsewhere between the judgement and the opening."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class OutsideRoots(PermissionError):
    """The path leads out of the folders that may be read."""


@contextmanager
def opened(path: Path, roots: Sequence[Path]) -> Iterator[int]:
    """A descriptor of the file or directory that a path leads to, links followed; without ``roots`` any.

    With roots, whoever may write there could put a link in the place of a folder after it was judged: from
    the root on each part of the resolved path is opened by itself, and none may be a link any more.
    Raises ``OutsideRoots`` and ``OSError``. Nothing is waited for: a pipe that nobody writes does not hang.
    """
    real = path.resolve()
    descriptor = _below(_root_of(real, roots), real) if roots else os.open(real, _FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a path leads into one of the folders, links followed."""
    real = path.resolve()
    return any(real.is_relative_to(root.resolve()) for root in roots)


_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
# A folder on the way is only passed: it need not be readable, and nothing but a folder is opened by it. Linux
# alone has O_PATH.
_WAY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


def _root_of(real: Path, roots: Sequence[Path]) -> Path:
    for root in (one.resolve() for one in roots):
        if real.is_relative_to(root):
            return root
    raise OutsideRoots(f"{real} lies outside of the folders that may be read")


def _below(root: Path, real: Path) -> int:
    parts = real.relative_to(root).parts
    reached = os.open(root, _WAY if parts else _FLAGS)
    try:
        for number, part in enumerate(parts, 1):
            flags = _FLAGS if number == len(parts) else _WAY
            following = os.open(part, flags | os.O_NOFOLLOW, dir_fd=reached)
            os.close(reached)
            reached = following
    except OSError:
        os.close(reached)
        raise
    return reached
