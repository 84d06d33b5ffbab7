"""Loops: over constants, parameters and artifacts, nested, limited, collected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.domain.states import RuntimeState
from bridge.domain.uris import local_path
from tests.support.handmade import (
    artifact_from_task,
    artifacts,
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

ECHO = sh(
    'printf "%s" "$0" > "$1"',
    "{{$.inputs.parameters['value']}}",
    "{{$.outputs.parameters['Output'].output_file}}",
)


def echo(kind: str) -> dict[str, Any]:
    return component(inputs=parameters(value=kind), outputs=parameters(Output=kind), executorLabel="echo")


def body(item: str, inner: str = "echo") -> dict[str, Any]:
    """A DAG that hands its item to one task and gives that task's output as ``all``."""
    return {
        "tasks": {"do": task("do", inner, parameters={"value": from_input("item")})},
        "outputs": {"parameters": {"all": selected(("do", "Output"))}},
    }


def over(items: Any, **more: Any) -> dict[str, Any]:
    return {"parameterIterator": {"itemInput": "item", "items": {"raw": json.dumps(items)}}, **more}


@pytest.mark.parametrize(
    ("kind", "items", "expected"),
    [
        ("int", [3, 1, 2], [3, 1, 2]),
        ("str", ["a", "b"], ["a", "b"]),
        ("str", [1, 2], ["1", "2"]),
        ("int", [], []),
    ],
)
async def test_a_loop_runs_each_item_and_collects_in_their_order(
    driver: Driver, kind: str, items: list[Any], expected: list[Any]
) -> None:
    loop = component(inputs=parameters(item=kind), outputs=parameters(all="list"), dag=body(kind))
    outcome = await driver.execute(
        pipeline(
            [
                task("loop", "loop", **over(items)),
                task("sum", "gather", parameters={"value": from_task("loop", "all")}),
            ],
            {"loop": loop, "echo": echo(kind), "gather": echo("list")},
            {"echo": ECHO},
        )
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("loop").parameters == {"all": expected}
    assert driver.recorder.result("sum").parameters == {"Output": expected}
    assert driver.recorder.created["loop"].iteration_count == len(items)
    for index in range(len(items)):
        created = driver.recorder.created[f"loop[{index}]"]
        assert (created.iteration, created.name) == (index, "loop")
        assert created.parent_task_id == driver.recorder.created["loop"].task_id


async def test_nested_loops_collect_lists_of_lists(driver: Driver) -> None:
    inner = component(inputs=parameters(item="int"), outputs=parameters(all="list"), dag=body("int"))
    outer_dag = {
        "tasks": {
            "inner": task(
                "inner",
                "inner",
                parameters={"row": from_input("item")},
                parameterIterator={"itemInput": "item", "items": {"inputParameter": "row"}},
            )
        },
        "outputs": {"parameters": {"all": selected(("inner", "all"))}},
    }
    outer = component(inputs=parameters(item="list"), outputs=parameters(all="list"), dag=outer_dag)
    await driver.execute(
        pipeline(
            [task("outer", "outer", **over([[1, 2], [3]]))],
            {"outer": outer, "inner": inner, "echo": echo("int")},
            {"echo": ECHO},
        )
    )
    assert driver.recorder.result("outer").parameters == {"all": [[1, 2], [3]]}
    assert driver.recorder.result("outer[0].inner[1].do").parameters == {"Output": 2}


async def test_the_parallelism_limit_holds(driver: Driver, tmp_path: Path) -> None:
    alone = sh('mkdir "$0" && sleep 0.02 && rmdir "$0"', str(tmp_path / "held"))
    dag = {"tasks": {"alone": task("alone", "alone")}}
    outcome = await driver.execute(
        pipeline(
            [task("loop", "loop", **over([1, 2, 3]), iteratorPolicy={"parallelismLimit": 1})],
            {
                "loop": component(inputs=parameters(item="int"), dag=dag),
                "alone": component(executorLabel="alone"),
            },
            {"alone": alone},
        )
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message


async def test_one_failed_item_fails_the_loop_and_the_others_go_on(driver: Driver) -> None:
    picky = sh('test "$0" != b', "{{$.inputs.parameters['value']}}")
    components = {
        "loop": component(
            inputs=parameters(item="str"),
            dag={"tasks": {"do": task("do", "picky", parameters={"value": from_input("item")})}},
        ),
        "picky": component(inputs=parameters(value="str"), executorLabel="picky"),
    }
    outcome = await driver.execute(
        pipeline(
            [task("loop", "loop", **over(["a", "b", "c"])), task("after", "picky", "loop")],
            components,
            {"picky": picky},
        )
    )
    assert outcome.failed_tasks == ("loop[1].do",)
    states = driver.recorder.states()
    assert [states[f"loop[{index}].do"] for index in range(3)] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert (states["loop"], states["after"]) == ("FAILED", "SKIPPED")
    assert "1 of 3 iterations failed. Iteration 1:" in str(driver.recorder.ends["loop"].message)


async def test_a_loop_over_what_is_no_list_fails(driver: Driver) -> None:
    loop = component(inputs=parameters(item="str", items="str"), dag=body("str"))
    policy = {"parameterIterator": {"itemInput": "item", "items": {"inputParameter": "items"}}}
    loop["dag"]["outputs"] = {}
    outcome = await driver.execute(
        pipeline(
            [task("loop", "loop", parameters={"items": constant("no list")}, **policy)],
            {"loop": loop, "echo": echo("str")},
            {"echo": ECHO},
        )
    )
    assert outcome.message == "The task loop failed: loop loops over items, which is no list."


async def test_artifacts_are_collected_and_looped_over(driver: Driver) -> None:
    write = component(
        inputs=parameters(value="str"), output_artifacts=artifacts(file="Dataset"), executorLabel="write"
    )
    read = component(
        input_artifacts=artifacts(file="Dataset"), outputs=parameters(Output="str"), executorLabel="read"
    )
    write_all = {
        "tasks": {"write": task("write", "write", parameters={"value": from_input("item")})},
        "outputs": {
            "artifacts": {
                "files": {"artifactSelectors": [{"producerSubtask": "write", "outputArtifactKey": "file"}]}
            }
        },
    }
    read_one = {
        "tasks": {"read": task("read", "read", artifacts={"file": {"componentInputArtifact": "file"}})},
        "outputs": {"parameters": {"all": selected(("read", "Output"))}},
    }
    components = {
        "write": write,
        "read": read,
        "writes": component(
            inputs=parameters(item="str"), output_artifacts=artifacts(files="[Dataset]"), dag=write_all
        ),
        "reads": component(
            input_artifacts=artifacts(file="Dataset", files="[Dataset]"),
            outputs=parameters(all="list"),
            dag=read_one,
        ),
    }
    executors = {
        "write": sh(
            'printf "%s" "$0" > "$1"',
            "{{$.inputs.parameters['value']}}",
            "{{$.outputs.artifacts['file'].path}}",
        ),
        "read": sh(
            'cat "$0" > "$1"',
            "{{$.inputs.artifacts['file'].path}}",
            "{{$.outputs.parameters['Output'].output_file}}",
        ),
    }
    outcome = await driver.execute(
        pipeline(
            [
                task("writes", "writes", **over(["x", "y"])),
                task(
                    "reads",
                    "reads",
                    artifacts={"files": artifact_from_task("writes", "files")},
                    artifactIterator={"itemInput": "file", "items": {"inputArtifact": "files"}},
                ),
            ],
            components,
            executors,
        )
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("reads").parameters == {"all": ["x", "y"]}
    written = driver.recorder.starts["reads"][0].artifacts["files"]
    assert [Path(str(local_path(artifact.uri))).read_text() for artifact in written] == ["x", "y"]
    # Which of the siblings was first does not matter; each has its own id.
    assert sorted(artifact.artifact_id or 0 for artifact in written) == [1, 2]
    assert len(driver.recorder.artifacts) == 2
