"""What components ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.spec.load import load_pipeline
from bridge.spec.resources import Asked, asked, asked_by_task
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
