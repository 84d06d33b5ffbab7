"""KFP's PipelineUploadService: multipart uploads of YAML, zip or tar.gz."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from bridge.local import store_pipelines
from bridge.local.answers import pipeline_json, version_json
from bridge.local.packages import MAX_FILE_BYTES
from bridge.local.routes.shared import PREFIX, answer, backend_of
from bridge.local.status import StatusError, invalid
from bridge.local.store_pipelines import Named

router = APIRouter(prefix=f"{PREFIX}/pipelines")
_MAX_NAME_LENGTH = 128


@router.post("/upload")
async def upload_pipeline(request: Request) -> Response:
    """UploadPipeline: a pipeline and its first version, of the same name"""
    backend = backend_of(request)
    file_name, content = await _uploaded(request)
    named = _named(request.query_params, file_name)
    text = (await backend.specs.upload(file_name, content)).text

    def write(connection: sqlite3.Connection) -> sqlite3.Row:
        row = store_pipelines.add_pipeline(connection, named)
        store_pipelines.add_version(connection, row["pipeline_id"], named, text)
        return row

    return answer(pipeline_json(await backend.store.write(write)))


@router.post("/upload_version")
async def upload_version(request: Request) -> Response:
    """UploadPipelineVersion: a version of the pipeline that ``pipelineid`` names"""
    backend = backend_of(request)
    pipeline_id = request.query_params.get("pipelineid", "")
    if not pipeline_id:
        raise invalid("Failed to create a pipeline version: the query parameter pipelineid is missing")
    file_name, content = await _uploaded(request)
    named = _named(request.query_params, file_name)
    text = (await backend.specs.upload(file_name, content)).text
    row = await backend.store.write(lambda connection: _add_version(connection, pipeline_id, named, text))
    return answer(version_json(row, json.loads(text)))


def _add_version(connection: sqlite3.Connection, pipeline_id: str, named: Named, text: str) -> sqlite3.Row:
    try:
        store_pipelines.get_pipeline(connection, pipeline_id)
    except StatusError as error:
        # KFP looks the namespace up first and answers 400 where other services answer 404.
        raise invalid(f"Failed to create a pipeline version: {error}") from error
    return store_pipelines.add_version(connection, pipeline_id, named, text)


async def _uploaded(request: Request) -> tuple[str, bytes]:
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            file = form.get("uploadfile")
            if not isinstance(file, UploadFile):
                raise invalid("Failed to read pipeline from file: the form field uploadfile is missing")
            return file.filename or "", await file.read(MAX_FILE_BYTES + 1)
    except HTTPException as error:
        raise invalid(f"Failed to read pipeline from file: {error.detail}") from error


def _named(query: Mapping[str, str], file_name: str) -> Named:
    name = query.get("name") or query.get("display_name") or file_name
    if not name.strip():
        raise invalid("The pipeline name is empty. Please specify a valid name")
    if len(name) > _MAX_NAME_LENGTH:
        raise invalid(f"The name is too long. Support maximum length of {_MAX_NAME_LENGTH}")
    return Named(
        name=name,
        display_name=query.get("display_name", ""),
        description=query.get("description", ""),
        namespace=query.get("namespace", ""),
        code_source_url=query.get("code_source_url", ""),
        tags=_tags(query.get("tags", "")),
    )


def _tags(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        tags = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid("Failed to parse tags query parameter") from error
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise invalid(
            "Failed to parse tags query parameter. Expected JSON object with string keys and values"
        )
    return tags
