"""``/artifacts``: the list of artifacts, one with all its uses, and its content."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from sqlmodel import Session

from bridge.client.history import ArtifactBrief
from bridge.client.lineage import LineageGraphModel
from bridge.client.models import ArtifactModel, Page
from bridge.domain.redaction import redact_uri
from bridge.lineage import mirror
from bridge.lineage.artifacts import ArtifactFilter, ListedArtifact, list_artifacts
from bridge.lineage.collecting import collector_paused
from bridge.lineage.errors import CursorError
from bridge.lineage.graph import MOST_DEPTH, MOST_NODES, GraphDirection, walk
from bridge.lineage.records import StoredArtifact
from bridge.service.access.caller import Caller
from bridge.service.briefs import brief
from bridge.service.context import Context
from bridge.service.convert import artifact_model
from bridge.service.describing import any_content
from bridge.service.graphs import graph_json
from bridge.service.passing import MOST_PREVIEW_BYTES, pass_on
from bridge.service.problems import ProblemError
from bridge.service.routes.common import MAX_LIMIT, CallerDep, ContextDep

router = APIRouter(tags=["artifacts"])

_CONTENT: dict[int | str, dict[str, Any]] = {
    **any_content("*/*", "The content, as the type that its name or its artifact's type tells."),
    206: {"description": "The range that was asked for.", "content": {"*/*": {}}},
    304: {"description": "It has not changed since."},
}


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


class ArtifactQuery(BaseModel):
    """Which artifacts are listed; each narrows."""

    type: str | None = Field(default=None, max_length=255, description="Such as `system.Model`.")
    pipeline: str | None = Field(default=None, max_length=255, description="Made by runs of this pipeline.")
    project: list[str] = Field(default_factory=list, description="Of one of these projects.")
    text: str | None = Field(default=None, max_length=200, description="In its name, URI or digest.")
    cursor: str | None = None
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)


@router.get("/artifacts", response_model=Page[ArtifactBrief])
async def list_all(
    context: ContextDep, caller: CallerDep, query: Annotated[ArtifactQuery, Query()]
) -> Page[ArtifactBrief]:
    """Artifacts, newest first, each with the run that made it. Each page looks at 5000 artifacts at most: it
    may hold fewer than ``limit``, or none, and have a ``next_cursor`` all the same."""
    where = ArtifactFilter(
        type=query.type,
        pipeline=query.pipeline,
        projects=caller.narrowed(query.project),
        text=query.text,
    )
    try:
        found, following = await context.store.read(
            lambda s: list_artifacts(s, where, cursor=query.cursor, limit=query.limit)
        )
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error
    now = datetime.now(UTC)
    return Page(items=[_brief(one, caller, now) for one in found], next_cursor=following)


@router.get("/artifacts/{artifact_id}", response_model=ArtifactModel)
async def get_artifact(context: ContextDep, caller: CallerDep, artifact_id: UUID) -> ArtifactModel:
    """An artifact with its uses in every run."""
    stored = await _stored(context, caller, artifact_id)
    return artifact_model(stored.artifact, stored.uses)


@router.get("/artifacts/{artifact_id}/content", response_class=Response, responses=_CONTENT)
async def content(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    artifact_id: UUID,
    preview: Annotated[
        int | None,
        Query(ge=1, le=MOST_PREVIEW_BYTES, description="Only so many bytes from the beginning."),
    ] = None,
) -> Response:
    """The artifact's content, of files and of objects in S3 and GCS; a range is honoured, a directory has
    none. It is sent so that a browser shows or stores it and runs nothing of it."""
    stored = await _stored(context, caller, artifact_id)
    return await pass_on(
        context.stores,
        context.settings,
        stored.artifact,
        request.headers,
        projects=stored.projects,
        preview_bytes=preview,
    )


@router.get("/artifacts/{artifact_id}/lineage", response_model=LineageGraphModel)
async def artifact_lineage(
    context: ContextDep, caller: CallerDep, artifact_id: UUID, query: Annotated[GraphQuery, Query()]
) -> Response:
    """What the artifact came from and what came of it, across runs, tasks, datasets and Airflow's jobs."""
    return await _graph(context, caller, f"artifact:{artifact_id}", query)


@router.get("/lineage", response_model=LineageGraphModel)
async def lineage(context: ContextDep, caller: CallerDep, query: Annotated[NodeQuery, Query()]) -> Response:
    """The same around any node: to go on from a node of a graph's frontier, or to begin with a run."""
    return await _graph(context, caller, query.node, query)


def _brief(listed: ListedArtifact, caller: Caller, now: datetime) -> ArtifactBrief:
    artifact = listed.artifact
    assert artifact.artifact_id is not None, "only stored artifacts are listed"
    return ArtifactBrief(
        artifact_id=artifact.artifact_id,
        type=artifact.type,
        uri=redact_uri(artifact.uri) if artifact.uri else artifact.uri,
        name=artifact.name,
        digest=artifact.digest,
        created_at=artifact.created_at,
        content=artifact.content.state.value if artifact.content else None,
        project=listed.project if caller.sees(listed.project) else "",
        backend=listed.backend,
        run=brief(listed.run, now) if listed.run and caller.sees(listed.run.project) else None,
        task_path=listed.task_path,
        key=listed.key,
    )


async def _graph(context: Context, caller: Caller, node: str, query: GraphQuery) -> Response:
    airflow_url = context.settings.airflow_url

    def read(session: Session) -> bytes | None:
        # At once, by the thread that read it: tens of thousands of nodes and edges are not handed about.
        with collector_paused:
            found = walk(
                session,
                node,
                direction=query.direction,
                depth=query.depth,
                nodes=query.nodes,
                projects=caller.projects,
            )
            return None if found is None else graph_json(found, airflow_url, caller.projects)

    try:
        text = await context.store.read(read)
    except ValueError as error:
        told = f"{node} is no node's id"
        raise ProblemError("invalid-request", told, errors=[("/node", told)]) from error
    if text is None:
        raise ProblemError("not-found", f"there is no {node.replace(':', ' ')}")
    return Response(text, media_type="application/json")


async def _stored(context: Context, caller: Caller, artifact_id: UUID) -> StoredArtifact:
    stored = await context.store.read(lambda s: mirror.get_artifact(s, artifact_id, caller.projects))
    if stored is None:
        raise ProblemError("not-found", f"there is no artifact {artifact_id}")
    return stored
