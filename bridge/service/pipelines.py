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
    request switches caching, which makes another text of it and no other version. ``is_stored``: the version
    was found in the database, where versions stay."""

    pipeline: Pipeline
    version: Pipeline
    version_name: str | None = None
    alias: str | None = None
    is_stored: bool = False

    @property
    def reference(self) -> PipelineRef:
        """What the run records."""
        return PipelineRef(
            name=self.pipeline.name,
            digest=self.pipeline.digest,
            version_name=self.version_name,
            alias=self.alias,
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """A registered pipeline as a request names it."""

    project: str
    name: str
    version: str | None
    alias: str | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference means now: the digest of a stored spec, and its version's name where one is known."""

    digest: str
    version_name: str | None


def reference_of(request: SubmitRequest) -> Reference | None:
    """The registered pipeline that a request names, if it names one."""
    named = request.pipeline
    return Reference(request.project, named.name, named.version, named.alias) if named is not None else None


class PipelineSource:
    """Loads pipelines, and remembers the last few: a retraining submits the same text every day."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By the sha256 of the text that was loaded, and by the pipeline's own digest.
        self._loaded: OrderedDict[str, Pipeline] = OrderedDict()

    async def find(
        self, request: SubmitRequest, resolved: Resolved | None, backend: Backend, namespace: str | None
    ) -> Found:
        """The pipeline that a request means; ``resolved`` is what ``resolve`` said of its reference. Raises
        ``ProblemError``."""
        if (request.spec is None) == (request.pipeline is None):
            text = "give either spec (a compiled pipeline) or pipeline (the name of a registered one)"
            raise ProblemError("invalid-request", text, errors=[("/spec", text)])
        if request.spec is not None:
            pipeline = await self.load(request.spec)
            found = Found(pipeline, pipeline)
        else:
            assert request.pipeline is not None
            pipeline, version = await self._registered(
                request.project, request.pipeline, resolved, backend, namespace
            )
            is_stored = resolved is not None
            found = Found(pipeline, pipeline, version, request.pipeline.alias, is_stored)
        if request.caching is not None:
            found = replace(found, pipeline=await self.load(_with_caching(pipeline, request.caching)))
        return found

    async def load(self, text: str) -> Pipeline:
        """The pipeline a text means; parsed in a thread. Raises ``ProblemError`` invalid-pipeline."""
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        known = self._remembered(name)
        if known is not None:
            return known
        try:
            pipeline = await anyio.to_thread.run_sync(_load, text)
        except SpecError as error:
            problems = [("/spec", problem) for problem in error.problems]
            raise ProblemError("invalid-pipeline", " ".join(error.problems), errors=problems) from error
        for known_as in (name, pipeline.digest):
            self._loaded[known_as] = pipeline
        while len(self._loaded) > 2 * _REMEMBERED:
            self._loaded.popitem(last=False)
        return pipeline

    def _remembered(self, name: str) -> Pipeline | None:
        known = self._loaded.get(name)
        if known is not None:
            self._loaded.move_to_end(name)
        return known

    async def _registered(
        self,
        project: str,
        wanted: PipelineVersionModel,
        resolved: Resolved | None,
        backend: Backend,
        namespace: str | None,
    ) -> tuple[Pipeline, str | None]:
        """A registered pipeline, and its version's name where one is known."""
        if resolved is not None:
            return await self._by_digest(project, resolved.digest), resolved.version_name
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
        return await self.load(canonical_json(version.pipeline_spec)), named

    async def _by_digest(self, project: str, digest: str) -> Pipeline:
        known = self._remembered(digest)
        if known is not None:
            return known
        spec = await self._store.read(lambda s: specs.get_spec(s, project, digest))
        assert spec is not None, "specs are kept"
        return await self.load(spec.text)

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


def resolve(session: Session, wanted: Reference) -> Resolved | None:
    """What a reference means now; ``None`` if the bridge knows no such pipeline."""
    if wanted.alias is not None:
        alias = aliases.find_alias(session, wanted.project, wanted.name, wanted.alias)
        if alias is not None and specs.has_spec(session, wanted.project, alias.digest):
            return Resolved(alias.digest, alias.version_name)
    named = wanted.version or wanted.alias
    digest = specs.find_digest(session, wanted.project, wanted.name, named)
    return None if digest is None else Resolved(digest, named)


def _load(text: str) -> Pipeline:
    return load_pipeline(text)


def _with_caching(pipeline: Pipeline, enable: bool) -> str:
    """The pipeline's text with caching switched for every task, as ``kfp.Client`` does before it submits."""
    document = with_caching(pipeline.document, enable)
    documents = [document, *([{"platforms": dict(pipeline.platforms)}] if pipeline.platforms else [])]
    return yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)
