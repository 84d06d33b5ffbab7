"""What components ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.spec.load import load_pipeline
from bridge.spec.resources import Asked, amount, asked, asked_by_task, byte_count, quantity
from tests.support import handmade

_GIB = 1024**3


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, Asked()),
        ({"cpuLimit": 2.0}, Asked(cpu=2.0)),
        ({"resourceCpuLimit": "4", "resourceCpuRequest": "500m"}, Asked(cpu=0.5)),
        ({"resourceMemoryLimit": "2Gi"}, Asked(memory_gib=2.0)),
        ({"memoryLimit": 1.073741824}, Asked(memory_gib=1.0)),
        (
            {"accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"}},
            Asked(accelerator="nvidia.com/gpu", accelerators=2.0),
        ),
        (
            {"accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"}},
            Asked(accelerator="NVIDIA_TESLA_T4", accelerators=1.0),
        ),
        ({"accelerator": {"type": "x", "count": "0"}}, Asked()),
    ],
)
def test_a_request_counts_before_a_limit(resources: dict[str, Any], expected: Asked) -> None:
    assert asked(resources) == expected


def test_a_task_is_found_by_its_path_in_loops_and_inner_pipelines() -> None:
    train = handmade.sh("true", resources={"cpuLimit": 2})
    late = handmade.sh("true", resources={"resourceCpuLimit": "{{$.inputs.parameters['cpus']}}"})
    leaf = handmade.component(executorLabel="exec-train")
    inner = handmade.component(dag={"tasks": {"train": handmade.task("train", "comp-train")}})
    tasks = {"loop": handmade.task("loop", "comp-loop"), "late": handmade.task("late", "comp-late")}
    components = {
        "comp-train": leaf,
        "comp-loop": inner,
        "comp-late": handmade.component(executorLabel="exec-late"),
    }
    document = handmade.document(tasks, components, {"exec-train": train, "exec-late": late})
    pipeline = load_pipeline(json.dumps(document))
    assert asked_by_task(pipeline, "loop[3].train") == Asked(cpu=2.0)
    for path in ("loop", "late", "nobody", "loop.nobody", "train", "late.train"):
        assert asked_by_task(pipeline, path) is None


@pytest.mark.parametrize("said", ["1e999", "1e308Ei"])
def test_more_than_any_number_is_no_quantity(said: str) -> None:
    with pytest.raises(ValueError, match="more than any machine has"):
        quantity(said)
    with pytest.raises(ValueError, match="more than any machine has"):
        byte_count({"memory": said}, "memory", "number")


def test_a_number_without_end_is_refused() -> None:
    for number in (float("inf"), float("nan"), 1e300 * 1e10):
        with pytest.raises(ValueError, match="more than any machine has"):
            amount({"number": number}, "text", "number")
        with pytest.raises(ValueError, match="more than any machine has"):
            byte_count({"number": number}, "text", "number")


@pytest.mark.parametrize(
    "resources",
    [
        {"resourceMemoryLimit": "1e999"},
        {"memoryLimit": float("inf")},
        {"cpuLimit": 10**400},
        {"cpuLimit": [2]},
        {"accelerator": "a GPU"},
        {"accelerator": ["a GPU"]},
    ],
)
def test_what_makes_no_sense_is_not_known(resources: dict[str, Any]) -> None:
    tasks = {"train": handmade.task("train", "comp-train")}
    components = {"comp-train": handmade.component(executorLabel="exec-train")}
    executors = {"exec-train": handmade.sh("true", resources=resources)}
    pipeline = load_pipeline(json.dumps(handmade.document(tasks, components, executors)))
    assert asked_by_task(pipeline, "train") is None
