"""Bounds on the JSON of a request that hold before a value is built from it."""

from __future__ import annotations

import re

from bridge.service.problems import ProblemError

# As many values as a compiled pipeline may have.
MOST_VALUES = 500_000
_BEGINNINGS = (b",", b"[", b"{")
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def check_values(raw: bytes) -> None:
    """Refuse a body of more than ``MOST_VALUES`` values: of sixteen bytes each, a body within
    ``max_request_bytes`` would otherwise become a gigabyte of objects. Raises ``ProblemError``.

    How deep it may be nested the parser says itself, and JSON has no aliases.
    """
    if _counted(raw) <= MOST_VALUES:
        return
    # A text, such as a compiled pipeline, is one value whatever commas it holds.
    if _counted(_TEXT.sub(b"", raw)) > MOST_VALUES:
        told = f"the body holds more than {MOST_VALUES:,} values"
        raise ProblemError("too-large", told)


def _counted(raw: bytes) -> int:
    return sum(raw.count(one) for one in _BEGINNINGS)
