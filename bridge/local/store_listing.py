"""KFP's list language: filters, sorting and pages, turned into SQL over a table's own columns."""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from bridge.local.clock import parse_rfc3339
from bridge.local.status import invalid

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 200
_MAX_PREDICATES = 100

# Numbers of the proto enum v2beta1.Predicate.Operation: protojson takes names and numbers alike.
_OPERATIONS = (
    "OPERATION_UNSPECIFIED",
    "EQUALS",
    "NOT_EQUALS",
    "GREATER_THAN",
    "GREATER_THAN_EQUALS",
    "LESS_THAN",
    "LESS_THAN_EQUALS",
    "IN",
    "IS_SUBSTRING",
)
_COMPARISONS = {
    "EQUALS": "=",
    "NOT_EQUALS": "<>",
    "GREATER_THAN": ">",
    "GREATER_THAN_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}
_SCALARS = ("string_value", "int_value", "long_value", "timestamp_value")
_ARRAYS = ("string_values", "int_values", "long_values")
_PREDICATE_FIELDS = {"operation", "key", *_SCALARS, *_ARRAYS}


@dataclass(frozen=True, slots=True)
class Listable:
    """A table that can be listed: ``fields`` maps the API's keys to columns; ``key`` breaks ties."""

    table: str
    key: str
    fields: Mapping[str, str]
    times: frozenset[str] = frozenset({"created_at"})
    default_sort: str = "created_at"


@dataclass(frozen=True, slots=True)
class Conditions:
    """A WHERE clause in the making: SQL terms, AND-ed, and their arguments."""

    terms: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)

    def add(self, term: str, *arguments: Any) -> None:
        """One more term; ``?`` stands for each of the arguments."""
        self.terms.append(term)
        self.arguments.extend(arguments)

    def sql(self) -> str:
        """The clause with its keyword, or nothing."""
        return " WHERE " + " AND ".join(self.terms) if self.terms else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """What a caller asks a list for, as the query string gave it."""

    page_size: int = 0
    page_token: str = ""
    sort_by: str = ""
    filter: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, how many there are in all, and where to go on (empty at the end)."""

    rows: Sequence[sqlite3.Row]
    total_size: int
    next_page_token: str


@dataclass(frozen=True, slots=True)
class _Position:
    column: str
    descending: bool
    value: Any
    key: Any
    filter: str


def list_rows(
    connection: sqlite3.Connection,
    listable: Listable,
    request: ListRequest,
    fixed: Sequence[tuple[str, Any]] = (),
) -> Page:
    """One page of a table. ``fixed`` holds column/value pairs that the route itself demands; a tuple of
    values asks for one of them.

    Raises ``StatusError`` (400) for a filter, sort key, size or token that KFP would refuse too.
    """
    size = _page_size(request.page_size)
    position = _position_of(request, listable)
    conditions = Conditions()
    for column, value in fixed:
        if isinstance(value, tuple):
            # One argument however many values: SQLite bounds the number of arguments.
            conditions.add(f"{column} IN (SELECT value FROM json_each(?))", json.dumps(value))  # noqa: S608
        else:
            conditions.add(f"{column} = ?", value)
    _add_filter(conditions, position.filter, listable)
    total = connection.execute(
        f"SELECT COUNT(*) FROM {listable.table}{conditions.sql()}",  # noqa: S608
        conditions.arguments,
    ).fetchone()[0]
    if position.key is not None:
        beyond = "<" if position.descending else ">"
        conditions.add(f"({position.column}, {listable.key}) {beyond}= (?, ?)", position.value, position.key)
    order = "DESC" if position.descending else "ASC"
    rows = connection.execute(
        f"SELECT * FROM {listable.table}{conditions.sql()} "  # noqa: S608
        f"ORDER BY {position.column} {order}, {listable.key} {order} LIMIT ?",
        (*conditions.arguments, size + 1),
    ).fetchall()
    token = ""
    if len(rows) > size:
        first_of_next = rows[size]
        token = _token(
            {
                "column": position.column,
                "descending": position.descending,
                "value": first_of_next[position.column],
                "key": first_of_next[listable.key],
                "filter": position.filter,
            }
        )
    return Page(rows[:size], total, token)


def _page_size(size: int) -> int:
    if size < 0:
        raise invalid(f"The page size should be greater than 0. Got {size}")
    return min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _position_of(request: ListRequest, listable: Listable) -> _Position:
    column, descending = _sorting(request.sort_by, listable)
    if not request.page_token:
        return _Position(column, descending, None, None, request.filter)
    told = _read_token(request.page_token)
    column_told = told.get("column")
    if (
        not isinstance(column_told, str)
        or column_told not in listable.fields.values()
        or told.get("key") is None
    ):
        raise invalid("Invalid page token: it belongs to another list")
    if (request.sort_by and (column, descending) != (column_told, told.get("descending"))) or (
        request.filter and request.filter != told.get("filter")
    ):
        raise invalid("page token does not match the supplied sort by and/or filtering criteria")
    return _Position(
        column_told, bool(told.get("descending")), told.get("value"), told["key"], str(told.get("filter", ""))
    )


def _sorting(sort_by: str, listable: Listable) -> tuple[str, bool]:
    words = sort_by.lower().split()
    if len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        raise invalid(
            f"Received invalid sort by format {sort_by!r}. "
            'Supported format: "field_name", "field_name desc", or "field_name asc"'
        )
    name = words[0] if words else listable.default_sort
    column = listable.fields.get(name)
    if column is None:
        raise invalid(f"Invalid sorting field: {name!r}; known fields: {', '.join(sorted(listable.fields))}")
    return column, words[-1:] == ["desc"]


def _token(position: Mapping[str, Any]) -> str:
    return base64.b64encode(json.dumps(position, separators=(",", ":")).encode()).decode()


def _read_token(token: str) -> dict[str, Any]:
    try:
        told = json.loads(base64.b64decode(token, validate=True))
    except (binascii.Error, ValueError) as error:
        raise invalid("Invalid page token") from error
    if not isinstance(told, dict) or not all(
        isinstance(told.get(name), str | int | float) for name in ("value", "key", "descending", "filter")
    ):
        raise invalid("Invalid page token")
    return told


def _add_filter(conditions: Conditions, text: str, listable: Listable) -> None:
    for predicate in _predicates(text):
        key = predicate.get("key", "")
        if not key:
            raise invalid("Predicate key cannot be empty")
        column = listable.fields.get(key)
        if column is None:
            raise invalid(f"no support for filtering on unrecognized field {key!r}")
        _add_predicate(conditions, _operation(predicate.get("operation", 0)), column, predicate, listable)


def _predicates(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    document = _filter_document(text)
    if not isinstance(document, dict) or set(document) - {"predicates"}:
        raise invalid('failed to parse filter: expected {"predicates": […]}')
    predicates = document.get("predicates", [])
    if not isinstance(predicates, list) or len(predicates) > _MAX_PREDICATES:
        raise invalid(f"failed to parse filter: predicates must be a list of at most {_MAX_PREDICATES}")
    return [_snake_case(predicate) for predicate in predicates]


def _filter_document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # KFP documents the filter as URL-encoded JSON, so some callers encode it twice.
        try:
            return json.loads(unquote_plus(text))
        except (ValueError, RecursionError) as error:
            raise invalid(f"failed to parse filter: {error}") from error


def _snake_case(predicate: Any) -> dict[str, Any]:
    if not isinstance(predicate, dict):
        raise invalid("failed to parse filter: a predicate must be an object")
    renamed = {
        "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): value
        for name, value in predicate.items()
    }
    unknown = set(renamed) - _PREDICATE_FIELDS
    if unknown:
        raise invalid(f"failed to parse filter: unknown field {sorted(unknown)[0]!r} in a predicate")
    if not isinstance(renamed.get("key", ""), str):
        raise invalid("failed to parse filter: the key of a predicate must be a string")
    return renamed


def _operation(told: Any) -> str:
    if isinstance(told, int) and not isinstance(told, bool) and 0 < told < len(_OPERATIONS):
        return _OPERATIONS[told]
    if isinstance(told, str) and told in _OPERATIONS[1:]:
        return told
    raise invalid(f"invalid predicate operation: {told!r}")


def _add_predicate(
    conditions: Conditions, operation: str, column: str, predicate: Mapping[str, Any], listable: Listable
) -> None:
    name, value = _value(predicate)
    array = name in _ARRAYS
    if array != (operation == "IN"):
        kind = "array" if array else "scalar"
        raise invalid(f"cannot use operator {operation} with the {kind} value {name}")
    if operation == "IS_SUBSTRING":
        if not isinstance(value, str) or column in listable.times:
            raise invalid(f"cannot use operator IS_SUBSTRING with {name} on {predicate['key']!r}")
        conditions.add(f"instr(lower({column}), lower(?)) > 0", value)
    elif operation == "IN":
        marks = ", ".join("lower(?)" if name == "string_values" else "?" for _ in value)
        left = f"lower({column})" if name == "string_values" else column
        conditions.add(f"{left} IN ({marks})", *value)
    elif isinstance(value, str):
        # KFP's databases compare text without regard to case.
        conditions.add(f"lower({column}) {_COMPARISONS[operation]} lower(?)", value)
    else:
        conditions.add(f"{column} {_COMPARISONS[operation]} ?", value)


def _value(predicate: Mapping[str, Any]) -> tuple[str, Any]:
    given = [name for name in (*_SCALARS, *_ARRAYS) if name in predicate]
    if len(given) != 1:
        raise invalid(f"a predicate needs exactly one value, not {len(given)}: {', '.join(given) or 'none'}")
    name, value = given[0], predicate[given[0]]
    if name in _ARRAYS:
        if (
            not isinstance(value, Mapping)
            or set(value) - {"values"}
            or not isinstance(value.get("values"), list)
        ):
            raise invalid(f'failed to parse filter: {name} must be {{"values": […]}}')
        return name, [_scalar(name.removesuffix("s"), element) for element in value["values"]]
    return name, _scalar(name, value)


def _scalar(name: str, value: Any) -> str | int:
    if name == "string_value":
        if not isinstance(value, str):
            raise invalid(f"failed to parse filter: string_value must be a string, not {value!r}")
        return value
    if name == "timestamp_value":
        return _timestamp(value)
    try:
        # protojson writes 64-bit integers as strings.
        number = int(value)
    except (TypeError, ValueError) as error:
        raise invalid(f"failed to parse filter: {name} must be an integer, not {value!r}") from error
    if isinstance(value, bool | float) or not -(2**63) <= number < 2**63:
        raise invalid(f"failed to parse filter: {name} must be an integer of 64 bits, not {value!r}")
    return number


def _timestamp(value: Any) -> int:
    try:
        return parse_rfc3339(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"failed to parse filter: invalid timestamp {value!r}, expected RFC 3339") from error
