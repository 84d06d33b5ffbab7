"""Finds the compiled pipeline a request means: in the request, in the database, or at the backend."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace

import anyio.to_thread
import yaml
from sqlmodel import Session

from bridge.client.models import PipelineVersionModel, SubmitRequest
from bridge.domain.identity import canonical_json
from bridge.domain.lineage import PipelineRef
from bridge.kfp_api.errors import KfpError, KfpNotFound
from bridge.kfp_api.messages import PipelineVersion
from bridge.lineage import aliases, specs
from bridge.service.backends import Backend
from bridge.service.problems import ProblemError
from bridge.service.store import Store
from bridge.service.workers.upload import find_version
from bridge.spec.caching import with_caching
from bridge.spec.load import Pipeline, SpecError, load_pipeline

_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Found:
    """A pipeline to run. ``version`` is what was sent or registered; ``pipeline`` is the same unless the
    request switches caching, which makes another text of it and no other version."""

    pipeline: Pipeline
    version: Pipeline
    version_name: str | None = None
    alias: str | None = None

    @property
    def reference(self) -> PipelineRef:
        """What the run records."""
        return PipelineRef(
            name=self.pipeline.name,
            digest=self.pipeline.digest,
            version_name=self.version_name,
            alias=self.alias,
        )


class PipelineSource:
    """Loads pipelines, and remembers the last few: a retraining submits the same text every day."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loaded: OrderedDict[str, Pipeline] = OrderedDict()

    async def find(self, request: SubmitRequest, backend: Backend, namespace: str | None) -> Found:
        """The pipeline that a request means. Raises ``ProblemError``."""
        if (request.spec is None) == (request.pipeline is None):
            text = "give either spec (a compiled pipeline) or pipeline (the name of a registered one)"
            raise ProblemError("invalid-request", text, errors=[("/spec", text)])
        if request.spec is not None:
            pipeline = await self.load(request.spec)
            found = Found(pipeline, pipeline)
        else:
            assert request.pipeline is not None
            text, version = await self._registered(request.project, request.pipeline, backend, namespace)
            pipeline = await self.load(text)
            found = Found(pipeline, pipeline, version, request.pipeline.alias)
        if request.caching is not None:
            found = replace(found, pipeline=await self.load(_with_caching(pipeline, request.caching)))
        return found

    async def load(self, text: str) -> Pipeline:
        """The pipeline a text means; parsed in a thread. Raises ``ProblemError`` invalid-pipeline."""
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._loaded.get(name)
        if known is not None:
            self._loaded.move_to_end(name)
            return known
        try:
            pipeline = await anyio.to_thread.run_sync(_load, text)
        except SpecError as error:
            problems = [("/spec", problem) for problem in error.problems]
            raise ProblemError("invalid-pipeline", " ".join(error.problems), errors=problems) from error
        self._loaded[name] = pipeline
        while len(self._loaded) > _REMEMBERED:
            self._loaded.popitem(last=False)
        return pipeline

    async def _registered(
        self, project: str, wanted: PipelineVersionModel, backend: Backend, namespace: str | None
    ) -> tuple[str, str | None]:
        """The text of a registered pipeline, and its version's name where one is known."""
        stored = await self._store.read(lambda s: _stored(s, project, wanted))
        if stored is not None:
            return stored
        named = wanted.version or wanted.alias
        version = await self._at_backend(wanted.name, named, backend, namespace)
        if version is None or not version.pipeline_spec:
            kind = "version" if wanted.version else "alias or version"
            what = f"{wanted.name} {kind} {named}" if named else wanted.name
            told = (
                f"neither the bridge (project {project}) nor backend {backend.name} knows a pipeline {what}; "
                "send its compiled spec once, or upload it there"
            )
            raise ProblemError("unknown-pipeline", told, errors=[("/pipeline/name", told)])
        return canonical_json(version.pipeline_spec), named

    async def _at_backend(
        self, name: str, named: str | None, backend: Backend, namespace: str | None
    ) -> PipelineVersion | None:
        try:
            pipeline = await backend.client.get_pipeline_by_name(name, namespace)
            pipeline_id = pipeline.pipeline_id or ""
            if named is not None:
                return await find_version(backend.client, pipeline_id, named)
            page = await backend.client.list_versions(pipeline_id, sort_by="created_at desc", page_size=1)
        except KfpNotFound:
            return None
        except KfpError as error:
            raise ProblemError(
                "backend-unavailable",
                f"pipeline {name} is not known here, and backend {backend.name} cannot be asked: "
                f"{error.message}",
                retry_after_seconds=error.retry_after_seconds or 5.0,
            ) from error
        return next(iter(page.pipeline_versions), None)


def _stored(session: Session, project: str, wanted: PipelineVersionModel) -> tuple[str, str | None] | None:
    if wanted.alias is not None:
        alias = aliases.find_alias(session, project, wanted.name, wanted.alias)
        spec = None if alias is None else specs.get_spec(session, project, alias.digest)
        if alias is not None and spec is not None:
            return spec.text, alias.version_name
    named = wanted.version or wanted.alias
    found = specs.find_pipeline(session, project, wanted.name, named)
    return None if found is None else (found.text, named)


def _load(text: str) -> Pipeline:
    return load_pipeline(text)


def _with_caching(pipeline: Pipeline, enable: bool) -> str:
    """The pipeline's text with caching switched for every task, as ``kfp.Client`` does before it submits."""
    document = with_caching(pipeline.document, enable)
    documents = [document, *([{"platforms": dict(pipeline.platforms)}] if pipeline.platforms else [])]
    return yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)
