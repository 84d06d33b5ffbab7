"""Filters as KFP reads them, however often it decodes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.kfp_api.filters import Filter, FilterValue, Operation, Predicate, finished_since, unfinished

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("built", "predicate"),
    [
        (
            Filter().equals("name", "a"),
            {"operation": "EQUALS", "key": "name", "string_value": "a"},
        ),
        (
            Filter().is_in("state", ["RUNNING", "PENDING"]),
            {"operation": "IN", "key": "state", "string_values": {"values": ["RUNNING", "PENDING"]}},
        ),
        (
            Filter().where("n", Operation.IN, (1, 2)),
            {"operation": "IN", "key": "n", "long_values": {"values": ["1", "2"]}},
        ),
        (
            Filter().at_least("n", 3),
            {"operation": "GREATER_THAN_EQUALS", "key": "n", "long_value": "3"},
        ),
        (
            Filter().before("created_at", MOMENT),
            {"operation": "LESS_THAN", "key": "created_at", "timestamp_value": "2026-01-02T01:04:05.600000Z"},
        ),
        (
            unfinished(),
            {"operation": "EQUALS", "key": "finished_at", "timestamp_value": "1970-01-01T00:00:00Z"},
        ),
        (
            finished_since(datetime(2026, 1, 1, tzinfo=UTC)),
            {
                "operation": "GREATER_THAN_EQUALS",
                "key": "finished_at",
                "timestamp_value": "2026-01-01T00:00:00Z",
            },
        ),
        (
            Filter().contains("name", "flight"),
            {"operation": "IS_SUBSTRING", "key": "name", "string_value": "flight"},
        ),
        (
            Filter().where("storage_state", Operation.NOT_EQUALS, "ARCHIVED"),
            {"operation": "NOT_EQUALS", "key": "storage_state", "string_value": "ARCHIVED"},
        ),
    ],
)
def test_predicates(built: Filter, predicate: dict[str, Any]) -> None:
    assert json.loads(built.to_query()) == {"predicates": [predicate]}


def test_predicates_are_joined_and_the_shorter_filter_stays() -> None:
    short = Filter().equals("a", "1")
    long = short.equals("b", "2")
    assert [one.key for one in long.predicates] == ["a", "b"]
    assert len(short.predicates) == 1


@given(st.text(max_size=60))
def test_the_text_means_the_same_however_often_it_is_decoded(value: str) -> None:
    query = Filter().equals("name", value).to_query()
    for text in (query, unquote_plus(query), unquote_plus(unquote_plus(query))):
        assert json.loads(text)["predicates"][0]["string_value"] == value


@pytest.mark.parametrize(
    ("operation", "value"),
    [
        (Operation.IN, "a"),
        (Operation.IN, ()),
        (Operation.EQUALS, ("a",)),
        (Operation.EQUALS, datetime(2026, 1, 1)),
        (Operation.IS_SUBSTRING, 3),
    ],
)
def test_a_value_that_does_not_fit_is_refused(operation: Operation, value: FilterValue) -> None:
    with pytest.raises(ValueError, match=r"takes|matches|zone"):
        Predicate("key", operation, value)
