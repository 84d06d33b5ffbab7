"""What a run's end, a gate and a refusal mean for the Airflow task, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException
from airflow.sdk.execution_time.context import OutletEventAccessors

from bridge.client.errors import BridgeUnauthorized, BridgeUnreachable, ProblemError
from bridge.client.models import (
    ArtifactModel,
    ArtifactUseModel,
    CauseModel,
    ErrorModel,
    GateModel,
    OriginModel,
    Problem,
    RunModel,
    SubmitRequest,
)
from bridge.provider.compat import AirflowFailException, AirflowSkipException
from bridge.provider.outcome import failure, failure_lines, gate_exception, refusal
from bridge.provider.outlets import run_facts, tell_outlets
from tests.support.fake_bridge import End, FakeBridge, problem
from tests.unit.provider.support import a_context


def a_run(**columns: Any) -> RunModel:
    fake = FakeBridge()
    fake.next_end = End()
    origin = OriginModel(dag_id="d", dag_run_id="r", task_id="t")
    body = SubmitRequest(spec="x", origin=origin).model_dump_json().encode()
    _, answer = fake.answer("POST", "/api/v1/runs", {}, body)
    return RunModel.model_validate(answer).model_copy(update={"over": True, "phase": "ENDED", **columns})


@pytest.mark.parametrize(
    ("columns", "kind", "says"),
    [
        ({"state": "SUCCEEDED"}, None, ""),
        ({"state": "SKIPPED"}, None, ""),
        ({"state": "FAILED"}, AirflowException, "ended FAILED: no reason was given"),
        ({"state": "CANCELED", "cancel_requested_at": "2026-01-01T00:00:00Z"}, AirflowException, "cancelled"),
        ({"state": "FAILED", "phase": "REJECTED"}, AirflowFailException, "refused the run"),
        ({"state": "FAILED", "phase": "LOST"}, AirflowException, "was deleted at the backend"),
        ({"state": "CANCELED", "phase": "ABANDONED"}, AirflowException, "CANCELED"),
        ({"state": "A WORD OF A LATER KFP"}, AirflowException, "A WORD OF A LATER KFP"),
    ],
)
def test_the_end_of_a_run(columns: dict[str, Any], kind: type[Exception] | None, says: str) -> None:
    found = failure(a_run(**columns))
    assert type(found) is (kind or type(None))
    assert says in str(found or "")


def test_a_failure_names_component_cause_and_log() -> None:
    error = ErrorModel(message="exit code 1", task="train", log_tail=["a", "b"])
    run = a_run(state="FAILED", error=error)
    assert "component 'train': exit code 1" in str(failure(run))
    lines = failure_lines(run)
    assert "The component that failed is 'train'." in lines
    assert lines[lines.index("The last 2 lines of its log:") + 1 :][:2] == ["  | a", "  | b"]


def test_the_likeliest_cause_is_the_reason_and_all_are_in_the_log() -> None:
    causes = [
        CauseModel(kind="code", message="ValueError: no rows (train.py:2 in fit)", task="train", weight=70),
        CauseModel(kind="node", message="it was asked to end (signal 15)", weight=30),
    ]
    error = ErrorModel(message="The component ended with exit code 1.", task="train", kind="code")
    run = a_run(state="FAILED", error=error, causes=causes)
    assert str(failure(run)).endswith("component 'train': ValueError: no rows (train.py:2 in fit)")
    lines = failure_lines(run)
    begin = lines.index("Likely causes, the likeliest first:")
    assert lines[begin + 1 : begin + 3] == [
        "  code of 'train': ValueError: no rows (train.py:2 in fit)",
        "  node: it was asked to end (signal 15)",
    ]


@pytest.mark.parametrize(
    ("passed", "action", "kind"),
    [
        (True, "fail", None),
        (False, "fail", AirflowFailException),
        (None, "fail", AirflowFailException),
        (False, "skip", AirflowSkipException),
        (None, "skip", AirflowSkipException),
        (False, "continue", None),
        (None, "continue", None),
    ],
)
def test_a_gate(passed: bool | None, action: Any, kind: type[Exception] | None) -> None:
    gate = GateModel(expression="a.b > 1", passed=passed, reason="because")
    assert type(gate_exception(gate, action)) is (kind or type(None))
    assert gate_exception(None, action) is None


def a_problem(status: int, slug: str, **members: Any) -> ProblemError:
    return ProblemError(Problem.model_validate(problem(status, slug, "said so", **members)[1]))


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            a_problem(422, "invalid-arguments", errors=[{"pointer": "/arguments/x", "detail": "no"}]),
            AirflowFailException,
            "/arguments/x: no",
        ),
        (a_problem(422, "unknown-backend"), AirflowFailException, "unknown-backend"),
        (a_problem(409, "superseded"), AirflowFailException, "superseded"),
        (a_problem(409, "canceling", retryable=True), AirflowException, "said so"),
        (a_problem(500, "internal"), AirflowException, "said so"),
        (a_problem(421, "unknown-host"), AirflowException, "said so"),
        (BridgeUnauthorized("no token"), AirflowException, "password of the Airflow connection"),
        (BridgeUnreachable("away", url="http://b", sent=False), AirflowException, "away"),
    ],
)
def test_a_submission_that_was_not_taken(error: Any, kind: type[Exception], says: str) -> None:
    found = refusal(error)
    assert type(found) is kind
    assert says in str(found)


def a_model(run: RunModel, uri: str) -> ArtifactModel:
    use = ArtifactUseModel(run_id=run.run_id, task_path="train", key="model", direction="OUTPUT")
    return ArtifactModel(
        artifact_id="0a0a0a0a-0000-4000-8000-000000000001", type="system.Model", uri=uri, uses=[use]
    )


@pytest.mark.parametrize(("good", "events"), [(True, 1), (False, 0)])
def test_an_alias_gets_models_of_good_runs_only(good: bool, events: int) -> None:
    run = a_run(state="SUCCEEDED", good=good)
    asset, alias = Asset("model", uri="s3://models/delay"), AssetAlias("models")
    context = a_context()
    context.update(outlets=[asset, alias], outlet_events=OutletEventAccessors())
    tell_outlets(context, run_facts(run, [a_model(run, "s3://models/7"), a_model(run, "s3://é")], []))
    assert context["outlet_events"][asset].extra["good"] is good
    assert context["outlet_events"][asset].extra["models"][0]["key"] == "train.model"
    assert len(context["outlet_events"][alias].asset_alias_events) == events
