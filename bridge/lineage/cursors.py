"""Opaque cursors: the sort keys of a page's last row. Callers hand them back and read nothing into them."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from bridge.domain.identity import utc_text
from bridge.lineage.errors import CursorError
from bridge.lineage.records import MAX_PAGE


def make_cursor(kind: str, *keys: datetime | UUID | str | float) -> str:
    """A cursor of the listing ``kind`` that goes on after the row with these keys."""
    texts = [utc_text(key) if isinstance(key, datetime) else str(key) for key in keys]
    raw = json.dumps([kind, *texts], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(kind: str, cursor: str, *parsers: Callable[[str], Any]) -> list[Any]:
    """The keys in a cursor of the listing ``kind``. Raises ``CursorError`` for anything else."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found, *texts = json.loads(raw)
        if found != kind or len(texts) != len(parsers):
            raise ValueError("a cursor of another listing")
        return [parse(text) for parse, text in zip(parsers, texts, strict=True)]
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
        raise CursorError("this cursor was not handed out by this listing") from error


def parse_moment(text: str) -> datetime:
    """A moment in a cursor. Raises ``ValueError`` without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone")
    return moment


def parse_number(text: str) -> float:
    """A finite number in a cursor. Raises ``ValueError`` for anything else."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is none")
    return number


def parse_key(text: str) -> int:
    """A surrogate key in a cursor. Raises ``ValueError`` for what no column holds."""
    key = int(text)
    if not 0 <= key < 2**63:
        raise ValueError("a number that is no key")
    return key


def page_size(limit: int) -> int:
    """The limit a listing keeps to: 1 to 200. Raises ``ValueError`` for less."""
    if limit < 1:
        raise ValueError("a page holds at least one row")
    return min(limit, MAX_PAGE)
