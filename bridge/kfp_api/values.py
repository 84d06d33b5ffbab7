"""Turns MLMD's property values into plain JSON values that every database takes.

What a database or JSON would refuse is changed here and noted: NUL characters are replaced, texts
longer than ``MAX_TEXT_CHARS`` cut, numbers that are not finite become ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import struct_pb2

from bridge.kfp_api import metadata_pb2 as pb

MAX_TEXT_CHARS = 64 * 1024
_MAX_WARNINGS = 100
_YEAR_10000_MS = 253_402_300_800_000


class Cleaner:
    """Converts values and remembers what it had to change, a sentence each, 100 at most."""

    def __init__(self) -> None:
        self._warnings: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was changed or left out, in the order it was met."""
        return tuple(self._warnings)

    def warn(self, sentence: str) -> None:
        """Notes a sentence once."""
        if len(self._warnings) < _MAX_WARNINGS:
            self._warnings.setdefault(sentence)

    def text(self, text: str, where: str) -> str:
        """The text without NUL characters, cut if it is too long."""
        text = text.replace("\x00", "\ufffd")
        if len(text) <= MAX_TEXT_CHARS:
            return text
        self.warn(f"{where} has {len(text)} characters and was cut")
        return text[: MAX_TEXT_CHARS - 1] + "…"

    def number(self, number: float, where: str) -> float | None:
        """The number, or ``None`` if it is not finite."""
        if math.isfinite(number):
            return number
        self.warn(f"{where} is {number} and was left out")
        return None

    def value(self, value: pb.Value, where: str) -> Any:
        """A property's value; a struct that only wraps a list or an object is unwrapped, as KFP wraps it."""
        match value.WhichOneof("value"):
            case "int_value":
                return value.int_value
            case "double_value":
                return self.number(value.double_value, where)
            case "string_value":
                return self.text(value.string_value, where)
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return _unwrapped(self.struct(value.struct_value, where))
            case "proto_value":
                self.warn(f"{where} holds a {value.proto_value.type_url} and was left out")
        return None

    def struct(self, struct: struct_pb2.Struct, where: str) -> dict[str, Any]:
        """A protobuf struct as a dict. Its numbers are floats: protobuf keeps no other."""
        return {
            self.text(name, where): self._json(value, f"{where}.{name}")
            for name, value in sorted(struct.fields.items())
        }

    def properties(self, properties: Mapping[str, pb.Value], where: str) -> dict[str, Any]:
        """Every property by name."""
        return {
            self.text(name, where): self.value(value, f"{where}.{name}")
            for name, value in sorted(properties.items())
        }

    def plain(self, value: Any, where: str) -> Any:
        """A value that came as JSON, with the same care."""
        match value:
            case bool() | None:
                return value
            case int() | float():
                return self.number(value, where)
            case str():
                return self.text(value, where)
            case dict():
                return {
                    self.text(name, where): self.plain(one, f"{where}.{name}") for name, one in value.items()
                }
            case list():
                return [self.plain(one, where) for one in value]
        self.warn(f"{where} is a {type(value).__name__} and was left out")
        return None

    def _json(self, value: struct_pb2.Value, where: str) -> Any:
        match value.WhichOneof("kind"):
            case "number_value":
                return self.number(value.number_value, where)
            case "string_value":
                return self.text(value.string_value, where)
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return self.struct(value.struct_value, where)
            case "list_value":
                return [self._json(one, where) for one in value.list_value.values]
        return None


def struct_of(properties: Mapping[str, pb.Value], name: str) -> struct_pb2.Struct:
    """The struct under a property's name, empty if there is none."""
    if name in properties and properties[name].WhichOneof("value") == "struct_value":
        return properties[name].struct_value
    return struct_pb2.Struct()


def text_of(properties: Mapping[str, pb.Value], name: str) -> str | None:
    """The text under a property's name, ``None`` if it is absent or empty."""
    return (properties[name].string_value or None) if name in properties else None


def int_of(properties: Mapping[str, pb.Value], name: str) -> int | None:
    """The integer under a property's name, which some writers give as a double or a text."""
    if name not in properties:
        return None
    value = properties[name]
    match value.WhichOneof("value"):
        case "int_value":
            return value.int_value
        case "double_value":
            return int(value.double_value) if value.double_value.is_integer() else None
        case "string_value":
            return int(value.string_value) if value.string_value.isdecimal() else None
    return None


def moment(milliseconds: int) -> datetime | None:
    """A time of MLMD as a moment; 0 and what no calendar holds are none."""
    if not 0 < milliseconds < _YEAR_10000_MS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _unwrapped(struct: dict[str, Any]) -> Any:
    if set(struct) == {"list"} and isinstance(struct["list"], list):
        return struct["list"]
    if set(struct) == {"struct"} and isinstance(struct["struct"], dict):
        return struct["struct"]
    return struct
