"""A pipeline that shows what the pages can show: data, a model, numbers, a curve, a matrix."""

from __future__ import annotations

import json

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

BAD_DAY = "2013-02-30"
_LOAD = f"""
echo "reading flights of $1"
if [ "$1" = {BAD_DAY} ]; then echo "ValueError: no flights on $1" >&2; exit 3; fi
mkdir -p "$(dirname "$0")" && echo "day,flights" > "$0" && echo "$1,842" >> "$0"
"""
_TRAIN = 'mkdir -p "$(dirname "$0")" && echo "a model of delays" > "$0" && echo trained'
_POINTS = [(0.0, 0.0), (0.05, 0.42), (0.1, 0.58), (0.2, 0.74), (0.35, 0.86), (0.6, 0.95), (1.0, 1.0)]
_CURVE = [
    {"confidenceThreshold": round(1 - false, 2), "falsePositiveRate": false, "recall": recall}
    for false, recall in _POINTS
]
_MATRIX = {
    "annotationSpecs": [{"displayName": "on time"}, {"displayName": "late"}],
    "rows": [{"row": [612, 64]}, {"row": [58, 108]}],
}
_EVALUATE = """
mkdir -p "$(dirname "$0")"
cat > "$0" <<'END'
{"artifacts": {
  "metrics": {"artifacts": [{"name": "m", "uri": "METRICS", "metadata": SCALARS}]},
  "curves": {"artifacts": [{"name": "c", "uri": "CURVES", "metadata": FOUND}]}}}
END
""".replace("SCALARS", '{"accuracy": 0.8551, "auc": 0.8347}').replace(
    "FOUND", json.dumps({"confidenceMetrics": _CURVE, "confusionMatrix": _MATRIX})
)


def judges() -> str:
    """``load`` (fails on ``BAD_DAY``), ``train``, and ``evaluate`` with numbers, a curve and a matrix."""
    tasks = {
        "load": task("load", "comp-load", parameters={"day": from_input("day")}),
        "train": task(
            "train", "comp-train", "load", artifacts={"flights": artifact_from_task("load", "flights")}
        ),
        "evaluate": task(
            "evaluate", "comp-evaluate", "train", artifacts={"model": artifact_from_task("train", "model")}
        ),
    }
    components = {
        "comp-load": component(
            inputs=parameters(day="str"),
            output_artifacts=artifacts(flights="Dataset"),
            executorLabel="exec-load",
        ),
        "comp-train": component(
            input_artifacts=artifacts(flights="Dataset"),
            output_artifacts=artifacts(model="Model"),
            executorLabel="exec-train",
        ),
        "comp-evaluate": component(
            input_artifacts=artifacts(model="Model"),
            output_artifacts=artifacts(metrics="Metrics", curves="ClassificationMetrics"),
            executorLabel="exec-evaluate",
        ),
    }
    executors = {
        "exec-load": sh(_LOAD, "{{$.outputs.artifacts['flights'].path}}", "{{$.inputs.parameters['day']}}"),
        "exec-train": sh(_TRAIN, "{{$.outputs.artifacts['model'].path}}"),
        "exec-evaluate": sh(_EVALUATE, "{{$.outputs.output_file}}"),
    }
    inputs = parameters(day="str")
    return json.dumps(document(tasks, components, executors, name="delays", inputs=inputs))
