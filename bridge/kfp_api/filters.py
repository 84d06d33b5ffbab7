"""Builds the ``filter`` of KFP's list calls: predicates joined by AND, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

FilterValue = str | int | datetime | tuple[str, ...] | tuple[int, ...]
UNFINISHED = datetime(1970, 1, 1, tzinfo=UTC)


class Operation(StrEnum):
    """What a predicate does with the key's value."""

    EQUALS = "EQUALS"
    NOT_EQUALS = "NOT_EQUALS"
    GREATER_THAN = "GREATER_THAN"
    GREATER_THAN_EQUALS = "GREATER_THAN_EQUALS"
    LESS_THAN = "LESS_THAN"
    LESS_THAN_EQUALS = "LESS_THAN_EQUALS"
    IN = "IN"
    IS_SUBSTRING = "IS_SUBSTRING"


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition, e.g. ``Predicate("state", Operation.IN, ("RUNNING", "PENDING"))``.

    Keys of runs: run_id, display_name, created_at, finished_at, scheduled_at, description,
    storage_state, state, namespace, experiment_id, recurring_run_id. Raises ``ValueError`` for a
    value that the operation cannot take or a moment without a time zone.
    """

    key: str
    operation: Operation
    value: FilterValue

    def __post_init__(self) -> None:
        if (self.operation is Operation.IN) != isinstance(self.value, tuple):
            raise ValueError("IN takes a tuple of values and nothing else does")
        if isinstance(self.value, tuple) and not self.value:
            raise ValueError("IN an empty tuple matches nothing")
        if isinstance(self.value, datetime) and self.value.tzinfo is None:
            raise ValueError("a moment without a time zone names no moment")
        if self.operation is Operation.IS_SUBSTRING and not isinstance(self.value, str):
            raise ValueError("IS_SUBSTRING takes a string")

    def to_json(self) -> dict[str, Any]:
        """The predicate as KFP wants it."""
        return {"operation": self.operation.value, "key": self.key, **_typed(self.value)}


@dataclass(frozen=True, slots=True)
class Filter:
    """Predicates that must all hold; immutable, each method returns a longer one."""

    predicates: tuple[Predicate, ...] = ()

    def where(self, key: str, operation: Operation, value: FilterValue) -> Filter:
        """This filter and one more predicate."""
        return Filter((*self.predicates, Predicate(key, operation, value)))

    def equals(self, key: str, value: str | int | datetime) -> Filter:
        """This filter, and the key equals the value."""
        return self.where(key, Operation.EQUALS, value)

    def at_least(self, key: str, value: int | datetime) -> Filter:
        """This filter, and the key is at or after the value."""
        return self.where(key, Operation.GREATER_THAN_EQUALS, value)

    def before(self, key: str, value: int | datetime) -> Filter:
        """This filter, and the key is less than the value."""
        return self.where(key, Operation.LESS_THAN, value)

    def is_in(self, key: str, values: Iterable[str]) -> Filter:
        """This filter, and the key is one of the strings."""
        return self.where(key, Operation.IN, tuple(values))

    def contains(self, key: str, text: str) -> Filter:
        """This filter, and the key's value contains the text."""
        return self.where(key, Operation.IS_SUBSTRING, text)

    def to_query(self) -> str:
        """The text for the query parameter ``filter``, before the HTTP client encodes it.

        KFP decodes the parameter a second time, so ``%`` and ``+`` are written as JSON escapes:
        the text means the same however often it is decoded.
        """
        text = json.dumps({"predicates": [predicate.to_json() for predicate in self.predicates]})
        return text.replace("%", "\\u0025").replace("+", "\\u002b")


def unfinished() -> Filter:
    """Exactly the runs that have not finished, which KFP stores with a finish at the epoch."""
    return Filter().equals("finished_at", UNFINISHED)


def finished_since(moment: datetime) -> Filter:
    """The runs that finished at ``moment`` or later."""
    return Filter().at_least("finished_at", moment)


def rfc3339(moment: datetime) -> str:
    """A moment as protobuf's JSON writes it: UTC with a ``Z``."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _typed(value: FilterValue) -> dict[str, Any]:
    if isinstance(value, datetime):
        return {"timestamp_value": rfc3339(value)}
    if isinstance(value, str):
        return {"string_value": value}
    if isinstance(value, int):
        return {"long_value": str(value)}
    if all(isinstance(one, str) for one in value):
        return {"string_values": {"values": list(value)}}
    return {"long_values": {"values": [str(one) for one in value]}}
