"""What differs between runs, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.comparing import MAX_ROWS, UNKNOWN, compare


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        ((1, 1), False),
        ((1, 2), True),
        ((3, 3.0), False),
        (("1", 1), True),
        ((True, 1), True),
        (({"a": 1, "b": 2}, {"b": 2, "a": 1}), False),
        ((None, None), False),
        ((1, UNKNOWN), None),
        ((UNKNOWN, UNKNOWN), None),
        ((1, 2, UNKNOWN), True),
        ((float("nan"), float("nan")), False),
        ((float("nan"), 1.0), True),
    ],
)
def test_whether_a_row_differs(values: tuple[Any, ...], differs: bool | None) -> None:
    (row,) = compare("x", [{"name": value} for value in values]).rows
    assert row.differs is differs


def test_a_name_that_only_some_have_differs_from_a_value_that_is_none() -> None:
    (row,) = compare("x", [{"note": None}, {}]).rows
    assert (row.differs, row.values, row.known) == (True, (None, None), (True, False))


def test_a_run_of_which_nothing_is_known_makes_nothing_differ() -> None:
    section = compare("x", [{"a": 1}, UNKNOWN])
    assert [row.differs for row in section.rows] == [None]
    assert section.differing == 0


def test_differences_come_first_then_what_cannot_be_told() -> None:
    section = compare("x", [{"same": 1, "maybe": UNKNOWN, "other": 1}, {"same": 1, "maybe": 2, "other": 2}])
    assert [row.name for row in section.rows] == ["other", "maybe", "same"]


@pytest.mark.parametrize(
    ("first", "last", "change", "relative"),
    [
        (0.5, 0.75, 0.25, 0.5),
        (-2, -1, 1.0, 0.5),
        (0, 3, 3.0, None),
        ("a", "b", None, None),
        (True, 2, None, None),
    ],
)
def test_how_far_numbers_went(first: Any, last: Any, change: float | None, relative: float | None) -> None:
    (row,) = compare("x", [{"m": first}, {"m": last}]).rows
    assert (row.change, row.relative) == (change, relative)


def test_a_long_section_is_cut_after_its_differences_and_says_so() -> None:
    names = [f"n{number}" for number in range(MAX_ROWS + 10)]
    section = compare("x", [dict.fromkeys(names, 1), dict.fromkeys(names, 1) | {names[-1]: 2}])
    assert section.truncated
    assert (section.total, section.differing, len(section.rows)) == (MAX_ROWS + 10, 1, MAX_ROWS)
    assert section.rows[0].name == names[-1]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(), _JSON, max_size=5))
def test_a_run_never_differs_from_its_like(values: dict[str, Any]) -> None:
    section = compare("x", [values, dict(values), dict(values)])
    assert section.differing == 0
    assert section.total == len(values)
