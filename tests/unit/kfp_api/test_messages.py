"""KFP's messages: unset means absent, odd values are read, and every field is the wire's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from bridge.domain.states import RuntimeState
from bridge.kfp_api import messages

SWAGGER = Path(__file__).resolve().parents[4] / "shared" / "kfp-v2beta1.swagger.json"
DEFINITIONS = {
    "v2beta1Run": messages.Run,
    "v2beta1RunDetails": messages.RunDetail,
    "v2beta1PipelineTaskDetail": messages.TaskDetail,
    "v2beta1PipelineTaskExecutorDetail": messages.ExecutorDetail,
    "PipelineTaskDetailChildTask": messages.ChildTask,
    "v2beta1RuntimeStatus": messages.RuntimeStatus,
    "v2beta1RuntimeConfig": messages.RuntimeConfig,
    "v2beta1PipelineVersionReference": messages.PipelineVersionReference,
    "v2beta1Experiment": messages.Experiment,
    "v2beta1Pipeline": messages.Pipeline,
    "v2beta1PipelineVersion": messages.PipelineVersion,
    "v2beta1Url": messages.PipelineUrl,
    "v2beta1ListRunsResponse": messages.ListRuns,
    "v2beta1ListExperimentsResponse": messages.ListExperiments,
    "v2beta1ListPipelinesResponse": messages.ListPipelines,
    "v2beta1ListPipelineVersionsResponse": messages.ListPipelineVersions,
    "googleRpcStatus": messages.Status,
}
# What plugins of the server say of a run; the bridge hands it on unread.
NOT_READ = {"plugins_input", "plugins_output"}


@pytest.mark.skipif(not SWAGGER.exists(), reason="KFP's swagger file does not lie beside the checkout")
@pytest.mark.parametrize("name", DEFINITIONS)
def test_fields_are_those_of_the_swagger(name: str) -> None:
    definitions = json.loads(SWAGGER.read_text(encoding="utf-8"))["definitions"]
    properties = set(definitions[name]["properties"])
    assert set(DEFINITIONS[name].model_fields) == properties - NOT_READ


@pytest.mark.skipif(not SWAGGER.exists(), reason="KFP's swagger file does not lie beside the checkout")
def test_states_are_those_of_the_swagger() -> None:
    definitions = json.loads(SWAGGER.read_text(encoding="utf-8"))["definitions"]
    assert set(definitions["v2beta1RuntimeState"]["enum"]) == set(RuntimeState) - {RuntimeState.UNKNOWN}


def test_unset_and_empty_fields_are_left_out() -> None:
    run = messages.Run(run_id="r", description="", state_history=[], run_details=messages.RunDetail())
    assert run.to_json() == {"run_id": "r", "run_details": {}}


def test_arguments_keep_what_is_empty_or_null() -> None:
    parameters = {"none": None, "empty": "", "list": [], "object": {}, "no": False, "zero": 0}
    run = messages.Run(runtime_config=messages.RuntimeConfig(parameters=parameters))
    assert run.to_json() == {"runtime_config": {"parameters": parameters}}


def test_times_are_written_as_protobuf_does() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert messages.Run(created_at=moment).to_json() == {"created_at": "2026-01-02T03:04:05Z"}


def test_what_is_read_can_be_written_again() -> None:
    task = {"task_id": "t", "execution_id": "12", "child_tasks": [{"pod_name": "p"}]}
    wire: dict[str, Any] = {
        "run_id": "r",
        "finished_at": "1970-01-01T00:00:00Z",
        "plugins_output": {"x": {"state": "S"}},
        "run_details": {"task_details": [task]},
    }
    assert messages.Run.model_validate(wire).to_json() == wire


def test_null_is_unset() -> None:
    run = messages.Run.model_validate({"run_id": "r", "state_history": None, "run_details": None})
    assert run.state_history == []
    assert run.task_details == ()


def test_int64_is_read_as_text_or_number() -> None:
    assert messages.TaskDetail.model_validate({"execution_id": 12}).execution_id == "12"
    assert messages.TaskDetail.model_validate({"execution_id": "12"}).execution_id == "12"


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("1970-01-01T00:00:00Z", None),
        (None, None),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_an_unfinished_run_has_no_end(text: str | None, ended: datetime | None) -> None:
    assert messages.Run.model_validate({"finished_at": text}).ended_at == ended


@pytest.mark.parametrize(
    ("word", "state"),
    [(None, RuntimeState.UNSPECIFIED), ("FAILED", RuntimeState.FAILED), ("DREAMING", RuntimeState.UNKNOWN)],
)
def test_states_are_parsed(word: str | None, state: RuntimeState) -> None:
    assert messages.Run(state=word).runtime_state is state
    assert messages.TaskDetail(state=word).runtime_state is state


def test_a_row_that_is_no_run_does_not_hide_the_others() -> None:
    rows = [
        {"run_id": "1"},
        {"run_id": {"not": "text"}},
        {"run_id": "2", "state": 7},
        "text",
        {"run_id": "4", "created_at": "0001-01-01T00:00:00+14:00"},
        {"run_id": "3"},
    ]
    page = messages.ListRuns.model_validate({"runs": rows, "next_page_token": "t"})
    assert [run.run_id for run in page.runs] == ["1", "3"]
    assert page.next_page_token == "t"
    assert [row.name for row in page.broken if len(row.name) < 64] == ["2", "4"]
    assert len({row.name for row in page.broken}) == 4
    assert all(row.error for row in page.broken)
    assert "broken" not in page.to_json()
    with pytest.raises(ValidationError):
        messages.ListRuns.model_validate({"runs": "none"})


def test_every_message_is_documented() -> None:
    kinds = [one for one in vars(messages).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    assert all(kind.__doc__ for kind in kinds if kind.__module__ == messages.__name__)
