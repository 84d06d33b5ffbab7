"""``/artifacts``: one artifact with all its uses, and its content."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from bridge.client.lineage import LineageGraphModel
from bridge.client.models import ArtifactModel
from bridge.domain.graph import LineageGraph
from bridge.domain.uris import local_path
from bridge.lineage import mirror
from bridge.lineage.collecting import collector_paused
from bridge.lineage.graph import MOST_DEPTH, MOST_NODES, GraphDirection, lineage_of
from bridge.lineage.records import StoredArtifact
from bridge.service.context import Context
from bridge.service.convert import artifact_model, graph_record
from bridge.service.describing import any_content
from bridge.service.problems import ProblemError
from bridge.service.routes.common import ContextDep
from bridge.service.settings import ServiceSettings

router = APIRouter(tags=["artifacts"])


class GraphQuery(BaseModel):
    """How far a graph goes."""

    direction: GraphDirection = Field(
        default="both", description="up: what it came from; down: what came of it."
    )
    depth: int = Field(default=20, ge=1, le=MOST_DEPTH, description="Steps, at most.")
    nodes: int = Field(default=1000, ge=1, le=MOST_NODES, description="Nodes, at most; the nearest first.")


class NodeQuery(GraphQuery):
    """Around which node."""

    node: str = Field(
        max_length=100, description="`artifact:<id>`, `run:<id>`, or the `id` of a node of another graph."
    )


# Shown as text or downloaded, never run: the dashboard's origin must not execute what a component wrote.
_SHOWN_TYPES = frozenset(
    {"text/plain", "text/csv", "text/markdown", "application/json", "image/png", "image/jpeg"}
)


@router.get("/artifacts/{artifact_id}", response_model=ArtifactModel)
async def get_artifact(context: ContextDep, artifact_id: UUID) -> ArtifactModel:
    """An artifact with its uses in every run."""
    stored = await _stored(context, artifact_id)
    return artifact_model(stored.artifact, stored.uses)


@router.get(
    "/artifacts/{artifact_id}/content",
    response_class=Response,
    responses=any_content("*/*", "The content, as the type that its name tells."),
)
async def content(context: ContextDep, artifact_id: UUID) -> Response:
    """The artifact's content, for ``file://`` URIs; ranges are honoured, directories are refused."""
    stored = await _stored(context, artifact_id)
    uri = stored.artifact.uri
    path = local_path(uri) if uri else None
    if path is None:
        raise ProblemError(
            "not-found",
            f"the content of {uri or 'an artifact without URI'} is not passed through; read it there",
        )
    return await anyio.to_thread.run_sync(_file, Path(path), stored, context.settings)


@router.get("/artifacts/{artifact_id}/lineage", response_model=LineageGraphModel)
async def artifact_lineage(
    context: ContextDep, artifact_id: UUID, query: Annotated[GraphQuery, Query()]
) -> Response:
    """What the artifact came from and what came of it, across runs, tasks, datasets and Airflow's jobs."""
    return await _graph(context, f"artifact:{artifact_id}", query)


@router.get("/lineage", response_model=LineageGraphModel)
async def lineage(context: ContextDep, query: Annotated[NodeQuery, Query()]) -> Response:
    """The same around any node: to go on from a node of a graph's frontier, or to begin with a run."""
    return await _graph(context, query.node, query)


async def _graph(context: Context, node: str, query: GraphQuery) -> Response:
    try:
        found = await context.store.read(
            lambda s: lineage_of(s, node, direction=query.direction, depth=query.depth, nodes=query.nodes)
        )
    except ValueError as error:
        told = f"{node} is no node's id"
        raise ProblemError("invalid-request", told, errors=[("/node", told)]) from error
    if found is None:
        raise ProblemError("not-found", f"there is no {node.replace(':', ' ')}")
    return Response(await anyio.to_thread.run_sync(_as_json, found), media_type="application/json")


def _as_json(graph: LineageGraph) -> bytes:
    with collector_paused:
        return to_json(graph_record(graph))


def _file(path: Path, stored: StoredArtifact, settings: ServiceSettings) -> Response:
    limit = settings.max_content_bytes
    if not settings.may_pass_on(path):
        raise ProblemError(
            "not-found", f"{stored.artifact.uri} lies outside content_roots, so it is not passed on"
        )
    if path.is_dir():
        raise ProblemError(
            "not-found", f"{stored.artifact.uri} is a directory, which has no content of its own"
        )
    if not path.is_file():
        raise ProblemError("not-found", f"there is no file at {stored.artifact.uri} any more")
    size = path.stat().st_size
    if size > limit:
        raise ProblemError(
            "too-large", f"{stored.artifact.uri} has {size:,} bytes; at most {limit:,} are passed on"
        )
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    shown = guessed in _SHOWN_TYPES
    disposition = "inline" if shown else "attachment"
    headers = {
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(path.name)}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-cache",
    }
    return FileResponse(path, media_type=guessed if shown else "application/octet-stream", headers=headers)


async def _stored(context: Context, artifact_id: UUID) -> StoredArtifact:
    stored = await context.store.read(lambda s: mirror.get_artifact(s, artifact_id))
    if stored is None:
        raise ProblemError("not-found", f"there is no artifact {artifact_id}")
    return stored
