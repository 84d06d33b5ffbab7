"""KFP's PipelineService: pipelines and their versions."""

from __future__ import annotations

import sqlite3
from typing import Any

from fastapi import APIRouter, Request, Response

from bridge.local import store_pipelines
from bridge.local.answers import list_json, pipeline_json, version_json
from bridge.local.requests import (
    PipelineAndVersionMessage,
    PipelineMessage,
    VersionMessage,
    read_message,
)
from bridge.local.routes.shared import (
    PREFIX,
    Backend,
    answer,
    backend_of,
    encode,
    encoded,
    list_request,
    truth,
)
from bridge.local.status import Code, StatusError, invalid
from bridge.local.store_listing import list_rows
from bridge.local.store_pipelines import PIPELINES, VERSIONS, Named

router = APIRouter(prefix=f"{PREFIX}/pipelines")


@router.post("")
async def create_pipeline(request: Request) -> Response:
    """CreatePipeline: a pipeline without a version"""
    named = _named(read_message(await request.body(), PipelineMessage))
    row = await backend_of(request).store.write(
        lambda connection: store_pipelines.add_pipeline(connection, named)
    )
    return answer(pipeline_json(row))


@router.post("/create")
async def create_pipeline_and_version(request: Request) -> Response:
    """CreatePipelineAndVersion, from a ``pipeline_spec`` in the request"""
    backend = backend_of(request)
    message = read_message(await request.body(), PipelineAndVersionMessage)
    text = await _spec_of(backend, message.pipeline_version)
    named = _named(message.pipeline)
    version = _named(message.pipeline_version, message.pipeline.name or message.pipeline.display_name)

    def write(connection: sqlite3.Connection) -> sqlite3.Row:
        row = store_pipelines.add_pipeline(connection, named)
        store_pipelines.add_version(connection, row["pipeline_id"], version, text)
        return row

    return answer(pipeline_json(await backend.store.write(write)))


@router.get("")
async def list_pipelines(request: Request) -> Response:
    """ListPipelines"""
    wanted = list_request(request)
    page = await backend_of(request).store.read(lambda connection: list_rows(connection, PIPELINES, wanted))
    return answer(list_json("pipelines", [pipeline_json(row) for row in page.rows], page))


@router.get("/names/{name}")
async def get_pipeline_by_name(request: Request, name: str) -> Response:
    """GetPipelineByName"""
    row = await backend_of(request).store.read(
        lambda connection: store_pipelines.get_pipeline_by_name(connection, name)
    )
    return answer(pipeline_json(row))


@router.get("/{pipeline_id}")
async def get_pipeline(request: Request, pipeline_id: str) -> Response:
    """GetPipeline"""
    row = await backend_of(request).store.read(
        lambda connection: store_pipelines.get_pipeline(connection, pipeline_id)
    )
    return answer(pipeline_json(row))


@router.patch("/{pipeline_id}")
async def update_pipeline(request: Request, pipeline_id: str) -> Response:
    """UpdatePipeline: display name and tags"""
    message = read_message(await request.body(), PipelineMessage)
    changes = message.model_dump(include=message.model_fields_set)

    def write(connection: sqlite3.Connection) -> sqlite3.Row:
        store_pipelines.get_pipeline(connection, pipeline_id)
        store_pipelines.update_named(connection, PIPELINES, pipeline_id, changes)
        return store_pipelines.get_pipeline(connection, pipeline_id)

    return answer(pipeline_json(await backend_of(request).store.write(write)))


@router.delete("/{pipeline_id}")
async def delete_pipeline(request: Request, pipeline_id: str) -> Response:
    """DeletePipeline: only one without versions, unless ``cascade=true``"""
    cascade = truth(request.query_params.get("cascade"))
    await backend_of(request).store.write(
        lambda connection: store_pipelines.delete_pipeline(connection, pipeline_id, cascade=cascade)
    )
    return answer({})


@router.post("/{pipeline_id}/versions")
async def create_version(request: Request, pipeline_id: str) -> Response:
    """CreatePipelineVersion, from a ``pipeline_spec`` in the request"""
    backend = backend_of(request)
    message = read_message(await request.body(), VersionMessage)
    text = await _spec_of(backend, message)
    named = _named(message)
    row = await backend.store.write(
        lambda connection: store_pipelines.add_version(connection, pipeline_id, named, text)
    )
    return answer(await _version(backend, row))


@router.get("/{pipeline_id}/versions")
async def list_versions(request: Request, pipeline_id: str) -> Response:
    """ListPipelineVersions"""
    wanted = list_request(request)

    def read(connection: sqlite3.Connection) -> bytes:
        store_pipelines.get_pipeline(connection, pipeline_id)
        page = list_rows(connection, VERSIONS, wanted, [("pipeline_id", pipeline_id)])
        versions = [
            version_json(row, store_pipelines.spec_document(connection, row["spec_id"])) for row in page.rows
        ]
        return encode(list_json("pipeline_versions", versions, page))

    return encoded(await backend_of(request).store.read(read))


@router.get("/{pipeline_id}/versions/{version_id}")
async def get_version(request: Request, pipeline_id: str, version_id: str) -> Response:
    """GetPipelineVersion"""
    backend = backend_of(request)
    row = await backend.store.read(
        lambda connection: store_pipelines.get_version(connection, pipeline_id, version_id)
    )
    return answer(await _version(backend, row))


@router.patch("/{pipeline_id}/versions/{version_id}")
async def update_version(request: Request, pipeline_id: str, version_id: str) -> Response:
    """UpdatePipelineVersion: display name and tags"""
    backend = backend_of(request)
    message = read_message(await request.body(), VersionMessage)
    changes = message.model_dump(include=message.model_fields_set)

    def write(connection: sqlite3.Connection) -> sqlite3.Row:
        store_pipelines.get_version(connection, pipeline_id, version_id)
        store_pipelines.update_named(connection, VERSIONS, version_id, changes)
        return store_pipelines.get_version(connection, pipeline_id, version_id)

    return answer(await _version(backend, await backend.store.write(write)))


@router.delete("/{pipeline_id}/versions/{version_id}")
async def delete_version(request: Request, pipeline_id: str, version_id: str) -> Response:
    """DeletePipelineVersion"""
    await backend_of(request).store.write(
        lambda connection: store_pipelines.delete_version(connection, pipeline_id, version_id)
    )
    return answer({})


async def _version(backend: Backend, row: sqlite3.Row) -> dict[str, Any]:
    spec = await backend.store.read(
        lambda connection: store_pipelines.spec_document(connection, row["spec_id"])
    )
    return version_json(row, spec)


def _named(message: PipelineMessage | VersionMessage, name: str = "") -> Named:
    name = message.name or message.display_name or name
    if not name.strip():
        raise invalid("The name is empty. Please specify a valid name")
    return Named(
        name=name,
        display_name=message.display_name,
        description=message.description,
        namespace=message.namespace if isinstance(message, PipelineMessage) else "",
        code_source_url=message.code_source_url if isinstance(message, VersionMessage) else "",
        tags=message.tags,
    )


async def _spec_of(backend: Backend, message: VersionMessage) -> str:
    if message.pipeline_spec:
        return (await backend.specs.inline(message.pipeline_spec)).text
    if message.package_url is not None and message.package_url.pipeline_url:
        # The backend reads no foreign network by itself: a laptop's server should not be sent anywhere.
        raise StatusError(
            Code.FAILED_PRECONDITION,
            "The local backend does not download pipelines from package_url: upload the file instead",
        )
    raise invalid("The pipeline version needs a pipeline_spec: none was given")
