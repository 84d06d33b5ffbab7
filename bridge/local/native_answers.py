"""Rows of the native views as KFP's JSON shows them: PipelineTask, Artifact and ArtifactTask."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.local.clock import rfc3339
from bridge.local.native_sources import FROM_PARENT, Source, Sources, sources_of_run
from bridge.local.store_mlmd import EventType
from bridge.local.store_native import LEAVES, children_of, count_tasks, links_of, pods_of, tasks_of

_ITERATION = re.compile(r"\[\d+\]")
_STATES = {"SUCCEEDED": "SUCCEEDED", "FAILED": "FAILED", "CANCELED": "FAILED", "SKIPPED": "SKIPPED"}
_OUTPUTS = frozenset({"OUTPUT", "ITERATOR_OUTPUT", "ONE_OF_OUTPUT", "TASK_FINAL_STATUS_OUTPUT"})

Link = tuple[sqlite3.Row, sqlite3.Row]


def tasks_json(
    connection: sqlite3.Connection, run_id: str, rows: Sequence[sqlite3.Row]
) -> list[dict[str, Any]]:
    """v2beta1.PipelineTask of each row, all of one run, with their artifacts, pods and children."""
    task_ids = [row["task_id"] for row in rows]
    links: dict[str, list[Link]] = {}
    for link, artifact in links_of(connection, run_id, rows):
        links.setdefault(link["task_id"], []).append((link, artifact))
    pods = pods_of(connection, task_ids)
    children = children_of(connection, task_ids)
    sources = sources_of_run(connection, run_id)
    return [
        _task_json(
            row,
            _sent(row) if row["body"] is not None else _recorded(row, pods.get(row["task_id"], []), sources),
            links.get(row["task_id"], []),
            children.get(row["task_id"], []),
        )
        for row in rows
    ]


def with_native_tasks(connection: sqlite3.Connection, run: dict[str, Any], *, full: bool) -> dict[str, Any]:
    """A run as the native shape shows it: without the ids of MLMD, its tasks counted or (``full``) told."""
    run_id = run["run_id"]
    shown = {name: value for name, value in run.items() if name != "run_details"}
    if not full:
        return {**shown, **_set({"task_count": count_tasks(connection, run_id) or None})}
    rows = tasks_of(connection, run_id)
    return {**shown, **_set({"task_count": len(rows) or None, "tasks": tasks_json(connection, run_id, rows)})}


def artifact_json(row: sqlite3.Row) -> dict[str, Any]:
    """v2beta1.Artifact"""
    return _set(
        {
            "artifact_id": row["artifact_id"],
            "name": row["name"],
            "description": row["description"],
            "type": row["type"],
            "uri": row["uri"],
            "metadata": _finite(json.loads(row["metadata"])),
            "number_value": row["number_value"],
            "created_at": rfc3339(row["created_at"]),
            "namespace": row["namespace"],
        }
    )


def link_json(row: sqlite3.Row) -> dict[str, Any]:
    """v2beta1.ArtifactTask"""
    return _set(
        {
            "id": row["id"],
            "artifact_id": row["artifact_id"],
            "run_id": row["run_id"],
            "task_id": row["task_id"],
            "type": row["type"],
            "producer": _producer(row),
            "key": row["key"],
        }
    )


def _task_json(
    row: sqlite3.Row, own: dict[str, Any], links: Sequence[Link], children: Iterable[sqlite3.Row]
) -> dict[str, Any]:
    inputs, outputs = own.pop("inputs"), own.pop("outputs")
    return _set(
        {
            **own,
            "task_id": row["task_id"],
            "run_id": row["run_id"],
            "child_tasks": [{"task_id": child["task_id"], "name": child["name"]} for child in children],
            "inputs": _set({"parameters": inputs, "artifacts": _io_artifacts(links, given=False)}),
            "outputs": _set({"parameters": outputs, "artifacts": _io_artifacts(links, given=True)}),
        }
    )


def _sent(row: sqlite3.Row) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(row["body"])
    body.setdefault("create_time", rfc3339(row["create_time"]))
    for side in ("inputs", "outputs"):
        body[side] = (body.get(side) or {}).get("parameters", [])
    return body


def _recorded(row: sqlite3.Row, pods: Sequence[str], sources: Sources) -> dict[str, Any]:
    properties = json.loads(row["properties"])
    failed = row["state"] == "FAILED"
    return {
        "name": row["name"],
        "display_name": row["display_name"],
        "pods": [{"name": name, "type": "EXECUTOR"} for name in _in_turn(pods, row["pod_name"])],
        "cache_fingerprint": row["cache_fingerprint"],
        "create_time": rfc3339(row["create_time"]),
        "end_time": rfc3339(row["end_time"]) if row["end_time"] else None,
        "state": row["state"],
        "status_metadata": {"message": row["message"]} if failed and row["message"] else None,
        "state_history": _history(row),
        "type": row["type"],
        "type_attributes": _set(
            {
                # 64-bit integers are text in protojson, and one that is set may be 0.
                "iteration_index": _text(row["iteration_index"]),
                "iteration_count": _text(row["iteration_count"]),
            }
        ),
        "parent_task_id": row["parent_task_id"],
        "inputs": _inputs(properties.get("inputs", {}), sources.of(row["path"])),
        "outputs": _outputs(row, properties.get("outputs", {})),
        "scope_path": ".".join(["root", *_ITERATION.sub("", row["path"]).split(".")]).rstrip("."),
    }


def _inputs(values: Mapping[str, Any], sources: Mapping[str, Source]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key, value in values.items():
        kind, giver = sources.get(key, FROM_PARENT)
        producer = {} if giver is None else {"producer": {"task_name": giver}}
        found.append({"value": _finite(value), "type": kind, "parameter_key": key, **producer})
    return found


def _outputs(row: sqlite3.Row, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key, value in values.items():
        if row["type"] == "LOOP" and isinstance(value, list):
            # A loop gathers what its iterations give.
            found.extend(_output(row, key, one, iteration) for iteration, one in enumerate(value))
        else:
            found.append(_output(row, key, value, row["iteration_index"] if row["type"] in LEAVES else None))
    return found


def _output(row: sqlite3.Row, key: str, value: Any, iteration: int | None) -> dict[str, Any]:
    return {
        "value": _finite(value),
        "type": "OUTPUT" if iteration is None else "ITERATOR_OUTPUT",
        "parameter_key": key,
        "producer": _set({"task_name": row["name"], "iteration": _text(iteration)}),
    }


def _io_artifacts(links: Sequence[Link], *, given: bool) -> list[dict[str, Any]]:
    """The artifacts of one side, gathered by key, type and producer; iterations stay apart."""
    grouped: dict[str, dict[str, Any]] = {}
    for link, artifact in links:
        if (link["type"] in _OUTPUTS) is not given:
            continue
        producer = _producer(link)
        told = _set({"type": link["type"], "artifact_key": link["key"], "producer": producer})
        group = grouped.setdefault(json.dumps(told), {"artifacts": [], **told})
        group["artifacts"].append(artifact_json(artifact))
    return list(grouped.values())


def _producer(link: sqlite3.Row) -> dict[str, Any]:
    if link["producer_task"] is not None:
        return _set({"task_name": link["producer_task"], "iteration": _text(link["iteration"])})
    # A leaf's output is its own; all else comes from the child of a scope in which it was made.
    own = link["direction"] == EventType.OUTPUT or link["maker"] is None
    name = link["name"] if own else _below(link["maker"], link["scope"])
    iteration = link["iteration"] if link["type"] == "ITERATOR_OUTPUT" else None
    return _set({"task_name": name, "iteration": _text(iteration)})


def _below(maker: str, scope: str | None) -> str:
    """The child of ``scope`` in which an artifact was made, or its maker if that is elsewhere."""
    if scope is not None and (not scope or maker.startswith(f"{scope}.")):
        first = (maker.removeprefix(f"{scope}.") if scope else maker).split(".", 1)[0]
    else:
        first = maker.rpartition(".")[2]
    return _ITERATION.sub("", first)


def _history(row: sqlite3.Row) -> list[dict[str, Any]]:
    steps = []
    for step in json.loads(row["state_history"]):
        if step["state"] in ("RUNNING", *_STATES):
            steps.append({**step, "state": _STATES.get(step["state"], "RUNNING")})
    if steps and row["state"] == "CACHED":
        steps[-1]["state"] = "CACHED"
    return steps


def _in_turn(pods: Sequence[str], current: str | None) -> list[str]:
    return [*(name for name in pods if name != current), *([current] if current else [])]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}
