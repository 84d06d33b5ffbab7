"""A pipeline with a past: runs of a model's training over several nights, from files that Airflow loaded.

The numbers follow from the parameters, so a regression is where it was put.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx

from tests.integration.service.calls import submit, wait_until
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

PIPELINE = "delay-train"
OWNER = "flight-data"
RUNBOOK = "https://runbooks.example.com/delay-train"
# The area under the curve is 1 / (1 + smoothing): 0.80 and about, once 0.56, and one night without a number.
_NIGHTS: tuple[float | None, ...] = (0.25, 0.24, 0.26, 0.25, 0.8, None, 0.23)
BAD_NIGHT, FAILED_NIGHT = 4, 5

_PREPARE = 'test "$1" != "" && echo "$1 rows" > /dev/null; mkdir -p "$(dirname "$0")" && echo features > "$0"'
# A night of more epochs takes a second longer: backends tell whole seconds.
_TRAIN = 'test "$1" -gt 3 && sleep 1; mkdir -p "$(dirname "$0")" && echo "a model of $1 epochs" > "$0"'
_EVALUATE = """
case "$3" in -*) echo 'ValueError: smoothing is negative' >&2; exit 3;; esac
mkdir -p "$(dirname "$0")"
awk -v s="$3" -v metrics="$1" -v curve="$2" 'BEGIN {
  named = "{\\"artifacts\\": [{\\"name\\": \\"x\\", \\"uri\\": \\"%s\\", \\"metadata\\": "
  printf "{\\"artifacts\\": {\\"metrics\\": " named, metrics
  printf "{\\"auc\\": %.4f, \\"loss\\": %.4f}}]}, ", 1 / (1 + s), s / 2
  printf "\\"curve\\": " named "{\\"confidenceMetrics\\": [", curve
  for (i = 0; i <= 20; i++) {
    printf "%s{\\"confidenceThreshold\\": %.2f, ", (i ? ", " : ""), 1 - i / 20
    printf "\\"falsePositiveRate\\": %.3f, \\"recall\\": %.4f}", i / 20, (i ? (i / 20) ^ s : 0)
  }
  printf "], \\"confusionMatrix\\": {"
  printf "\\"annotationSpecs\\": [{\\"displayName\\": \\"on time\\"}, {\\"displayName\\": \\"late\\"}], "
  printf "\\"rows\\": [{\\"row\\": [%d, 31]}, {\\"row\\": [44, %d]}]}}}]}}}", 500 - 100 * s, 240 - 80 * s
}' > "$0"
"""


def make_history(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Submit the nights, the oldest first, and wait for them: ``night0``, ``night1`` …"""
    client.post(
        "/api/v1/lineage", json=[_load_event(night) for night in range(len(_NIGHTS))]
    ).raise_for_status()
    accepted = [_submit(client, night, smoothing) for night, smoothing in enumerate(_NIGHTS)]
    states = ["FAILED" if smoothing is None else "SUCCEEDED" for smoothing in _NIGHTS]
    return {
        f"night{night}": wait_until(client, run, over=True, state=state)
        for night, (run, state) in enumerate(zip(accepted, states, strict=True))
    }


def _submit(client: httpx.Client, night: int, smoothing: float | None) -> dict[str, Any]:
    return submit(
        client,
        _pipeline(packages="2.1" if night < BAD_NIGHT else "2.2"),
        display_name=f"delays of 2013-01-{night + 3:02}",
        arguments={
            "epochs": 3 if night < BAD_NIGHT else 5,
            "smoothing": -1.0 if smoothing is None else smoothing,
        },
        inputs=[partition(day) for day in range(max(0, night - 2), night + 1)],
        labels={"owner": OWNER, "runbook": RUNBOOK},
        origin=_origin(night, "delay_model_retraining", "train"),
    )


def partition(day: int) -> dict[str, Any]:
    """A day of flights, as the submission names it."""
    return {
        "name": "flights",
        "uri": _uri(day),
        "version": _digest(day),
        "version_kind": "sha256",
        "rows": 842 + day,
        "producer": _origin(day, "flights_etl", "load_day"),
    }


def _digest(day: int) -> str:
    return sha256(f"flights of day {day}".encode()).hexdigest()


def _uri(day: int) -> str:
    return f"file:///data/flights/year=2013/month=01/day={day + 1:02}/flights.parquet"


def _origin(day: int, dag_id: str, task_id: str) -> dict[str, Any]:
    return {
        "scheduler": "airflow",
        "dag_id": dag_id,
        "dag_run_id": f"scheduled__2013-01-{day + 1:02}T02:00:00+00:00",
        "dag_run_start": f"2013-01-{day + 1:02}T02:00:01Z",
        "task_id": task_id,
    }


def _load_event(day: int) -> dict[str, Any]:
    """What Airflow's OpenLineage provider tells when the day's file is written."""
    run_id = f"scheduled__2013-01-{day + 1:02}T02:00:00+00:00"
    airflow = {
        "dag": {"dag_id": "flights_etl"},
        "dagRun": {"run_id": run_id, "start_date": f"2013-01-{day + 1:02}T02:00:01Z"},
        "task": {"task_id": "load_day"},
        "taskInstance": {"try_number": 1, "map_index": -1},
    }
    written = {
        "namespace": "file",
        "name": _uri(day).removeprefix("file://"),
        "facets": {"version": {"datasetVersion": _digest(day)}},
        "outputFacets": {"outputStatistics": {"rowCount": 842 + day, "size": 12345}},
    }
    return {
        "eventType": "COMPLETE",
        "eventTime": f"2013-01-{day + 1:02}T02:01:00Z",
        "producer": "https://github.com/apache/airflow/tree/providers-openlineage/2.20.0",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid5(NAMESPACE_URL, run_id)), "facets": {"airflow": airflow}},
        "job": {
            "namespace": "default",
            "name": "flights_etl.load_day",
            "facets": {"jobType": {"jobType": "TASK", "processingType": "BATCH"}},
        },
        "inputs": [{"namespace": "https://example.org", "name": "flights.csv"}],
        "outputs": [written],
    }


def _pipeline(*, packages: str) -> str:
    """``prepare`` → ``train`` → ``evaluate``; the version of a package it installs is another pipeline."""
    tasks = {
        "prepare": task("prepare", "comp-prepare", parameters={"epochs": from_input("epochs")}),
        "train": task(
            *("train", "comp-train", "prepare"),
            parameters={"epochs": from_input("epochs")},
            artifacts={"features": artifact_from_task("prepare", "features")},
        ),
        "evaluate": task(
            *("evaluate", "comp-evaluate", "train"),
            parameters={"smoothing": from_input("smoothing")},
            artifacts={"model": artifact_from_task("train", "model")},
        ),
    }
    components = {
        "comp-prepare": component(
            inputs=parameters(epochs="int"),
            output_artifacts=artifacts(features="Dataset"),
            executorLabel="exec-prepare",
        ),
        "comp-train": component(
            inputs=parameters(epochs="int"),
            input_artifacts=artifacts(features="Dataset"),
            output_artifacts=artifacts(model="Model"),
            executorLabel="exec-train",
        ),
        "comp-evaluate": component(
            inputs=parameters(smoothing="float"),
            input_artifacts=artifacts(model="Model"),
            output_artifacts=artifacts(metrics="Metrics", curve="ClassificationMetrics"),
            executorLabel="exec-evaluate",
        ),
    }
    epochs = "{{$.inputs.parameters['epochs']}}"
    executors = {
        "exec-prepare": sh(_PREPARE, "{{$.outputs.artifacts['features'].path}}", epochs),
        "exec-train": sh(
            f"# python -m pip install 'pandas=={packages}'\n{_TRAIN}",
            *("{{$.outputs.artifacts['model'].path}}", epochs),
        ),
        "exec-evaluate": sh(
            _EVALUATE,
            "{{$.outputs.output_file}}",
            "{{$.outputs.artifacts['metrics'].uri}}",
            "{{$.outputs.artifacts['curve'].uri}}",
            "{{$.inputs.parameters['smoothing']}}",
        ),
    }
    inputs = parameters(epochs="int", smoothing="float", flights="list?")
    return json.dumps(document(tasks, components, executors, name=PIPELINE, inputs=inputs))
