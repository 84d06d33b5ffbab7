"""CEL: the conditions and selectors of compiled pipelines, evaluated by a CEL library, never by Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.spec.values import as_text


class ExpressionError(ValueError):
    """A CEL expression does not compile, or cannot be evaluated on the values it got."""


def evaluate_condition(expression: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a task's trigger condition holds for its inputs (``inputs.parameter_values['x'] == 'a'``).

    Numbers are doubles to the expression, as KFP passes them.
    """
    values = {name: _as_cel(value) for name, value in parameters.items()}
    result = _evaluate(expression, _cel().Context(variables={"inputs": {"parameter_values": values}}))
    if not isinstance(result, bool):
        raise ExpressionError(f"The condition {expression!r} gives {result!r}, neither true nor false.")
    return result


def select(expression: str, value: Any) -> Any:
    """The part of a value that a ``parameterExpressionSelector`` names
    (``parseJson(string_value)["a"]``)."""
    context = _cel().Context(
        variables={"string_value": as_text(value)},
        functions={"parseJson": lambda text: _as_cel(json.loads(text))},
    )
    return _from_cel(_evaluate(expression, context))


def _cel() -> Any:
    # It brings a command line of its own, half a second of imports, and most pipelines have no condition.
    import cel

    return cel


def _evaluate(expression: str, context: Any) -> Any:
    try:
        return _cel().evaluate(expression, context)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ExpressionError(f"The expression {expression!r} cannot be evaluated: {error}") from error


def _as_cel(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list | tuple):
        return [_as_cel(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_cel(item) for key, item in value.items()}
    return value


def _from_cel(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_from_cel(item) for item in value]
    if isinstance(value, dict):
        return {key: _from_cel(item) for key, item in value.items()}
    return value
