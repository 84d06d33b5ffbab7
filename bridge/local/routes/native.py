"""The coming native API of artifacts and of their links to tasks; served in MLMD's place if so set."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, get_args

from fastapi import APIRouter, Request, Response

from bridge.local import store_native
from bridge.local.answers import list_json
from bridge.local.native_answers import artifact_json, link_json
from bridge.local.native_requests import (
    CreateArtifactMessage,
    CreateArtifactsMessage,
    CreateLinkMessage,
    CreateLinksMessage,
    IOType,
    LinkMessage,
)
from bridge.local.requests import read_message
from bridge.local.routes.shared import PREFIX, answer, backend_of, encode, encoded, list_request
from bridge.local.status import invalid
from bridge.local.store_listing import list_rows

router = APIRouter(prefix=PREFIX)
_FILTERS = {"task_ids": "task_id", "run_ids": "run_id", "artifact_ids": "artifact_id"}


@router.post("/artifacts")
async def create_artifact(request: Request) -> Response:
    """CreateArtifact: with the link to the task that made it"""
    message = read_message(await request.body(), CreateArtifactMessage)
    made = await backend_of(request).store.write(lambda connection: _add_artifact(connection, message))
    return answer(made)


@router.post("/artifacts:batchCreate")
async def create_artifacts(request: Request) -> Response:
    """CreateArtifactsBulk: all of them or none"""
    messages = read_message(await request.body(), CreateArtifactsMessage).artifacts
    if not messages:
        raise invalid("CreateArtifactsBulkRequest must contain at least one artifact")
    made = await backend_of(request).store.write(
        lambda connection: [_add_artifact(connection, message) for message in messages]
    )
    return answer({"artifacts": made})


@router.get("/artifacts")
async def list_artifacts(request: Request) -> Response:
    """ListArtifacts"""
    wanted = list_request(request)

    def read(connection: sqlite3.Connection) -> bytes:
        page = list_rows(connection, store_native.ARTIFACTS, wanted)
        return encode(list_json("artifacts", [artifact_json(row) for row in page.rows], page))

    return encoded(await backend_of(request).store.read(read))


@router.get("/artifacts/{artifact_id}")
async def get_artifact(request: Request, artifact_id: str) -> Response:
    """GetArtifact"""
    row = await backend_of(request).store.read(
        lambda connection: store_native.get_artifact(connection, artifact_id)
    )
    return answer(artifact_json(row))


@router.post("/artifact_tasks")
async def create_link(request: Request) -> Response:
    """CreateArtifactTask"""
    message = read_message(await request.body(), CreateLinkMessage).artifact_task
    if message is None:
        raise invalid("CreateArtifactTaskRequest and artifact_task are required")
    return answer(await backend_of(request).store.write(lambda connection: _add_link(connection, message)))


@router.post("/artifact_tasks:batchCreate")
async def create_links(request: Request) -> Response:
    """CreateArtifactTasksBulk: all of one run, all of them or none"""
    messages = read_message(await request.body(), CreateLinksMessage).artifact_tasks
    if not messages:
        raise invalid("CreateArtifactTasksBulkRequest must contain at least one artifact task")
    if len({message.run_id for message in messages}) > 1:
        raise invalid("CreateArtifactTasksBulkRequest must use a single run_id")
    made = await backend_of(request).store.write(
        lambda connection: [_add_link(connection, message) for message in messages]
    )
    return answer({"artifact_tasks": made})


@router.get("/artifact_tasks")
async def list_links(request: Request) -> Response:
    """ListArtifactTasks: of some tasks, runs or artifacts"""
    wanted = list_request(request)
    query = request.query_params
    fixed: list[tuple[str, Any]] = [
        (column, tuple(query.getlist(name))) for name, column in _FILTERS.items() if query.getlist(name)
    ]
    if not fixed:
        raise invalid("At least one filter (task_ids, run_ids, or artifact_ids) is required")
    kind = query.get("type", "UNSPECIFIED")
    if kind not in get_args(IOType):
        raise invalid(f"type: {kind!r} is no IOType")
    if kind != "UNSPECIFIED":
        fixed.append(("type", kind))

    def read(connection: sqlite3.Connection) -> bytes:
        for task_id in query.getlist("task_ids"):
            store_native.get_task(connection, task_id)
        for artifact_id in query.getlist("artifact_ids"):
            store_native.get_artifact(connection, artifact_id)
        page = list_rows(connection, store_native.LINKS, wanted, fixed)
        return encode(list_json("artifact_tasks", [link_json(row) for row in page.rows], page))

    return encoded(await backend_of(request).store.read(read))


def _add_artifact(connection: sqlite3.Connection, message: CreateArtifactMessage) -> dict[str, Any]:
    artifact = message.artifact
    if artifact is None:
        raise invalid("Artifact is required")
    if artifact.artifact_id:
        raise invalid("Artifact ID should not be set on create")
    if artifact.type == "TYPE_UNSPECIFIED":
        raise invalid("Artifact type is required")
    _demand(
        {
            "Artifact name": artifact.name,
            "Run ID": message.run_id,
            "Task ID": message.task_id,
            "Producer key": message.producer_key,
        }
    )
    if artifact.type == "Metric" and artifact.number_value is None:
        raise invalid("number_value is required for a Metric artifact")
    if artifact.type.endswith("ClassificationMetric") and artifact.metadata is None:
        raise invalid(f"No metric or metadata was found for {artifact.type} artifact")
    task = store_native.get_task(connection, message.task_id, message.run_id)
    link = {
        "run_id": message.run_id,
        "task_id": message.task_id,
        "type": "OUTPUT" if message.iteration_index is None else "ITERATOR_OUTPUT",
        "key": message.producer_key,
        "producer": {"task_name": task["name"], "iteration": message.iteration_index},
    }
    row = store_native.add_artifact(connection, artifact.model_dump(), link, reuse=message.reuse_if_exists)
    return artifact_json(row)


def _add_link(connection: sqlite3.Connection, message: LinkMessage) -> dict[str, Any]:
    _demand(
        {
            "artifact_task.artifact_id": message.artifact_id,
            "artifact_task.task_id": message.task_id,
            "artifact_task.run_id": message.run_id,
            "artifact_task.type": "" if message.type == "UNSPECIFIED" else message.type,
            "artifact_task.producer": message.producer,
            "artifact_task.key": message.key,
        }
    )
    store_native.get_task(connection, message.task_id, message.run_id)
    store_native.get_artifact(connection, message.artifact_id)
    return link_json(store_native.add_link(connection, message.model_dump()))


def _demand(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not value:
            raise invalid(f"{name} is required")
