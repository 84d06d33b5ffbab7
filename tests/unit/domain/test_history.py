"""How far old runs are imported, as a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.domain.history import Import, import_from_json, import_wanted
from tests.unit.domain.builders import NOON

BEGUN = Import(since=NOON - timedelta(days=30), until=NOON, limit=100, began_at=NOON)
DONE = replace(BEGUN, reached=NOON - timedelta(days=29), seen=80, total=80, done_at=NOON)
FULL = replace(DONE, seen=100, total=100)
LATER = NOON + timedelta(days=400)


@pytest.mark.parametrize(
    ("known", "days", "limit", "wanted"),
    [
        (None, 0, 100, None),
        (None, 30, 0, None),
        (BEGUN, 0, 100, None),
        (BEGUN, 30, 100, BEGUN),
        (BEGUN, 7, 100, BEGUN),
        (DONE, 30, 100, None),
        (DONE, 7, 100, None),
        # It had all there was: more of the same days there are not.
        (DONE, 30, 500, None),
        (FULL, 30, 500, replace(FULL, limit=500, total=None, done_at=None)),
        (
            DONE,
            90,
            100,
            replace(DONE, since=NOON - timedelta(days=90), total=None, done_at=None),
        ),
    ],
)
def test_what_is_imported(known: Import | None, days: float, limit: int, wanted: Import | None) -> None:
    assert import_wanted(known, days=days, limit=limit, now=LATER) == wanted


def test_the_first_import_reaches_back_from_now() -> None:
    begun = import_wanted(None, days=30, limit=100, now=NOON)
    assert begun == BEGUN
    assert begun is not None
    assert begun.before > NOON


def test_pages_bring_it_to_its_end() -> None:
    first = BEGUN.after_page(runs=60, oldest=NOON - timedelta(days=1), total=90, is_last=False, now=LATER)
    assert (first.seen, first.total, first.is_done) == (60, 90, False)
    assert first.reached == NOON - timedelta(days=1)
    nothing = first.after_page(runs=0, oldest=None, total=None, is_last=True, now=LATER)
    assert (nothing.seen, nothing.done_at, nothing.reached) == (60, LATER, first.reached)
    full = first.after_page(runs=60, oldest=NOON, total=None, is_last=False, now=LATER)
    assert (full.is_done, full.reached) == (True, first.reached)


@pytest.mark.parametrize("one", [BEGUN, DONE])
def test_it_is_stored_and_read_again(one: Import) -> None:
    assert import_from_json(one.to_json()) == one
    assert import_from_json(None) is None
