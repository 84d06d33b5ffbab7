"""The reference that a scheduler keeps: what is in it, and that it is never too large."""

from __future__ import annotations

import json
import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.client.models import GateModel, MetricModel, MetricsModel, RunLinks
from bridge.client.reference import MAX_REFERENCE_BYTES, build_reference
from tests.unit.client.fake_bridge import make_artifact, make_run, make_task, over


def metric(key: str, value: float) -> MetricModel:
    task, _, name = key.rpartition(".")
    return MetricModel(key=key, task_path=task, name=name, value=value)


def test_a_small_run_is_there_completely() -> None:
    gate = GateModel(
        expression="evaluate.auc > 0.5", passed=True, numbers={"evaluate.auc": 0.7}, reason="0.7 > 0.5"
    )
    run = make_run(gate=gate, **over())
    model = make_artifact(run, "train.model", digest="cd" * 32)
    root = make_task("", outputs={"auc": 0.7, "days": ["2013-01-01"]})
    metrics = MetricsModel(scalars=[metric("evaluate.auc", 0.7)])
    assert build_reference(run, [make_task("train", outputs={"x": 1}), root], [model], metrics) == {
        "run_id": str(run.run_id),
        "kfp_run_id": str(run.kfp_run_id),
        "state": "SUCCEEDED",
        "urls": {"bridge": run.links.bridge},
        "outputs": {"auc": 0.7, "days": ["2013-01-01"]},
        "metrics": {"evaluate.auc": 0.7},
        "gate": {
            "expression": "evaluate.auc > 0.5",
            "passed": True,
            "numbers": {"evaluate.auc": 0.7},
            "reason": "0.7 > 0.5",
            "last_good_run": None,
        },
        "artifacts": {
            "train.model": {
                "id": str(model.artifact_id),
                "type": "system.Model",
                "uri": model.uri,
                "digest": "cd" * 32,
                "ref": f"bridge://artifacts/{model.artifact_id}",
            }
        },
    }


def test_what_was_only_read_is_not_the_runs_own() -> None:
    run = make_run()
    data = make_artifact(run, "prepare.data", "system.Dataset")
    other = make_artifact(make_run("other"), "train.model")
    data.uses[0].direction = "INPUT"
    assert build_reference(run, artifacts=[data, other])["artifacts"] == {}


def test_several_artifacts_of_one_output_are_told_apart() -> None:
    run = make_run()
    first, second = (
        make_artifact(run, "split.parts"),
        make_artifact(run, "split.parts", artifact_id=UUID(int=2)),
    )
    second.uses[0].index = 1
    assert list(build_reference(run, artifacts=[first, second])["artifacts"]) == [
        "split.parts",
        "split.parts[1]",
    ]


def test_a_large_run_keeps_its_models_and_counts_the_rest() -> None:
    run = make_run(links=RunLinks(bridge="http://b/" + "x" * 5000, kfp="http://k"))
    data = [make_artifact(run, f"loop[{i}].prepare.data", "system.Dataset") for i in range(500)]
    model = make_artifact(run, "train.model")
    metrics = [metric(f"evaluate.m{i}", i / 7) for i in range(2000)]
    root = make_task("", outputs={"report": "x" * 100_000, "auc": 0.7})
    reference = build_reference(run, [root], [*data, model], metrics)
    assert len(json.dumps(reference)) <= MAX_REFERENCE_BYTES
    assert reference["outputs"] == {"auc": 0.7}
    assert reference["artifacts"]["train.model"]["uri"] == model.uri
    assert len(reference["artifacts"]) > 20
    assert reference["urls"] == {"kfp": "http://k"}
    omitted = reference["omitted"]
    assert omitted["outputs"] == 1
    assert omitted["metrics"] == 2000 - len(reference["metrics"])
    assert omitted["artifacts"] == 501 - len(reference["artifacts"])
    assert omitted["see"] == f"bridge://runs/{run.run_id}"


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [math.nan]}])
def test_what_json_cannot_hold_is_left_out(value: Any) -> None:
    reference = build_reference(make_run(), [make_task("", outputs={"bad": value, "good": 1})])
    assert reference["outputs"] == {"good": 1}
    assert reference["omitted"]["outputs"] == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.dictionaries(st.text(max_size=200), json_values, max_size=12),
    numbers=st.lists(st.floats(), max_size=200),
    uris=st.lists(st.text(max_size=4000), max_size=30),
    reason=st.text(max_size=5000),
)
def test_no_run_makes_it_too_large(
    outputs: dict[str, Any], numbers: list[float], uris: list[str], reason: str
) -> None:
    run = make_run(gate=GateModel(expression="é" * 2000, passed=None, reason=reason))
    artifacts = [
        make_artifact(run, f"t{i}.out", artifact_id=UUID(int=i), uri=uri) for i, uri in enumerate(uris)
    ]
    metrics = [metric(f"t.m{i}", value) for i, value in enumerate(numbers)]
    reference = build_reference(run, [make_task("", outputs=outputs)], artifacts, metrics)
    assert len(json.dumps(reference, allow_nan=False).encode()) <= MAX_REFERENCE_BYTES
