"""What differs between runs: named values, side by side, differences first. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.domain.identity import canonical_json

MAX_ROWS = 500


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands for a value that nobody told: whether it differs cannot be said."""


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One name in every run, in their order. ``known`` says which of them have it. ``differs`` is ``None``
    where it cannot be told. ``change`` is the last run's number less the first one's, ``relative`` that as
    a part of the first."""

    name: str
    values: tuple[Any, ...]
    known: tuple[bool, ...]
    differs: bool | None
    change: float | None = None
    relative: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows about one thing, those that differ first. ``truncated``: only the first 500 are there."""

    name: str
    rows: tuple[Row, ...]
    differing: int
    total: int

    @property
    def truncated(self) -> bool:
        """Whether rows were left out."""
        return len(self.rows) < self.total


def compare(name: str, sides: Sequence[Mapping[str, Any] | Unknown]) -> Section:
    """The section that lays named values of several runs beside each other.

    A side is ``UNKNOWN`` where nothing is known of that run, a value ``UNKNOWN`` where only that is not.
    """
    names = dict.fromkeys(key for side in sides if not isinstance(side, Unknown) for key in side)
    rows = [_row(key, sides) for key in names]
    order = {True: 0, None: 1, False: 2}
    rows.sort(key=lambda row: order[row.differs])
    differing = sum(row.differs is True for row in rows)
    return Section(name=name, rows=tuple(rows[:MAX_ROWS]), differing=differing, total=len(rows))


def _row(name: str, sides: Sequence[Mapping[str, Any] | Unknown]) -> Row:
    found = [UNKNOWN if isinstance(side, Unknown) else side.get(name, _ABSENT) for side in sides]
    known = tuple(value is not _ABSENT and not isinstance(value, Unknown) for value in found)
    values = tuple(value if there else None for value, there in zip(found, known, strict=True))
    told = {_spelling(value) for value in found if not isinstance(value, Unknown)}
    differs: bool | None = len(told) > 1
    if not differs and any(isinstance(value, Unknown) for value in found):
        differs = None
    change, relative = _change(values[0], values[-1]) if differs else (None, None)
    return Row(name=name, values=values, known=known, differs=differs, change=change, relative=relative)


_ABSENT = object()


def _spelling(value: Any) -> str:
    if value is _ABSENT:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    # 3 and 3.0 are one number, as they are in KFP's parameters.
    whole = isinstance(value, float) and value == int(value)
    return canonical_json(int(value) if whole else value)


def _change(first: Any, last: Any) -> tuple[float | None, float | None]:
    if not (_is_number(first) and _is_number(last)):
        return None, None
    change = float(last) - float(first)
    if not math.isfinite(change):
        return None, None
    relative = change / abs(first) if first else None
    return change, relative if relative is not None and math.isfinite(relative) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
