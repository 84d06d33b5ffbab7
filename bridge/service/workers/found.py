"""Runs that others started on a backend: written down, so that they are followed and mirrored too."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID, uuid4

import anyio.to_thread
from sqlmodel import Session

from bridge.domain.identity import Origin, canonical_json
from bridge.domain.lineage import PipelineRef, Run
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpError, KfpNotFound
from bridge.lineage import runs, specs
from bridge.lineage.database import now as database_now
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.spec.load import Pipeline, SpecError, load_pipeline

log = logging.getLogger(__name__)

UNKNOWN_PIPELINE = PipelineRef(name="unknown", digest="")
_REMEMBERED_VERSIONS = 500


class FoundRuns:
    """Adds runs of one backend to the history, with their pipeline as far as it can be told."""

    def __init__(self, context: Context, backend: Backend) -> None:
        self._context = context
        self._store = context.store
        self._backend = backend
        self._versions: OrderedDict[str, PipelineRef] = OrderedDict()

    async def add(self, told: Sequence[messages.Run], namespace: str) -> None:
        """Store runs nobody here knows; what the backend says of their state is recorded by the caller."""
        pipelines = [await self._pipeline_of(message) for message in told]

        def write(session: Session) -> list[Run]:
            return [
                runs.add_found_run(session, self._run(session, message, namespace, pipeline))
                for message, pipeline in zip(told, pipelines, strict=True)
            ]

        for added in await self._store.change(write, repeatable=True):
            log.info("run found", extra={"run_id": added.run_id, "kfp_run_id": added.kfp_run_id})

    def _run(self, session: Session, message: messages.Run, namespace: str, pipeline: PipelineRef) -> Run:
        config = message.runtime_config
        labels = {"kfp.recurring_run_id": message.recurring_run_id} if message.recurring_run_id else {}
        return Run(
            run_id=uuid4(),
            kfp_run_id=UUID(message.run_id or ""),
            backend=self._backend.name,
            project=self._backend.settings.found_runs_project,
            namespace=namespace or None,
            submission_key=None,
            attempt=1,
            pipeline=pipeline,
            display_name=message.display_name or message.run_id or "",
            experiment=None,
            phase=RunPhase.ACTIVE,
            state=RuntimeState.UNSPECIFIED,
            mirror=MirrorState.NONE,
            version=1,
            created_at=message.created_at or database_now(session),
            started_at=message.created_at,
            arguments=dict(config.parameters) if config and config.parameters else {},
            labels=labels,
            origin=Origin(),
        )

    async def _pipeline_of(self, message: messages.Run) -> PipelineRef:
        reference = message.pipeline_version_reference
        if message.pipeline_spec:
            return await self._register(message.pipeline_spec, None)
        if not reference or not reference.pipeline_id or not reference.pipeline_version_id:
            return UNKNOWN_PIPELINE
        known = self._versions.get(reference.pipeline_version_id)
        if known is not None:
            return known
        try:
            version = await self._backend.client.get_version(
                reference.pipeline_id, reference.pipeline_version_id
            )
        except KfpNotFound:
            # Deleted, which a thousand runs of it do not make undone.
            return self._remember(reference.pipeline_version_id, UNKNOWN_PIPELINE)
        except KfpError as error:
            log.warning("pipeline of a found run cannot be read", extra={"error": str(error)})
            return UNKNOWN_PIPELINE
        pipeline = UNKNOWN_PIPELINE
        if version.pipeline_spec:
            pipeline = await self._register(version.pipeline_spec, version.display_name or version.name)
        return self._remember(reference.pipeline_version_id, pipeline)

    def _remember(self, version_id: str, pipeline: PipelineRef) -> PipelineRef:
        self._versions[version_id] = pipeline
        while len(self._versions) > _REMEMBERED_VERSIONS:
            self._versions.popitem(last=False)
        return pipeline

    async def _register(self, document: dict[str, object], version_name: str | None) -> PipelineRef:
        """Keep a spec that came from the backend, and give its name and digest."""
        try:
            pipeline = await anyio.to_thread.run_sync(_load, document)
        except (SpecError, ValueError) as error:
            log.warning("spec of a found run is not understood", extra={"error": str(error)})
            return UNKNOWN_PIPELINE
        project = self._backend.settings.found_runs_project

        def write(session: Session) -> None:
            specs.store_spec(
                session, project, pipeline.name, pipeline.digest, pipeline.text, at=database_now(session)
            )

        await self._store.transact(write, repeatable=True)
        return PipelineRef(name=pipeline.name, digest=pipeline.digest, version_name=version_name)


def _load(document: dict[str, object]) -> Pipeline:
    return load_pipeline(canonical_json(document))
