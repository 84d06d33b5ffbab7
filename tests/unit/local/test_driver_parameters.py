"""Parameters keep exactly their types on every way they can take; defaults apply where nothing is given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.domain.states import RuntimeState
from tests.support.handmade import (
    component,
    constant,
    from_input,
    from_task,
    parameters,
    pipeline,
    selected,
    sh,
    task,
)
from tests.unit.local.conftest import Driver

COPY = sh(
    'printf "%s" "$0" > "$1"',
    "{{$.inputs.parameters['value']}}",
    "{{$.outputs.parameters['Output'].output_file}}",
)


def copying(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A component that gives back what it got, as a parameter of the given type."""
    copy = component(inputs=parameters(value=kind), outputs=parameters(Output=kind), executorLabel="copy")
    return {"copy": copy}, {"copy": COPY}


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        ("int", 9.0, 9),
        ("float", 9, 9.0),
        ("float", 0.25, 0.25),
        ("bool", True, True),
        ("bool", False, False),
        ("str", "a 'b' \"c\" $HOME\n", "a 'b' \"c\" $HOME\n"),
        ("str", "", ""),
        ("list", [1, "a", None, [2.5]], [1, "a", None, [2.5]]),
        ("dict", {"a": 1, "b": {"c": "ü"}}, {"a": 1, "b": {"c": "ü"}}),
    ],
)
async def test_a_value_goes_through_a_component_unchanged(
    driver: Driver, kind: str, written: Any, expected: Any
) -> None:
    components, executors = copying(kind)
    outcome = await driver.execute(
        pipeline(
            [task("copy", "copy", parameters={"value": constant(written)})],
            components,
            executors,
            outputs={"Output": selected(("copy", "Output"))},
            output_types=parameters(Output=kind),
        )
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    value = outcome.result.parameters["Output"]
    assert value == expected
    assert type(value) is type(expected)


async def test_an_int_stays_an_int_through_nested_dags(driver: Driver) -> None:
    components, executors = copying("int")
    inner = {"tasks": {"copy": task("copy", "copy", parameters={"value": from_input("n")})}}
    inner["outputs"] = {"parameters": {"Output": selected(("copy", "Output"))}}
    components["inner"] = component(inputs=parameters(n="int"), outputs=parameters(Output="int"), dag=inner)
    outer = {"tasks": {"inner": task("inner", "inner", parameters={"n": from_input("n")})}}
    outer["outputs"] = {"parameters": {"Output": selected(("inner", "Output"))}}
    components["outer"] = component(inputs=parameters(n="int"), outputs=parameters(Output="int"), dag=outer)
    outcome = await driver.execute(
        pipeline(
            [task("outer", "outer", parameters={"n": from_input("n")})],
            components,
            executors,
            inputs=parameters(n="int"),
            outputs={"Output": selected(("outer", "Output"))},
            output_types=parameters(Output="int"),
        ),
        parameters={"n": 5.0},
    )
    assert repr(outcome.result.parameters["Output"]) == "5"
    started = driver.recorder.starts["outer.inner.copy"][0]
    assert repr(started.parameters["value"]) == "5"
    assert driver.recorder.created["outer.inner.copy"].kind == "container"
    assert driver.recorder.created["outer.inner"].kind == "dag"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "from the child"), ({"text": None}, "from the child"), ({"text": "mine"}, "mine")],
)
async def test_the_childs_default_applies_when_the_parent_has_nothing(
    driver: Driver, given: dict[str, Any], expected: str
) -> None:
    components, executors = copying("str")
    components["copy"]["inputDefinitions"]["parameters"] = parameters(value='str="from the child"')
    await driver.execute(
        pipeline(
            [task("copy", "copy", parameters={"value": from_input("text")})],
            components,
            executors,
            inputs=parameters(text="str?"),
        ),
        parameters=given,
    )
    assert driver.recorder.result("copy").parameters == {"Output": expected}


async def test_an_optional_input_without_a_value_is_absent(driver: Driver) -> None:
    show = component(inputs=parameters(maybe="str?"), outputs=parameters(Output="str"), executorLabel="show")
    present = json.dumps({"IfPresent": {"InputName": "maybe", "Then": ["given"], "Else": ["absent"]}})
    executor = sh('printf "%s" "$1" > "$0"', "{{$.outputs.parameters['Output'].output_file}}", present)
    outcome = await driver.execute(pipeline([task("show", "show")], {"show": show}, {"show": executor}))
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("show").parameters == {"Output": "absent"}


async def test_a_constant_may_name_other_inputs_by_placeholder(driver: Driver) -> None:
    components, executors = copying("str")
    text = "{{$.inputs.parameters['pipelinechannel--first-Output']}} and more, in {{$.pipeline_job_name}}"
    given = {
        "value": constant(text),
        "pipelinechannel--first-Output": from_task("first"),
    }
    await driver.execute(
        pipeline(
            [
                task("first", "copy", parameters={"value": constant("{{$.unknown}} is kept")}),
                task("second", "copy", parameters=given),
            ],
            components,
            executors,
        )
    )
    # What came out of a task is data: placeholders in it are never looked at.
    assert driver.recorder.result("second").parameters == {
        "Output": "{{$.unknown}} is kept and more, in a run"
    }


async def test_a_selector_takes_a_part_of_a_value(driver: Driver) -> None:
    components, executors = copying("int")
    given = {"value": from_input("config", parameterExpressionSelector='parseJson(string_value)["depth"]')}
    await driver.execute(
        pipeline(
            [task("copy", "copy", parameters=given)], components, executors, inputs=parameters(config="dict")
        ),
        parameters={"config": {"depth": 3}},
    )
    assert driver.recorder.result("copy").parameters == {"Output": 3}


async def test_an_output_that_is_not_what_was_declared_fails_the_task(driver: Driver) -> None:
    count = component(outputs=parameters(Output="int"), executorLabel="count")
    executor = sh('printf "many" > "$0"', "{{$.outputs.parameters['Output'].output_file}}")
    outcome = await driver.execute(pipeline([task("count", "count")], {"count": count}, {"count": executor}))
    assert outcome.state is RuntimeState.FAILED
    assert outcome.failed_tasks == ("count",)
    assert "The output Output does not fit its type: an integer (NUMBER_INTEGER) is expected" in str(
        outcome.message
    )


async def test_a_required_input_that_nothing_gives_fails_the_task(driver: Driver) -> None:
    components, executors = copying("str")
    silent = component(outputs=parameters(Output="str"), executorLabel="silent")
    outcome = await driver.execute(
        pipeline(
            [task("silent", "silent"), task("copy", "copy", parameters={"value": from_task("silent")})],
            {**components, "silent": silent},
            {**executors, "silent": sh("true")},
        )
    )
    assert outcome.failed_tasks == ("copy",)
    assert driver.recorder.ends["copy"].message == "copy needs a value for value, and there is none."
