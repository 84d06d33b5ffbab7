"""Where the parameters of a task come from, as its pipeline tells."""

from __future__ import annotations

import pytest

from bridge.local.native_sources import Source, Sources
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

_FINAL_STATUS = {"status": {"parameterType": "TASK_FINAL_STATUS", "isOptional": True}}
_LOOP = {"itemInput": "item", "items": {"raw": "[1, 2]"}}


def made() -> Sources:
    """A task, a loop after it, and one that takes from both."""
    leaf = component(
        inputs=parameters(a="int?", b="int?", c="int=3"),
        outputs=parameters(Output="int"),
        executorLabel="exec",
    )
    inner = component(
        inputs=parameters(item="int", limit="int"),
        outputs=parameters(Output="list"),
        dag={
            "tasks": {"work": task("work", "comp-leaf", parameters={"a": from_input("item")})},
            "outputs": {"parameters": {"Output": selected(("work", "Output"))}},
        },
    )
    last = component(inputs={**parameters(one="int", all="list"), **_FINAL_STATUS}, executorLabel="exec")
    loop = task(
        "loop",
        "comp-inner",
        parameters={"limit": from_input("limit")},
        parameterIterator=_LOOP,
    )
    sources = {
        "one": from_task("first"),
        "all": from_task("loop"),
        "status": {"taskFinalStatus": {"producerTask": "first"}},
    }
    loaded = pipeline(
        {
            "first": task("first", "comp-leaf", parameters={"a": constant(1), "b": from_input("limit")}),
            "loop": loop,
            "last": task("last", "comp-last", "first", "loop", parameters=sources),
        },
        {"comp-leaf": leaf, "comp-inner": inner, "comp-last": last},
        {"exec": sh("true")},
        inputs=parameters(limit="int=3", other="int=4"),
    )
    return Sources(loaded.model, {"limit": 5})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", {"limit": ("RUNTIME_VALUE_INPUT", None), "other": ("COMPONENT_DEFAULT_INPUT", None)}),
        (
            "first",
            {
                "a": ("RUNTIME_VALUE_INPUT", None),
                "b": ("COMPONENT_INPUT", None),
                "c": ("COMPONENT_DEFAULT_INPUT", None),
            },
        ),
        ("loop", {"item": ("ITERATOR_INPUT_RAW", None), "limit": ("COMPONENT_INPUT", None)}),
        (
            "last",
            {
                "one": ("TASK_OUTPUT_INPUT", "first"),
                "all": ("COLLECTED_INPUTS", "loop"),
                "status": ("TASK_FINAL_STATUS_OUTPUT", "first"),
            },
        ),
        ("no.such.task", {}),
        ("first.inside", {}),
    ],
)
def test_each_parameter_has_its_source(path: str, expected: dict[str, Source]) -> None:
    assert made().of(path) == expected


def test_an_iteration_is_no_level_of_the_pipeline() -> None:
    assert made().of("loop[1].work")["a"] == ("COMPONENT_INPUT", None)


def test_a_pipeline_that_cannot_be_read_tells_nothing() -> None:
    assert Sources(None, ()).of("train") == {}
