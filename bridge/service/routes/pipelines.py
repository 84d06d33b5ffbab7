"""``/pipelines``: the pipelines the bridge knows, their versions, and the aliases of these."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlmodel import Session

from bridge.client.history import ListedPipelineModel
from bridge.client.models import AliasRequest, Page, PipelineAliasModel, PipelineModel, RegisterRequest
from bridge.domain.access import Action
from bridge.domain.aliases import alias_problem
from bridge.lineage import aliases, audit, specs
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import CursorError, NotStored
from bridge.lineage.records import StoredAlias
from bridge.service.admission import check_admission
from bridge.service.describing import body_of
from bridge.service.problems import ProblemError
from bridge.service.routes.common import MAX_LIMIT, CallerDep, ContextDep, read_body
from bridge.spec.load import Pipeline

router = APIRouter(tags=["pipelines"])

_Project = Annotated[str, Query(min_length=1, max_length=255)]
_Name = Annotated[str, Path(max_length=255)]


@router.get("/pipelines", response_model=Page[ListedPipelineModel])
async def list_pipelines(
    context: ContextDep,
    caller: CallerDep,
    project: Annotated[list[str] | None, Query()] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Page[ListedPipelineModel]:
    """Pipelines by name, each with the digest of its newest version."""
    projects = caller.narrowed(project or ())
    try:
        found, following = await context.store.read(
            lambda s: specs.list_pipelines(s, projects, cursor=cursor, limit=limit)
        )
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error
    items = [
        ListedPipelineModel(
            name=one.name, digest=one.digest or "", project=one.project, versions=one.versions
        )
        for one in found
    ]
    return Page(items=items, next_cursor=following)


@router.post(
    "/pipelines",
    status_code=201,
    response_model=PipelineModel,
    openapi_extra=body_of(RegisterRequest),
    responses={200: {"description": "this version was known already"}},
)
async def register_pipeline(
    request: Request,
    response: Response,
    context: ContextDep,
    caller: CallerDep,
    project: _Project = "default",
) -> PipelineModel:
    """Make a version of a pipeline known; nothing is run. The same again is 200. Audited.

    A version's name stays with its digest: another pipeline under it is refused.
    """
    caller.need(Action.SUBMIT, project)
    body = await read_body(request, RegisterRequest)
    pipeline: Pipeline = await request.app.state.acceptance.pipelines.load(body.spec)
    check_admission(pipeline, context.settings.admission_of(project), project)
    new = await context.store.transact(
        lambda s: _register(s, project, pipeline, body.version, actor=caller.actor), repeatable=True
    )
    if not new:
        response.status_code = 200
    return PipelineModel(name=pipeline.name, digest=pipeline.digest, version_name=body.version)


@router.get("/pipelines/{name}/aliases", response_model=Page[PipelineAliasModel])
async def list_aliases(
    name: _Name, context: ContextDep, caller: CallerDep, project: _Project = "default"
) -> Page[PipelineAliasModel]:
    """The aliases of a pipeline, by name."""
    seen = caller.sees(project)
    found = await context.store.read(lambda s: aliases.list_aliases(s, project, name)) if seen else []
    return Page(items=[shown_alias(alias) for alias in found])


@router.get("/pipelines/{name}/aliases/{alias}", response_model=PipelineAliasModel)
async def get_alias(
    name: _Name, alias: str, context: ContextDep, caller: CallerDep, project: _Project = "default"
) -> PipelineAliasModel:
    """Which version an alias means now."""
    found = await context.store.read(lambda s: aliases.find_alias(s, project, name, alias))
    if found is None or not caller.sees(project):
        raise ProblemError("not-found", f"pipeline {name} of project {project} has no alias {alias}")
    return shown_alias(found)


@router.put(
    "/pipelines/{name}/aliases/{alias}",
    response_model=PipelineAliasModel,
    openapi_extra=body_of(AliasRequest),
)
async def set_alias(
    name: _Name,
    alias: str,
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    *,
    project: _Project = "default",
) -> PipelineAliasModel:
    """Let an alias mean a version from now on; runs that were asked for earlier keep theirs. Audited."""
    caller.need(Action.OPERATE, project)
    body = await read_body(request, AliasRequest)
    problem = alias_problem(alias)
    if problem is not None:
        raise ProblemError("invalid-request", problem, errors=[("/alias", problem)])
    if (body.digest is None) == (body.version is None):
        told = "give either digest or version"
        raise ProblemError("invalid-request", told, errors=[("/digest", told)])
    stored, before = await context.store.transact(
        lambda s: _set(s, project, name, alias, body, actor=caller.actor), repeatable=True
    )
    return shown_alias(stored, previous_digest=before)


@router.delete("/pipelines/{name}/aliases/{alias}", status_code=204)
async def remove_alias(
    name: _Name, alias: str, context: ContextDep, caller: CallerDep, project: _Project = "default"
) -> None:
    """Take an alias away; its versions stay. Audited."""
    caller.need(Action.OPERATE, project)
    there = await context.store.transact(
        lambda s: aliases.remove_alias(s, project, name, alias, actor=caller.actor)
    )
    if not there:
        raise ProblemError("not-found", f"pipeline {name} of project {project} has no alias {alias}")


def _register(session: Session, project: str, pipeline: Pipeline, version: str | None, *, actor: str) -> bool:
    named = None
    if version is not None:
        named = specs.find_pipeline(session, project, pipeline.name, version)
        if named is not None and named.digest != pipeline.digest:
            told = f"version {version} of {pipeline.name} is another one, digest {named.digest[:16]}…"
            raise ProblemError("invalid-request", f"{told}; choose another name", errors=[("/version", told)])
        if aliases.find_alias(session, project, pipeline.name, version) is not None:
            told = f"{version} is an alias of {pipeline.name}; a version needs another name"
            raise ProblemError("invalid-request", told, errors=[("/version", told)])
    new = not specs.has_version(session, project, pipeline.name, pipeline.digest)
    before = specs.find_digest(session, project, pipeline.name)
    specs.store_spec(
        session,
        project,
        pipeline.name,
        pipeline.digest,
        pipeline.text,
        at=database_now(session),
        version_name=version,
    )
    if new or (version is not None and named is None):
        audit.record(
            session,
            "pipeline.register",
            actor=actor,
            data={"pipeline": pipeline.name, "version": version, "digest": pipeline.digest},
            before={"newest": before},
            after={"newest": specs.find_digest(session, project, pipeline.name)},
            project=project,
        )
    return new


def _set(
    session: Session, project: str, name: str, alias: str, body: AliasRequest, *, actor: str
) -> tuple[StoredAlias, str | None]:
    if specs.find_pipeline(session, project, name, alias) is not None:
        told = f"{alias} is the name of a version of {name}; an alias needs another name"
        raise ProblemError("invalid-request", told, errors=[("/alias", told)])
    digest = body.digest
    if digest is None:
        found = specs.find_pipeline(session, project, name, body.version)
        digest = "" if found is None else found.digest
    try:
        return aliases.set_alias(session, project, name, alias, digest, actor=actor)
    except NotStored as error:
        what = f"version {body.version}" if body.digest is None else f"version with digest {body.digest}"
        told = f"the bridge has no {what} of pipeline {name} in project {project}; register it first"
        place = "/version" if body.digest is None else "/digest"
        raise ProblemError("unknown-pipeline", told, errors=[(place, told)]) from error


def shown_alias(stored: StoredAlias, *, previous_digest: str | None = None) -> PipelineAliasModel:
    """An alias as the API shows it."""
    return PipelineAliasModel(
        pipeline=stored.pipeline,
        alias=stored.alias,
        digest=stored.digest,
        version_name=stored.version_name,
        project=stored.project,
        changed_at=stored.changed_at,
        previous_digest=previous_digest,
    )
