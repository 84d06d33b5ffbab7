"""Arguments against parameters: what fits, and what is said where it does not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from bridge.domain.lineage import InputVersion
from bridge.spec.arguments import apply_inputs, check_arguments
from bridge.spec.errors import ArgumentErrors
from bridge.spec.load import Pipeline, load_pipeline
from tests.support.handmade import component, parameters, pipeline, sh, task


def taking(**types: str) -> Pipeline:
    """A pipeline with these parameters."""
    return pipeline(
        [task("ok", "ok")],
        {"ok": component(executorLabel="ok")},
        {"ok": sh("true")},
        inputs=parameters(**types),
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("str", "x"),
        ("int", 3),
        ("int", 3.0),
        ("float", 3),
        ("float", 0.5),
        ("bool", False),
        ("list", []),
        ("dict", {"a": None}),
        ("str?", None),
    ],
)
def test_what_fits_comes_back_as_given(kind: str, value: Any) -> None:
    given = {"x": value}
    before = copy.deepcopy(given)
    found = check_arguments(taking(x=kind, other="int=1"), given)
    assert found == before
    assert found is not given


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("str", 3, "x takes a text (STRING), not the number 3."),
        ("str", None, "x takes a text (STRING), not null."),
        ("int", "ten", "x takes an integer (NUMBER_INTEGER), not the text 'ten'."),
        ("int", 0.5, "x takes an integer (NUMBER_INTEGER), not the number 0.5."),
        ("int", True, "x takes an integer (NUMBER_INTEGER), not true."),
        ("float", True, "x takes a number (NUMBER_DOUBLE), not true."),
        ("bool", 1, "x takes true or false (BOOLEAN), not the number 1."),
        ("list", {}, "x takes a list (LIST), not a mapping."),
        ("dict", [], "x takes a mapping (STRUCT), not a list."),
    ],
)
def test_what_does_not_fit_is_said_with_a_pointer(kind: str, value: Any, sentence: str) -> None:
    with pytest.raises(ArgumentErrors) as caught:
        check_arguments(taking(x=kind), {"x": value})
    assert caught.value.errors == [("/arguments/x", sentence)]


def test_missing_and_unknown() -> None:
    with pytest.raises(ArgumentErrors) as caught:
        check_arguments(taking(epochs="int", rate="float=0.1"), {"epoch": 3, "a/b~c": 1})
    assert caught.value.errors == [
        ("/arguments/epoch", "by-hand has no parameter epoch. Did you mean epochs?"),
        ("/arguments/a~1b~0c", "by-hand has no parameter a/b~c. There are: epochs, rate."),
        ("/arguments/epochs", "epochs is missing: by-hand needs an integer (NUMBER_INTEGER)."),
    ]


def test_literals() -> None:
    made = taking(side="str")
    literal = dict(made.document)
    literal["root"]["inputDefinitions"]["parameters"]["side"]["literals"] = ["a", "b"]
    with pytest.raises(ArgumentErrors, match="side takes one of 'a', 'b', not the text 'c'"):
        check_arguments(load_pipeline(json.dumps(literal)), {"side": "c"})


def test_inputs_fill_the_parameters_of_their_name() -> None:
    made = taking(flights="list", model="str", n="int=1")
    inputs = [
        InputVersion(name="flights", uri="file:///a"),
        InputVersion(name="flights", uri="file:///b"),
        InputVersion(name="model", uri="s3://m/1"),
    ]
    given = {"n": 2}
    assert apply_inputs(made, given, inputs) == {
        "n": 2,
        "flights": ["file:///a", "file:///b"],
        "model": "s3://m/1",
    }
    assert given == {"n": 2}


@pytest.mark.parametrize(
    ("arguments", "name", "count", "sentence"),
    [
        ({}, "flight", 1, "the input flight has no parameter of that name. Did you mean flights?"),
        ({}, "n", 1, "the input n is a URI, but n takes an integer (NUMBER_INTEGER)."),
        ({}, "model", 2, "model takes one URI, but 2 inputs have that name."),
        ({"model": "x"}, "model", 1, "model is given twice: as an argument and as an input."),
    ],
)
def test_inputs_that_nothing_takes(arguments: dict[str, Any], name: str, count: int, sentence: str) -> None:
    made = taking(flights="list", model="str", n="int=1")
    with pytest.raises(ArgumentErrors) as caught:
        apply_inputs(made, arguments, [InputVersion(name=name, uri="file:///x")] * count)
    assert caught.value.errors == [(f"/inputs/{name}", sentence)]
