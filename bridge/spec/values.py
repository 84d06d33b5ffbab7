"""Values and the parameter types of the IR: does a value fit a type, and how is it read as one."""

from __future__ import annotations

import json
from typing import Any

from bridge.spec.model import ParameterType
from bridge.spec.node import describe

TYPE_WORDS = {
    ParameterType.STRING: "a text",
    ParameterType.NUMBER_INTEGER: "an integer",
    ParameterType.NUMBER_DOUBLE: "a number",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.LIST: "a list",
    ParameterType.STRUCT: "a mapping",
    ParameterType.TASK_FINAL_STATUS: "a task's final status",
    ParameterType.TASK_CONFIG: "a task's configuration",
}


def fits(kind: ParameterType, value: Any) -> bool:
    """Whether a JSON value may be given for a parameter of this type.

    An integer fits a double, an integral double fits an integer, as on the wire both are the same; a
    truth value is no number.
    """
    if kind is ParameterType.STRING:
        return isinstance(value, str)
    if kind is ParameterType.BOOLEAN:
        return isinstance(value, bool)
    if kind is ParameterType.NUMBER_DOUBLE:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is ParameterType.NUMBER_INTEGER:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (isinstance(value, int) or value.is_integer())
    if kind is ParameterType.LIST:
        return isinstance(value, list | tuple)
    # Pydantic models and NamedTuples arrive as STRUCT and may be lists there.
    return isinstance(value, dict)


def as_type(kind: ParameterType, value: Any) -> Any:
    """The value with exactly this type, if it can be read so: an int stays an int, ``"3"`` becomes 3.

    Texts are read as KFP's launcher reads output files. Raises ``ValueError`` in a sentence.
    """
    if value is None:
        return None
    if isinstance(value, str) and kind is not ParameterType.STRING:
        value = parse_text(kind, value)
    if kind is ParameterType.STRING and not isinstance(value, str):
        return as_text(value)
    if not fits(kind, value):
        raise ValueError(f"{TYPE_WORDS[kind]} ({kind}) is expected, not {describe(value)}.")
    if kind is ParameterType.NUMBER_INTEGER:
        return int(value)
    if kind is ParameterType.NUMBER_DOUBLE:
        return float(value)
    return list(value) if isinstance(value, tuple) else value


def parse_text(kind: ParameterType, text: str) -> Any:
    """A text (the content of an output file) read as a value of this type; ``ValueError`` if it is none."""
    if kind is ParameterType.STRING:
        return text
    stripped = text.strip()
    try:
        if kind is ParameterType.NUMBER_INTEGER:
            return int(stripped)
        if kind is ParameterType.NUMBER_DOUBLE:
            return float(stripped)
        if kind is ParameterType.BOOLEAN and stripped.lower() in ("true", "false"):
            return stripped.lower() == "true"
        return json.loads(stripped)
    except ValueError as error:
        raise ValueError(f"{TYPE_WORDS[kind]} ({kind}) is expected, not {describe(text)}.") from error


def as_text(value: Any) -> str:
    """A value as it appears inside a text or a command line: texts as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
