"""The coming native API of a run's tasks; served in MLMD's place if so set."""

from __future__ import annotations

import sqlite3
from typing import Any

from fastapi import APIRouter, Request, Response

from bridge.local import store_native
from bridge.local.answers import list_json
from bridge.local.native_answers import tasks_json
from bridge.local.native_requests import FindCachedMessage, TaskMessage, UpdateTasksMessage
from bridge.local.requests import read_message
from bridge.local.routes.shared import PREFIX, answer, backend_of, encode, encoded, list_request
from bridge.local.status import invalid
from bridge.local.store_listing import ListRequest, list_rows
from bridge.local.store_runs import get_run

router = APIRouter(prefix=PREFIX)


@router.get("/runs/{run_id}/tasks")
async def list_tasks(request: Request, run_id: str) -> Response:
    """ListTasks: with their inputs, outputs and artifacts"""
    told = list_request(request)
    # This list alone calls it order_by.
    order = request.query_params.get("order_by", "")
    wanted = ListRequest(
        page_size=told.page_size, page_token=told.page_token, sort_by=order, filter=told.filter
    )
    parent_id = request.query_params.get("parent_id", "")
    fixed = [("run_id", run_id), *([("parent_task_id", parent_id)] if parent_id else [])]

    def read(connection: sqlite3.Connection) -> bytes:
        get_run(connection, run_id)
        page = list_rows(connection, store_native.TASKS, wanted, fixed)
        return encode(list_json("tasks", tasks_json(connection, run_id, page.rows), page))

    return encoded(await backend_of(request).store.read(read))


@router.post("/runs/{run_id}/tasks")
async def create_task(request: Request, run_id: str) -> Response:
    """CreateTask: the task of the same name, place and iteration is found and not made again"""
    message = read_message(await request.body(), TaskMessage)
    if message.task_id:
        raise invalid("Task ID should not be set on create")
    if not message.name:
        raise invalid("Task name is required")
    _check_run(message, run_id)

    def write(connection: sqlite3.Connection) -> dict[str, Any]:
        row = store_native.add_task(connection, run_id, message.told())
        return tasks_json(connection, run_id, [row])[0]

    return answer(await backend_of(request).store.write(write))


@router.get("/runs/{run_id}/tasks/{task_id}")
async def get_task(request: Request, run_id: str, task_id: str) -> Response:
    """GetTask"""

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        return tasks_json(connection, run_id, [store_native.get_task(connection, task_id, run_id)])[0]

    return answer(await backend_of(request).store.read(read))


@router.patch("/runs/{run_id}/tasks/{task_id}")
async def update_task(request: Request, run_id: str, task_id: str) -> Response:
    """UpdateTask: of tasks that callers made; the backend's own are its driver's"""
    message = read_message(await request.body(), TaskMessage)

    def write(connection: sqlite3.Connection) -> dict[str, Any]:
        return _update(connection, run_id, task_id, message)

    return answer(await backend_of(request).store.write(write))


@router.post("/runs/{run_id}/tasks:batchUpdate")
async def update_tasks(request: Request, run_id: str) -> Response:
    """UpdateTasksBulk: all of them or none"""
    messages = read_message(await request.body(), UpdateTasksMessage).tasks
    if not messages:
        raise invalid("UpdateTasksBulkRequest must contain at least one task")

    def write(connection: sqlite3.Connection) -> dict[str, Any]:
        return {
            task_id: _update(connection, run_id, task_id, message) for task_id, message in messages.items()
        }

    return answer({"tasks": await backend_of(request).store.write(write)})


@router.post("/tasks:findCached")
async def find_cached(request: Request) -> Response:
    """FindCachedTask: the newest that succeeded, or an empty answer"""
    message = read_message(await request.body(), FindCachedMessage)
    if not message.cache_fingerprint:
        raise invalid("cache_fingerprint is required")

    def read(connection: sqlite3.Connection) -> dict[str, Any]:
        row = store_native.find_cached_task(connection, message.cache_fingerprint)
        return {} if row is None else {"task": tasks_json(connection, row["run_id"], [row])[0]}

    return answer(await backend_of(request).store.read(read))


def _update(
    connection: sqlite3.Connection, run_id: str, task_id: str, message: TaskMessage
) -> dict[str, Any]:
    if message.task_id not in (None, "", task_id):
        raise invalid(f"task_id {message.task_id} is not that of the request, {task_id}")
    _check_run(message, run_id)
    row = store_native.change_task(connection, run_id, task_id, message.told())
    return tasks_json(connection, run_id, [row])[0]


def _check_run(message: TaskMessage, run_id: str) -> None:
    if message.run_id not in (None, "", run_id):
        raise invalid(f"run_id {message.run_id} is not that of the request, {run_id}")
