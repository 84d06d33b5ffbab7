"""Rows as KFP's JSON shows them: snake_case, unset fields left out, times in RFC 3339."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local.clock import NEVER, rfc3339
from bridge.local.status import Code
from bridge.local.store_listing import Page


def run_json(run: sqlite3.Row, inline_spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """v2beta1.Run without its task details, which ``with_task_details`` adds."""
    reference = {"pipeline_id": run["pipeline_id"], "pipeline_version_id": run["pipeline_version_id"]}
    answer = {
        "experiment_id": run["experiment_id"],
        "run_id": run["run_id"],
        "display_name": run["display_name"],
        "storage_state": run["storage_state"],
        "description": run["description"],
        "pipeline_spec": inline_spec,
        "pipeline_version_reference": None if run["inline_spec"] else _set(reference),
        "runtime_config": _set(
            {"parameters": json.loads(run["parameters"]), "pipeline_root": run["pipeline_root"]}
        ),
        "service_account": run["service_account"],
        "created_at": rfc3339(run["created_at"]),
        "scheduled_at": rfc3339(run["scheduled_at"]),
        # Set even while there is no end: KFP writes its zero time then.
        "finished_at": rfc3339(run["finished_at"]) if run["finished_at"] else NEVER,
        "state": run["state"],
        "error": _error(run["error"]),
        "recurring_run_id": run["recurring_run_id"],
        "state_history": json.loads(run["state_history"]),
        "run_details": {
            # 64-bit integers are text in protojson.
            "pipeline_context_id": str(run["pipeline_context_id"]),
            "pipeline_run_context_id": str(run["run_context_id"]),
        },
    }
    return _set(answer)


def with_task_details(run: dict[str, Any], tasks: Sequence[sqlite3.Row]) -> dict[str, Any]:
    """The run with its tasks, as one run asked for by its id is shown."""
    if not tasks:
        return run
    children = defaultdict(list)
    for task in tasks:
        if task["parent_task_id"]:
            children[task["parent_task_id"]].append(
                _set({"task_id": task["task_id"], "pod_name": task["pod_name"]})
            )
    details = [_task_json(task, children[task["task_id"]]) for task in tasks]
    return {**run, "run_details": {**run["run_details"], "task_details": details}}


def _task_json(task: sqlite3.Row, children: list[dict[str, Any]]) -> dict[str, Any]:
    if task["pod_name"]:
        # A pod's name is only found among the child tasks in KFP: a task's pod is its node's child.
        children = [*children, {"pod_name": task["pod_name"]}]
    failed = task["state"] in (RuntimeState.FAILED, RuntimeState.CANCELED)
    return _set(
        {
            "run_id": task["run_id"],
            "task_id": task["task_id"],
            "display_name": task["name"] or "root",
            "create_time": rfc3339(task["created_at"]),
            "start_time": _time(task["started_at"]),
            "end_time": _time(task["finished_at"]),
            "state": task["state"],
            "execution_id": str(task["execution_id"]),
            "error": _error(task["message"] if failed else None),
            "parent_task_id": task["parent_task_id"],
            "state_history": json.loads(task["state_history"]),
            "pod_name": task["pod_name"],
            "child_tasks": children,
        }
    )


def recurring_run_json(row: sqlite3.Row, inline_spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """v2beta1.RecurringRun"""
    reference = {"pipeline_id": row["pipeline_id"], "pipeline_version_id": row["pipeline_version_id"]}
    return _set(
        {
            "recurring_run_id": row["recurring_run_id"],
            "display_name": row["display_name"],
            "description": row["description"],
            "pipeline_spec": inline_spec,
            "pipeline_version_reference": _set(reference),
            "runtime_config": _set(
                {"parameters": json.loads(row["parameters"]), "pipeline_root": row["pipeline_root"]}
            ),
            "service_account": row["service_account"],
            # 64-bit integers are text in protojson.
            "max_concurrency": str(row["max_concurrency"]),
            "trigger": _trigger_json(row),
            "mode": "ENABLE" if row["enabled"] else "DISABLE",
            "created_at": rfc3339(row["created_at"]),
            "updated_at": rfc3339(row["updated_at"]),
            "status": "ENABLED" if row["enabled"] else "DISABLED",
            "error": _error(row["problem"]),
            "no_catchup": bool(row["no_catchup"]),
            "namespace": row["namespace"],
            "experiment_id": row["experiment_id"],
        }
    )


def _trigger_json(row: sqlite3.Row) -> dict[str, Any]:
    span = {"start_time": _time(row["starts_at"]), "end_time": _time(row["ends_at"])}
    if row["cron"]:
        return {"cron_schedule": _set({**span, "cron": row["cron"]})}
    if row["interval_seconds"]:
        return {"periodic_schedule": _set({**span, "interval_second": str(row["interval_seconds"])})}
    return {}


def experiment_json(row: sqlite3.Row) -> dict[str, Any]:
    """v2beta1.Experiment"""
    return _set(
        {
            "experiment_id": row["experiment_id"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": rfc3339(row["created_at"]),
            "namespace": row["namespace"],
            "storage_state": row["storage_state"],
            "last_run_created_at": rfc3339(row["last_run_created_at"]),
        }
    )


def pipeline_json(row: sqlite3.Row) -> dict[str, Any]:
    """v2beta1.Pipeline"""
    return _set(
        {
            "pipeline_id": row["pipeline_id"],
            "name": row["name"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": rfc3339(row["created_at"]),
            "namespace": row["namespace"],
            "tags": json.loads(row["tags"]),
        }
    )


def version_json(row: sqlite3.Row, spec: Mapping[str, Any]) -> dict[str, Any]:
    """v2beta1.PipelineVersion"""
    return _set(
        {
            "pipeline_id": row["pipeline_id"],
            "pipeline_version_id": row["pipeline_version_id"],
            "name": row["name"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": rfc3339(row["created_at"]),
            "code_source_url": row["code_source_url"],
            "pipeline_spec": spec,
            "tags": json.loads(row["tags"]),
        }
    )


def list_json(name: str, items: list[dict[str, Any]], page: Page) -> dict[str, Any]:
    """A List…Response: items, total and token, each left out when empty, as protojson does."""
    return _set({name: items, "total_size": page.total_size, "next_page_token": page.next_page_token})


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {}, 0)}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _error(message: str | None) -> dict[str, Any] | None:
    return {"code": int(Code.INTERNAL), "message": message} if message else None
