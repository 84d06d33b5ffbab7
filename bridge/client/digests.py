"""The versions of files and directories on this machine, by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MayRead = Callable[[Path], bool]


class NotWalked(ValueError):
    """A directory holds more than is looked at, or leads where nothing is read; the text says which."""


def file_digest(path: Path) -> tuple[str, int]:
    """The sha256 of a file's content in hex, and its length in bytes; memory does not grow with it."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return digest, content.tell()


def directory_digest(path: Path, files: Sequence[str] | None = None) -> tuple[str, int]:
    """The sha256 of a directory's manifest in hex, and the bytes of all files under it; ``files`` are those
    that ``files_under`` found."""
    manifest = hashlib.sha256()
    total = 0
    for relative in sorted(_walk(path) if files is None else files):
        digest, size = file_digest(path / relative)
        total += size
        manifest.update(f"{relative}\t{size}\t{digest}\n".encode("utf-8", "surrogateescape"))
    return manifest.hexdigest(), total


def files_under(path: Path, *, most: int, may_read: MayRead) -> list[str]:
    """The files of a directory, by their paths in it.

    Raises ``NotWalked`` if they are more than ``most``, or if a link leads to what may not be read.
    """
    found: list[str] = []
    for relative in _walk(path):
        if len(found) >= most:
            raise NotWalked(f"it holds more than {most:,} files")
        file = path / relative
        if file.is_symlink() and not may_read(file):
            raise NotWalked(f"its link {relative} leads to what may not be read")
        found.append(relative)
    return found


def _walk(path: Path) -> Iterator[str]:
    # Links to directories are not followed: a loop of them would never end.
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                yield file.relative_to(path).as_posix()
