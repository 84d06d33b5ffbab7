"""ListRuns of a crowded KFP server: filters, sorting, page tokens, and rows as JSON."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.support.crowded_kfp.rows import TASKS, Row, Rows

EPOCH = "1970-01-01T00:00:00Z"
TASK_NAMES = ("extract", "train", "evaluate", "report", "register")
_MOST_ROWS = 200
_Json = dict[str, Any]


class Refused(Exception):
    """The list cannot be given (400)."""


def list_runs(rows: Rows, query: Mapping[str, str], show: Callable[[Row], _Json]) -> _Json:
    """The answer to ``GET /runs``. Raises ``Refused``."""
    found, frame = chosen_rows(rows, query)
    return {"runs": [show(row) for row in found], **frame}


def chosen_rows(rows: Rows, query: Mapping[str, str]) -> tuple[list[Row], _Json]:
    """The rows of the page, and what an answer says beside them. Raises ``Refused``."""
    namespace = query.get("namespace", "")
    if rows.namespaces and not namespace:
        raise Refused("a namespace is required in multi-user mode")
    predicates = json.loads(query.get("filter") or "{}").get("predicates", [])
    key, _, order = (query.get("sort_by") or "created_at asc").partition(" ")
    found = _candidates(rows, namespace if rows.namespaces else "", predicates, key)
    descending = order == "desc"
    size = min(_MOST_ROWS, int(query.get("page_size") or 20)) or 20
    start = _start(found, query.get("page_token"), f"{key} {order}", descending)
    if descending:
        numbers = found[max(0, start - size) : start][::-1]
        more = start - size > 0
        following = found[start - size - 1] if more else None
    else:
        numbers = found[start : start + size]
        more = start + size < len(found)
        following = found[start + size] if more else None
    frame: _Json = {"total_size": len(found)}
    if following is not None:
        frame["next_page_token"] = _token(f"{key} {order}", following)
    return [rows.all[number] for _, number in numbers], frame


def _candidates(rows: Rows, namespace: str, predicates: Sequence[_Json], key: str) -> list[tuple[Any, int]]:
    """The rows that match, with their sort key, in ascending order."""
    index = rows.index.get(namespace)
    if index is None:
        return []
    rest = []
    places: list[tuple[Any, int]] | None = None
    sorted_by = ""
    for one in predicates:
        if one["key"] == "run_id" and one["operation"] == "IN" and places is None:
            named = (rows.by_id.get(run_id) for run_id in one["string_values"]["values"])
            there = [row for row in named if row is not None and row.namespace == namespace]
            places, sorted_by = sorted((row.created_ms, row.number) for row in there), "created_at"
            continue
        if one["key"] == "finished_at" and places is None:
            moment = _seconds(one["timestamp_value"])
            if one["operation"] == "EQUALS" and moment == 0:
                places, sorted_by = index.open, "created_at"
                continue
            if one["operation"] == "GREATER_THAN_EQUALS" and moment > 0:
                # Stored are whole seconds.
                places, sorted_by = index.ended[bisect_left(index.ended, (moment, -1)) :], "finished_at"
                continue
        rest.append(one)
    if places is None:
        places = sorted((rows.all[number].created_ms, number) for _, number in (*index.open, *index.ended))
        sorted_by = "created_at"
    for one in rest:
        places = [place for place in places if _matches(rows, rows.all[place[1]], one)]
    if key != sorted_by:
        places = sorted((_value(rows, rows.all[number], key), number) for _, number in places)
    return places


def _start(places: Sequence[tuple[Any, int]], token: str | None, order: str, descending: bool) -> int:
    if not token:
        return len(places) if descending else 0
    try:
        told, value, number = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise Refused("the page token is none") from error
    if told != order:
        raise Refused("the page token belongs to another order")
    # The token names the first row of the page, whatever came and went before it.
    at = bisect_left(places, (value, number))
    return at + (at < len(places) and places[at] == (value, number)) if descending else at


def _token(order: str, place: tuple[Any, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps([order, *place]).encode()).decode()


def _value(rows: Rows, row: Row, key: str) -> Any:
    match key:
        case "created_at" | "scheduled_at":
            return row.created_ms
        case "finished_at":
            return row.finished_s
        case "state":
            return rows.show(row)
        case "run_id" | "id":
            return row.run_id
        case "namespace":
            return row.namespace
        case "display_name" | "name":
            return f"crowded-{row.number}"
        case "storage_state":
            return "AVAILABLE"
    raise Refused(f"no key {key}")


def _matches(rows: Rows, row: Row, predicate: _Json) -> bool:
    value = _value(rows, row, predicate["key"])
    if "timestamp_value" in predicate:
        wanted: Any = _seconds(predicate["timestamp_value"])
        value = value // 1000 if predicate["key"] == "created_at" else value
    elif "string_values" in predicate:
        wanted = predicate["string_values"]["values"]
    else:
        wanted = predicate.get("string_value")
    match predicate["operation"]:
        case "EQUALS":
            return bool(value == wanted)
        case "NOT_EQUALS":
            return bool(value != wanted)
        case "GREATER_THAN":
            return bool(value > wanted)
        case "GREATER_THAN_EQUALS":
            return bool(value >= wanted)
        case "LESS_THAN":
            return bool(value < wanted)
        case "LESS_THAN_EQUALS":
            return bool(value <= wanted)
        case "IN":
            return value in wanted
        case "IS_SUBSTRING":
            return str(wanted) in str(value)
    raise Refused(f"no operation {predicate['operation']}")


def _seconds(moment: str) -> int:
    # KFP compares whole seconds.
    return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp())


def moment_text(milliseconds: int) -> str:
    """A moment as KFP writes it, in whole seconds."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def row_json(rows: Rows, row: Row, *, spec: _Json | None, tasks: bool) -> _Json:
    """The run as KFP tells it; ``tasks`` with its task details, ``spec`` as of a run with an inline one."""
    told: _Json = {
        "experiment_id": "5c7bd90d-7d27-4a85-8a8f-4d8c6a4d9b1e",
        "run_id": row.run_id,
        "display_name": f"crowded-{row.number}",
        "storage_state": "AVAILABLE",
        "service_account": "pipeline-runner",
        "created_at": moment_text(row.created_ms),
        "scheduled_at": moment_text(row.created_ms),
        "finished_at": moment_text(row.finished_s * 1000) if row.finished_s else EPOCH,
        **(row.body or {}),
    }
    if state := rows.show(row):
        told["state"] = state
    if spec is not None:
        told["pipeline_spec"] = spec
    elif row.body is None:
        told["pipeline_version_reference"] = {
            "pipeline_id": "00000000-0000-4000-8000-000000000001",
            "pipeline_version_id": "00000000-0000-4000-8000-000000000002",
        }
    if row.state == "FAILED":
        told["error"] = {"code": 13, "message": "task evaluate failed"}
    if tasks:
        told["run_details"] = {"task_details": [_task_json(rows, row, place) for place in range(TASKS)]}
    return told


def _task_json(rows: Rows, row: Row, place: int) -> _Json:
    ended = place < row.done
    failed = row.state == "FAILED" and place == TASK_NAMES.index("evaluate")
    state = "FAILED" if failed else "SUCCEEDED" if ended else "RUNNING" if place == row.done else "PENDING"
    pod = f"crowded-{row.number}-{place}"
    return {
        "run_id": row.run_id,
        "task_id": pod,
        "display_name": TASK_NAMES[place],
        "create_time": moment_text(row.created_ms),
        "start_time": moment_text(row.created_ms),
        "end_time": moment_text(row.finished_s * 1000) if ended and row.finished_s else EPOCH,
        "state": state,
        "child_tasks": [{"pod_name": pod}],
    }
