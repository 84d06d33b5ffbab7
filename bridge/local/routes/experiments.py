"""KFP's ExperimentService."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bridge.local import store_experiments
from bridge.local.answers import experiment_json, list_json
from bridge.local.requests import ExperimentMessage, read_message
from bridge.local.routes.shared import PREFIX, answer, backend_of, list_request
from bridge.local.status import invalid
from bridge.local.store_listing import list_rows

router = APIRouter(prefix=f"{PREFIX}/experiments")


@router.post("")
async def create(request: Request) -> Response:
    """CreateExperiment"""
    message = read_message(await request.body(), ExperimentMessage)
    if not message.display_name.strip():
        raise invalid("Experiment name is empty. Please specify a valid experiment name")
    row = await backend_of(request).store.write(
        lambda connection: store_experiments.add_experiment(
            connection, message.display_name, message.description, message.namespace
        )
    )
    return answer(experiment_json(row))


@router.get("")
async def list_experiments(request: Request) -> Response:
    """ListExperiments"""
    wanted = list_request(request)
    page = await backend_of(request).store.read(
        lambda connection: list_rows(connection, store_experiments.EXPERIMENTS, wanted)
    )
    return answer(list_json("experiments", [experiment_json(row) for row in page.rows], page))


@router.get("/{experiment_id}")
async def get(request: Request, experiment_id: str) -> Response:
    """GetExperiment"""
    row = await backend_of(request).store.read(
        lambda connection: store_experiments.get_experiment(connection, experiment_id)
    )
    return answer(experiment_json(row))


@router.delete("/{experiment_id}")
async def delete(request: Request, experiment_id: str) -> Response:
    """DeleteExperiment"""
    await backend_of(request).store.write(
        lambda connection: store_experiments.delete_experiment(connection, experiment_id)
    )
    return answer({})


@router.post("/{experiment_id}:archive")
async def archive(request: Request, experiment_id: str) -> Response:
    """ArchiveExperiment"""
    return await _store_as(request, experiment_id, "ARCHIVED")


@router.post("/{experiment_id}:unarchive")
async def unarchive(request: Request, experiment_id: str) -> Response:
    """UnarchiveExperiment"""
    return await _store_as(request, experiment_id, "AVAILABLE")


async def _store_as(request: Request, experiment_id: str, storage_state: str) -> Response:
    await backend_of(request).store.write(
        lambda connection: store_experiments.set_experiment_storage(connection, experiment_id, storage_state)
    )
    return answer({})
