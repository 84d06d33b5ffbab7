"""Filters, sorting and pages: what KFP's list language means over rows."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from bridge.local.status import StatusError
from bridge.local.store_listing import Listable, ListRequest, list_rows

THINGS = Listable(
    table="things",
    key="id",
    fields={"id": "id", "name": "name", "created_at": "created_at", "finished_at": "finished_at"},
    times=frozenset({"created_at", "finished_at"}),
)
ROWS = [("a", "Alpha", 10, 0), ("b", "beta", 20, 25), ("c", "Gamma ray", 20, 35), ("d", "alphabet", 40, 0)]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    made.row_factory = sqlite3.Row
    made.execute("CREATE TABLE things (id TEXT, name TEXT, created_at INTEGER, finished_at INTEGER)")
    made.executemany("INSERT INTO things VALUES (?, ?, ?, ?)", ROWS)
    yield made
    made.close()


def found(connection: sqlite3.Connection, *predicates: dict[str, Any], **more: Any) -> list[str]:
    request = ListRequest(filter=json.dumps({"predicates": list(predicates)}), **more)
    return [row["id"] for row in list_rows(connection, THINGS, request).rows]


def predicate(operation: str | int, key: str, **value: Any) -> dict[str, Any]:
    return {"operation": operation, "key": key, **value}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (predicate("EQUALS", "name", string_value="BETA"), ["b"]),
        (predicate(1, "name", stringValue="beta"), ["b"]),
        (predicate("NOT_EQUALS", "name", string_value="beta"), ["a", "c", "d"]),
        (predicate("IS_SUBSTRING", "name", string_value="ALPHA"), ["a", "d"]),
        (predicate("IS_SUBSTRING", "name", string_value="%"), []),
        (predicate("IN", "name", string_values={"values": ["alpha", "BETA"]}), ["a", "b"]),
        (predicate("IN", "name", string_values={"values": []}), []),
        (predicate("EQUALS", "finished_at", timestamp_value="1970-01-01T00:00:00Z"), ["a", "d"]),
        (predicate("GREATER_THAN_EQUALS", "finished_at", timestamp_value="1970-01-01T00:00:25Z"), ["b", "c"]),
        (predicate("GREATER_THAN", "finished_at", timestamp_value="1970-01-01T01:00:25+01:00"), ["c"]),
        (predicate("LESS_THAN", "created_at", long_value="20"), ["a"]),
        (predicate("LESS_THAN_EQUALS", "created_at", int_value=20), ["a", "b", "c"]),
        (predicate("IN", "created_at", long_values={"values": ["10", 40]}), ["a", "d"]),
    ],
)
def test_each_operation(connection: sqlite3.Connection, told: dict[str, Any], expected: list[str]) -> None:
    assert found(connection, told) == expected


def test_predicates_are_anded(connection: sqlite3.Connection) -> None:
    both = (
        predicate("IS_SUBSTRING", "name", string_value="alpha"),
        predicate("GREATER_THAN", "created_at", int_value=10),
    )
    assert found(connection, *both) == ["d"]


def test_a_filter_may_be_url_encoded_once_more(connection: sqlite3.Connection) -> None:
    text = quote(json.dumps({"predicates": [predicate("EQUALS", "name", string_value="beta")]}))
    assert [row["id"] for row in list_rows(connection, THINGS, ListRequest(filter=text)).rows] == ["b"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (predicate("EQUALS", "color", string_value="x"), "unrecognized field 'color'"),
        (predicate("EQUALS", "", string_value="x"), "key cannot be empty"),
        (predicate("LIKE", "name", string_value="x"), "invalid predicate operation: 'LIKE'"),
        (predicate(0, "name", string_value="x"), "invalid predicate operation: 0"),
        (predicate("EQUALS", "name"), "exactly one value"),
        (predicate("EQUALS", "name", string_value="x", int_value=1), "exactly one value"),
        (predicate("IN", "name", string_value="x"), "scalar value string_value"),
        (predicate("EQUALS", "name", string_values={"values": ["x"]}), "array value string_values"),
        (predicate("IS_SUBSTRING", "created_at", int_value=1), "cannot use operator IS_SUBSTRING"),
        (predicate("EQUALS", "created_at", timestamp_value="yesterday"), "invalid timestamp 'yesterday'"),
        (predicate("EQUALS", "created_at", timestamp_value=7), "invalid timestamp 7"),
        (predicate("EQUALS", "created_at", int_value="many"), "must be an integer"),
        (predicate("EQUALS", "created_at", long_value=2**63), "64 bits"),
        (predicate("EQUALS", "name", string_value="x", regex="y"), "unknown field 'regex'"),
        (predicate("IN", "name", string_values=["x"]), "string_values must be"),
    ],
)
def test_what_kfp_refuses(connection: sqlite3.Connection, told: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError, match=message) as caught:
        found(connection, told)
    assert caught.value.http_status == 400


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', '{"predicate": []}', '{"predicates": {}}', '{"predicates": [1]}']
)
def test_a_filter_that_is_none(connection: sqlite3.Connection, text: str) -> None:
    with pytest.raises(StatusError, match="failed to parse filter"):
        list_rows(connection, THINGS, ListRequest(filter=text))


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        ("", ["a", "b", "c", "d"]),
        ("created_at desc", ["d", "c", "b", "a"]),
        ("NAME asc", ["a", "c", "d", "b"]),
        ("finished_at", ["a", "d", "b", "c"]),
    ],
)
def test_sorting(connection: sqlite3.Connection, sort_by: str, expected: list[str]) -> None:
    assert [row["id"] for row in list_rows(connection, THINGS, ListRequest(sort_by=sort_by)).rows] == expected


@pytest.mark.parametrize("sort_by", ["color", "name up", "name desc please"])
def test_sorting_that_kfp_refuses(connection: sqlite3.Connection, sort_by: str) -> None:
    with pytest.raises(StatusError, match="sort"):
        list_rows(connection, THINGS, ListRequest(sort_by=sort_by))


@pytest.mark.parametrize("sort_by", ["", "created_at desc", "name"])
def test_pages_join_to_the_whole_list(connection: sqlite3.Connection, sort_by: str) -> None:
    whole = [row["id"] for row in list_rows(connection, THINGS, ListRequest(sort_by=sort_by)).rows]
    seen, token = [], ""
    for _ in range(len(ROWS)):
        page = list_rows(connection, THINGS, ListRequest(page_size=1, sort_by=sort_by, page_token=token))
        assert page.total_size == len(ROWS)
        seen += [row["id"] for row in page.rows]
        token = page.next_page_token
    assert (seen, token) == (whole, "")


def test_a_token_carries_its_filter(connection: sqlite3.Connection) -> None:
    text = json.dumps({"predicates": [predicate("IS_SUBSTRING", "name", string_value="alpha")]})
    first = list_rows(connection, THINGS, ListRequest(page_size=1, filter=text))
    second = list_rows(connection, THINGS, ListRequest(page_token=first.next_page_token))
    assert [row["id"] for row in second.rows] == ["d"]
    with pytest.raises(StatusError, match="does not match"):
        list_rows(connection, THINGS, ListRequest(page_token=first.next_page_token, sort_by="name"))


@pytest.mark.parametrize(
    "position",
    [
        {},
        {"column": "name; DROP TABLE things", "value": "x", "key": "y", "descending": False, "filter": ""},
        {"column": "name", "value": ["x"], "key": "y", "descending": False, "filter": ""},
        [],
    ],
)
def test_a_token_that_was_tampered_with(connection: sqlite3.Connection, position: Any) -> None:
    token = base64.b64encode(json.dumps(position).encode()).decode()
    with pytest.raises(StatusError, match="page token"):
        list_rows(connection, THINGS, ListRequest(page_token=token))


@pytest.mark.parametrize("token", ["%%%", "bm8ganNvbg==", "ü"])
def test_a_token_that_is_none(connection: sqlite3.Connection, token: str) -> None:
    with pytest.raises(StatusError, match="Invalid page token"):
        list_rows(connection, THINGS, ListRequest(page_token=token))


@pytest.mark.parametrize(("asked", "given"), [(0, 20), (3, 3), (200, 200), (5000, 200)])
def test_page_sizes(connection: sqlite3.Connection, asked: int, given: int) -> None:
    connection.executemany("INSERT INTO things VALUES (?, 'x', 50, 0)", [(f"e{n}",) for n in range(300)])
    assert len(list_rows(connection, THINGS, ListRequest(page_size=asked)).rows) == given


def test_a_negative_page_size_is_refused(connection: sqlite3.Connection) -> None:
    with pytest.raises(StatusError, match="page size"):
        list_rows(connection, THINGS, ListRequest(page_size=-1))
