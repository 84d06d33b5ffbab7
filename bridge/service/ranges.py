"""The ``Range`` header (RFC 9110, 14.2), as far as one range of bytes goes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range lies outside of the content."""


@dataclass(frozen=True, slots=True)
class Part:
    """``length`` bytes from ``start`` of a content of ``size`` bytes; ``whole`` if nobody asked for less."""

    start: int
    length: int
    size: int
    whole: bool

    @property
    def content_range(self) -> str:
        """The value of the header ``Content-Range``."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def part_of(header: str | None, size: int) -> Part:
    """What a request asks for. Raises ``Unsatisfiable``.

    A header that asks for several ranges, or makes no sense, is as good as none.
    """
    whole = Part(0, size, size, whole=True)
    match = _ONE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return whole
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
        if int(last) == 0:
            raise Unsatisfiable
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return whole
    if start >= size:
        raise Unsatisfiable
    return Part(start, end - start, size, whole=False)
