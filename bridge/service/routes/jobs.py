"""``/jobs`` and ``/datasets``: Airflow's side, as OpenLineage and asset events told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, TypeVar
from urllib.parse import unquote
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from sqlmodel import Session

from bridge.client.lineage import DatasetModel, DatasetVersionModel, JobModel, JobRunModel
from bridge.client.models import Page
from bridge.domain.redaction import redact_uri
from bridge.lineage import browsing
from bridge.lineage.browsing import StoredDataset, StoredVersion
from bridge.lineage.errors import CursorError
from bridge.service.context import Context
from bridge.service.convert import job_run_model, origin_model
from bridge.service.problems import ProblemError
from bridge.service.routes.common import MAX_LIMIT, CallerDep, ContextDep

router = APIRouter(tags=["jobs"])

T = TypeVar("T")
_JOBS = b"/jobs/"
_RUNS = b"/runs"


class PageQuery(BaseModel):
    """Which page."""

    cursor: str | None = Field(default=None, description="The `next_cursor` of the page before.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="How many, at most.")


Paging = Annotated[PageQuery, Depends()]
Project = Annotated[str | None, Query(description="Only of this project.")]


@router.get("/jobs", response_model=Page[JobModel])
async def list_jobs(
    context: ContextDep,
    caller: CallerDep,
    paging: Paging,
    project: Project = None,
    namespace: str | None = None,
) -> Page[JobModel]:
    """Jobs as OpenLineage names them (DAGs and tasks), those that were heard of last first."""
    page = paging.model_dump()
    projects = caller.narrowed_to(project)
    found, following = await _read(
        context, lambda s: browsing.list_jobs(s, projects=projects, namespace=namespace, **page)
    )
    return Page(items=[JobModel(**asdict(one)) for one in found], next_cursor=following)


@router.get("/jobs/{namespace}/{name}/runs", response_model=Page[JobRunModel])
async def runs_of_job(
    context: ContextDep,
    caller: CallerDep,
    namespace: str,
    name: str,
    paging: Paging,
    *,
    project: str = "default",
) -> Page[JobRunModel]:
    """The runs of a job, newest first; a slash in the namespace or the name is written ``%2F``."""
    seen = caller.sees(project)
    job = await context.store.read(lambda s: browsing.find_job(s, project, namespace, name)) if seen else None
    if job is None:
        raise ProblemError("not-found", f"project {project} has no job {name} in the namespace {namespace}")
    page = paging.model_dump()
    found, following = await _read(context, lambda s: browsing.runs_of_job(s, job, **page))
    return Page(items=[job_run_model(one) for one in found], next_cursor=following)


@router.get("/jobs/{rest:path}/runs", response_model=Page[JobRunModel], include_in_schema=False)
async def runs_of_job_with_slashes(
    request: Request, context: ContextDep, caller: CallerDep, paging: Paging, project: str = "default"
) -> Page[JobRunModel]:
    """The same for a namespace or a name with a slash."""
    namespace, name = _job_of(request)
    return await runs_of_job(context, caller, namespace, name, paging, project=project)


@router.get("/datasets", response_model=Page[DatasetModel])
async def list_datasets(
    context: ContextDep,
    caller: CallerDep,
    paging: Paging,
    project: Project = None,
    uri: Annotated[str | None, Query(description="The one at this URI, in any spelling.")] = None,
) -> Page[DatasetModel]:
    """Where data lies: what ETL tasks wrote and what runs were given."""
    page = paging.model_dump()
    projects = caller.narrowed_to(project)
    found, following = await _read(
        context, lambda s: browsing.list_datasets(s, projects=projects, uri=uri, **page)
    )
    return Page(items=[_dataset_model(one) for one in found], next_cursor=following)


@router.get("/datasets/{dataset_id}", response_model=DatasetModel)
async def get_dataset(context: ContextDep, caller: CallerDep, dataset_id: UUID) -> DatasetModel:
    """One dataset."""
    found = await context.store.read(lambda s: browsing.find_dataset(s, dataset_id))
    if found is None or not caller.sees(found.project):
        raise ProblemError("not-found", f"there is no dataset {dataset_id}")
    return _dataset_model(found)


@router.get("/datasets/{dataset_id}/versions", response_model=Page[DatasetVersionModel])
async def versions_of_dataset(
    context: ContextDep, caller: CallerDep, dataset_id: UUID, paging: Paging
) -> Page[DatasetVersionModel]:
    """What a dataset held, newest first, and who wrote it."""
    await get_dataset(context, caller, dataset_id)
    page = paging.model_dump()
    found, following = await _read(context, lambda s: browsing.versions_of_dataset(s, dataset_id, **page))
    return Page(items=[_version_model(one) for one in found], next_cursor=following)


def _dataset_model(one: StoredDataset) -> DatasetModel:
    return DatasetModel(**(asdict(one) | {"uri": redact_uri(one.uri)}))


def _version_model(one: StoredVersion) -> DatasetVersionModel:
    facts = asdict(one) | {"uri": redact_uri(one.uri)}
    facts["producer"] = origin_model(one.producer) if one.producer else None
    return DatasetVersionModel(**facts)


async def _read(context: Context, work: Callable[[Session], T]) -> T:
    try:
        return await context.store.read(work)
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error


def _job_of(request: Request) -> tuple[str, str]:
    """Namespace and name as they stand in the address: once it is decoded, slashes of the two and those
    between them cannot be told apart."""
    raw: bytes = request.scope["raw_path"].partition(b"?")[0]
    inside = raw.partition(_JOBS)[2].removesuffix(_RUNS)
    parts = [unquote(part) for part in inside.decode("ascii", "replace").split("/")]
    if len(parts) != 2 or not all(parts):
        raise ProblemError("not-found", "a job is named /jobs/{namespace}/{name}/runs; write a slash as %2F")
    return parts[0], parts[1]
