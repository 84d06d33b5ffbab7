"""KFP's RunService."""

from __future__ import annotations

import sqlite3
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response

from bridge.local import store_experiments, store_pipelines, store_runs, store_tasks
from bridge.local.answers import list_json, run_json, with_task_details
from bridge.local.native_answers import with_native_tasks
from bridge.local.requests import RunMessage, read_message
from bridge.local.routes.shared import (
    PREFIX,
    Backend,
    answer,
    backend_of,
    encode,
    encoded,
    full_view,
    list_request,
)
from bridge.local.sources import find_source
from bridge.local.status import invalid
from bridge.local.store_listing import list_rows
from bridge.local.store_runs import NewRun
from bridge.spec.arguments import check_arguments
from bridge.spec.load import SpecError

router = APIRouter(prefix=f"{PREFIX}/runs")


@router.post("")
async def create(request: Request) -> Response:
    """CreateRun: the run is written down, queued and answered as PENDING."""
    backend = backend_of(request)
    message = read_message(await request.body(), RunMessage)
    new = await _new_run(backend, message)
    row = await backend.store.write(lambda connection: store_runs.add_run(connection, new))
    backend.supervisor.enqueue(new.run_id)
    shown = run_json(row, message.pipeline_spec if new.inline else None)
    if backend.settings.metadata == "native":
        del shown["run_details"]
    return answer(shown)


@router.get("")
async def list_runs(request: Request) -> Response:
    """ListRuns"""
    wanted = list_request(request)
    experiment_id = request.query_params.get("experiment_id", "")
    fixed = [("experiment_id", experiment_id)] if experiment_id else []
    backend = backend_of(request)
    full = full_view(request)

    def read(connection: sqlite3.Connection) -> bytes:
        if experiment_id:
            store_experiments.get_experiment(connection, experiment_id)
        page = list_rows(connection, store_runs.RUNS, wanted, fixed)
        shown = [_shown(connection, row) for row in page.rows]
        if backend.settings.metadata == "native":
            shown = [with_native_tasks(connection, run, full=full) for run in shown]
        return encode(list_json("runs", shown, page))

    return encoded(await backend.store.read(read))


@router.get("/{run_id}")
async def get(request: Request, run_id: str) -> Response:
    """GetRun, with its tasks: in the native shape only with ``view=FULL``"""
    backend = backend_of(request)
    full = full_view(request)

    def read(connection: sqlite3.Connection) -> bytes:
        run = _shown(connection, store_runs.get_run(connection, run_id))
        if backend.settings.metadata == "native":
            return encode(with_native_tasks(connection, run, full=full))
        return encode(with_task_details(run, store_tasks.tasks_of_run(connection, run_id)))

    return encoded(await backend_of(request).store.read(read))


@router.delete("/{run_id}")
async def delete(request: Request, run_id: str) -> Response:
    """DeleteRun: a run that is going on is ended first"""
    backend = backend_of(request)
    await backend.store.read(lambda connection: store_runs.get_run(connection, run_id))
    await backend.supervisor.discard(run_id)
    await backend.store.write(lambda connection: store_runs.delete_run(connection, run_id))
    backend.retention.rounds.wake()
    return answer({})


@router.post("/{run_id}:terminate")
async def terminate(request: Request, run_id: str) -> Response:
    """TerminateRun"""
    await backend_of(request).supervisor.terminate(run_id)
    return answer({})


@router.post("/{run_id}:retry")
async def retry(request: Request, run_id: str) -> Response:
    """RetryRun: what has finished is kept, the rest is run again under the same run_id"""
    await backend_of(request).supervisor.retry(run_id)
    return answer({})


@router.post("/{run_id}:archive")
async def archive(request: Request, run_id: str) -> Response:
    """ArchiveRun"""
    return await _store_as(request, run_id, "ARCHIVED")


@router.post("/{run_id}:unarchive")
async def unarchive(request: Request, run_id: str) -> Response:
    """UnarchiveRun"""
    return await _store_as(request, run_id, "AVAILABLE")


async def _store_as(request: Request, run_id: str, storage_state: str) -> Response:
    await backend_of(request).store.write(
        lambda connection: store_runs.set_run_storage(connection, run_id, storage_state)
    )
    return answer({})


def _shown(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    # An inline spec comes back in every row that is listed; KFP does that too.
    spec = store_pipelines.spec_document(connection, row["spec_id"]) if row["inline_spec"] else None
    return run_json(row, spec)


async def _new_run(backend: Backend, message: RunMessage) -> NewRun:
    if not message.display_name.strip():
        raise invalid("The run name is empty. Please specify a valid name")
    source = await find_source(backend.store, backend.specs, message)
    try:
        parameters = check_arguments(source.pipeline, message.runtime_config.parameters)
    except SpecError as error:
        raise invalid(f"Failed to create a run: {error}") from error
    return NewRun(
        run_id=_run_id(message.run_id),
        display_name=message.display_name,
        description=message.description,
        experiment_id=message.experiment_id,
        service_account=message.service_account,
        spec_text=source.text,
        pipeline_name=source.pipeline.name,
        parameters=parameters,
        pipeline_root=message.runtime_config.pipeline_root,
        inline=source.inline,
        pipeline_id=source.pipeline_id,
        pipeline_version_id=source.pipeline_version_id,
    )


def _run_id(told: str) -> str:
    if not told:
        return str(uuid4())
    try:
        return str(UUID(told))
    except ValueError as error:
        raise invalid(f"run_id must be a UUID, not {told!r}") from error
