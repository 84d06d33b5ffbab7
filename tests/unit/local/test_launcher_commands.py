"""What the launcher makes of a component's command line, and what it says when it cannot run it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from bridge.domain.states import RuntimeState
from bridge.local.placeholders import PlaceholderError, Placeholders
from tests.support.handmade import component, parameters, pipeline, sh, task
from tests.unit.local.conftest import Driver

EXECUTOR_INPUT = {
    "inputs": {
        "parameterValues": {
            "text": 'it\'s "x"',
            "n": 3,
            "x": 2.0,
            "half": 0.5,
            "yes": True,
            "items": ["a", {"b": 1}],
            "trap": "{{$.pipeline_job_uuid}}",
        },
        "artifacts": {
            "model": {"artifacts": [{"name": "m", "uri": "/place/model", "metadata": {"depth": 3}}]}
        },
    },
    "outputs": {
        "parameters": {"o": {"outputFile": "/out/o"}},
        "artifacts": {"data": {"artifacts": [{"name": "data", "uri": "/place/data"}]}},
        "outputFile": "/out/executor_output.json",
    },
}
PLACEHOLDERS = Placeholders(EXECUTOR_INPUT, {"pipeline_job_uuid": "run-1", "pipeline_task_name": "train"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{$.inputs.parameters['text']}}", 'it\'s "x"'),
        ('{{$.inputs.parameters["n"]}}', "3"),
        ("{{$.inputs.parameters['x']}}/{{$.inputs.parameters['half']}}", "2/0.5"),
        ("{{$.inputs.parameters['yes']}}", "true"),
        ("{{$.inputs.parameters['items']}}", '["a",{"b":1}]'),
        ("{{$.inputs.parameters['items'][1]['b']}}", "1"),
        ("{{$.inputs.parameters['absent']}}", "null"),
        ("{{$.inputs.parameters['trap']}}", "{{$.pipeline_job_uuid}}"),
        ("{{$.inputs.artifacts['model'].path}}", "/place/model"),
        ("{{$.inputs.artifacts['model'].uri}}", "/place/model"),
        ("{{$.inputs.artifacts['model'].metadata['depth']}}", "3"),
        ("{{$.inputs.artifacts['absent'].path}}", ""),
        (
            "{{$.inputs.artifacts['model']}}",
            '[{"name": "m", "uri": "/place/model", "metadata": {"depth": 3}}]',
        ),
        ("--to={{$.outputs.artifacts['data'].path}}", "--to=/place/data"),
        ("{{$.outputs.parameters['o'].output_file}}", "/out/o"),
        ("{{$.outputs.output_file}}", "/out/executor_output.json"),
        ("{{$.pipeline_job_uuid}}/{{$.pipeline_task_name}}", "run-1/train"),
        ("{{$.json_escape[1].inputs.parameters['text']}}", 'it\'s \\"x\\"'),
        ("{{$.unheard_of}} {{ other }} {{$x}}", "{{$.unheard_of}} {{ other }} {{$x}}"),
    ],
)
def test_placeholders(text: str, expected: str) -> None:
    assert PLACEHOLDERS.replace(text) == expected


def test_the_whole_executor_input() -> None:
    assert json.loads(PLACEHOLDERS.replace("{{$}}")) == EXECUTOR_INPUT


@pytest.mark.parametrize(
    ("struct", "words"),
    [
        ({"Concat": ["--n=", "{{$.inputs.parameters['n']}}"]}, ["--n=3"]),
        ({"IfPresent": {"InputName": "n", "Then": ["--n", "{{$.inputs.parameters['n']}}"]}}, ["--n", "3"]),
        ({"IfPresent": {"InputName": "absent", "Then": "x"}}, []),
        ({"IfPresent": {"InputName": "absent", "Then": "x", "Else": {"Concat": ["a", "b"]}}}, ["ab"]),
        ({"IfPresent": {"InputName": "model", "Then": "there"}}, ["there"]),
        ({"Concat": ["a", {"IfPresent": {"InputName": "n", "Then": "b"}}]}, ["ab"]),
    ],
)
def test_concat_and_if_present(struct: dict[str, Any], words: list[str]) -> None:
    assert PLACEHOLDERS.command_line(["run", json.dumps(struct)]) == ["run", *words]


def test_an_ill_made_struct_placeholder_is_an_error() -> None:
    with pytest.raises(PlaceholderError, match="neither Concat nor IfPresent"):
        PLACEHOLDERS.command_line(['{"Concat": [{"Unknown": 1}]}'])


def test_json_that_only_looks_alike_stays() -> None:
    assert PLACEHOLDERS.command_line(['{"Concat": ["a"', '{"a": "Concat"}']) == [
        '{"Concat": ["a"',
        '{"a": "Concat"}',
    ]


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        (
            {"image": "some/image", "command": ["no-such-program", "x"]},
            "The program no-such-program is not on this",
        ),
        ({"image": "some/image"}, "The component names no command: only its image knows what to run."),
    ],
)
async def test_what_cannot_run_here_fails_at_once_and_says_so(
    driver: Driver, container: dict[str, Any], sentence: str
) -> None:
    made = pipeline(
        [task("away", "away")], {"away": component(executorLabel="away")}, {"away": {"container": container}}
    )
    outcome = await driver.execute(made)
    assert outcome.state is RuntimeState.FAILED
    assert sentence in str(outcome.message)
    assert "not in the image some/image" in driver.log("away")
    assert "--runner docker" in driver.log("away")


async def test_a_command_line_longer_than_the_system_takes_fails_in_a_sentence(driver: Driver) -> None:
    made = pipeline(
        [task("long", "long")],
        {"long": component(executorLabel="long")},
        {"long": sh("true", "x" * 3_000_000)},
    )
    outcome = await driver.execute(made)
    assert "could not be started: Argument list too long" in str(outcome.message)


async def test_the_environment_of_a_component(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFBRIDGE_API_TOKEN", "secret")
    monkeypatch.setenv("INHERITED", "yes")
    show = component(outputs=parameters(Output="str"), executorLabel="show")
    script = 'printf "%s" "$MINE|$INHERITED|$KFBRIDGE_API_TOKEN|$KFP_POD_NAME" > "$0"'
    env = [{"name": "MINE", "value": "{{$.pipeline_task_name}}"}]
    executor = sh(script, "{{$.outputs.parameters['Output'].output_file}}", env=env)
    await driver.execute(pipeline([task("show", "show")], {"show": show}, {"show": executor}))
    (pod_name,) = driver.recorder.pods()
    assert driver.recorder.result("show").parameters == {"Output": f"show|yes||{pod_name}"}
    assert os.environ["KFBRIDGE_API_TOKEN"] == "secret"


async def test_what_a_component_leaves_in_temporary_folders_belongs_to_the_run(driver: Driver) -> None:
    show = component(outputs=parameters(Output="str"), executorLabel="show")
    executor = sh('printf "%s" "$(mktemp -d)" > "$0"', "{{$.outputs.parameters['Output'].output_file}}")
    await driver.execute(pipeline([task("show", "show")], {"show": show}, {"show": executor}))
    assert driver.recorder.result("show").parameters["Output"].startswith(str(driver.folder / "runs"))
