"""The versions of files and directories on this machine, by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def file_digest(path: Path) -> tuple[str, int]:
    """The sha256 of a file's content in hex, and its length in bytes; memory does not grow with it."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return digest, content.tell()


def directory_digest(path: Path) -> tuple[str, int]:
    """The sha256 of a directory's manifest in hex, and the bytes of all files under it."""
    manifest = hashlib.sha256()
    total = 0
    for relative in sorted(_files_under(path)):
        digest, size = file_digest(path / relative)
        total += size
        manifest.update(f"{relative}\t{size}\t{digest}\n".encode("utf-8", "surrogateescape"))
    return manifest.hexdigest(), total


def _files_under(path: Path) -> Iterator[str]:
    # Links to directories are not followed: a loop of them would never end.
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                yield file.relative_to(path).as_posix()


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files under a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum((path / relative).stat().st_size for relative in _files_under(path))
