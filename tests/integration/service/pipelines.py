"""Pipelines of shell components, which the local backend runs in a moment."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.handmade import (
    artifact_from_task,
    artifacts,
    component,
    document,
    from_input,
    parameters,
    sh,
    task,
)

_TRAIN = """
mkdir -p "$(dirname "$0")" && echo "a model of $1 epochs" > "$0" && echo trained
"""
_EVALUATE = """
mkdir -p "$(dirname "$0")"
cat > "$0" <<END
{"artifacts": {"metrics": {"artifacts": [{"name": "m", "uri": "$1", "metadata": {"auc": 0.8, "rows": 842}}]}}}
END
"""
_FAIL = "echo reading; echo 'ValueError: no flights on that day' >&2; exit 3"


def trains() -> str:
    """``train`` makes a model, ``evaluate`` reads it and makes metrics ``auc`` and ``rows``."""
    tasks = {
        "train": task("train", "comp-train", parameters={"epochs": from_input("epochs")}),
        "evaluate": task(
            "evaluate", "comp-evaluate", "train", artifacts={"model": artifact_from_task("train", "model")}
        ),
    }
    components = {
        "comp-train": component(
            inputs=parameters(epochs="int"),
            output_artifacts=artifacts(model="Model"),
            executorLabel="exec-train",
        ),
        "comp-evaluate": component(
            input_artifacts=artifacts(model="Model"),
            output_artifacts=artifacts(metrics="Metrics"),
            executorLabel="exec-evaluate",
        ),
    }
    executors = {
        "exec-train": sh(
            _TRAIN, "{{$.outputs.artifacts['model'].path}}", "{{$.inputs.parameters['epochs']}}"
        ),
        "exec-evaluate": sh(_EVALUATE, "{{$.outputs.output_file}}", "{{$.outputs.artifacts['metrics'].uri}}"),
    }
    inputs = parameters(epochs="int", flights="list?")
    return json.dumps(document(tasks, components, executors, name="trains", inputs=inputs))


def fails() -> str:
    """``good`` succeeds, ``load`` fails with a message on its last line."""
    tasks = {"good": task("good", "comp-good"), "load": task("load", "comp-load", "good")}
    components = {
        "comp-good": component(executorLabel="exec-good"),
        "comp-load": component(executorLabel="exec-load"),
    }
    executors = {"exec-good": sh("echo fine"), "exec-load": sh(_FAIL)}
    return json.dumps(document(tasks, components, executors, name="fails"))


def sleeps(seconds: int = 60) -> str:
    """``wait`` runs for so long."""
    return json.dumps(
        document(
            {"wait": task("wait", "comp-wait")},
            {"comp-wait": component(executorLabel="exec-wait")},
            {"exec-wait": sh(f"exec sleep {seconds}")},
            name="sleeps",
        )
    )


def counts(until: Path) -> str:
    """``count`` writes ``one``, waits for the file, and writes ``two``."""
    return json.dumps(
        document(
            {"count": task("count", "comp-count")},
            {"comp-count": component(executorLabel="exec-count")},
            {"exec-count": sh(f"echo one; while [ ! -e '{until}' ]; do sleep 0.1; done; echo two")},
            name="counts",
        )
    )
