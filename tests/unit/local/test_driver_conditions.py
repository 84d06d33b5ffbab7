"""CEL: numbers are doubles, results are plain, errors are sentences."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.local.conditions import ExpressionError, evaluate_condition, select


@pytest.mark.parametrize(
    ("expression", "parameters", "expected"),
    [
        ("inputs.parameter_values['n'] == 2.0", {"n": 2}, True),
        ("int(inputs.parameter_values['n']) > 5", {"n": 9}, True),
        (
            "inputs.parameter_values['a'] == 'x' && inputs.parameter_values['b'] == true",
            {"a": "x", "b": True},
            True,
        ),
        ("!(inputs.parameter_values['a'] == 'x')", {"a": "x"}, False),
        ("inputs.parameter_values['a'] == 'x'", {"a": None}, False),
        ("inputs.parameter_values['l'][1] == 2.0", {"l": [1, 2]}, True),
        ("inputs.parameter_values['d']['k'] <= 0.5", {"d": {"k": 0.25}}, True),
    ],
)
def test_conditions(expression: str, parameters: dict[str, Any], expected: bool) -> None:
    assert evaluate_condition(expression, parameters) is expected


@pytest.mark.parametrize(
    "expression", ["1 +", "inputs.parameter_values['absent'] == 1.0", "'text'", "unheard(1)"]
)
def test_conditions_that_say_nothing(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate_condition(expression, {})


def test_python_is_never_evaluated() -> None:
    with pytest.raises(ExpressionError):
        evaluate_condition("__import__('os').getpid() > 0", {})


@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [
        ('parseJson(string_value)["a"]', '{"a": 1}', 1),
        ('parseJson(string_value)["a"]["b"][0]', {"a": {"b": ["x"]}}, "x"),
        ("parseJson(string_value)[1]", [1, 2.5], 2.5),
    ],
)
def test_selectors(expression: str, value: Any, expected: Any) -> None:
    found = select(expression, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", ["no json", '{"b": 1}'])
def test_a_selector_that_finds_nothing(value: str) -> None:
    with pytest.raises(ExpressionError):
        select('parseJson(string_value)["a"]', value)
