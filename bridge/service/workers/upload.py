"""Makes sure a backend holds a compiled pipeline and an experiment, once per digest and namespace."""

from __future__ import annotations

import asyncio
import logging

from bridge.domain.lineage import Run
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpConflict, KfpError, KfpInvalid, KfpNotFound, KfpServerError
from bridge.kfp_api.messages import Pipeline, PipelineVersion
from bridge.lineage import specs
from bridge.lineage.records import BackendVersion, StoredSpec
from bridge.service.backends import Backend
from bridge.service.store import Store

log = logging.getLogger(__name__)

DIGEST_PREFIX = 16
DEFAULT_EXPERIMENT = "Default"
_VERSION_PAGES = 20


class SpecGone(Exception):
    """The database holds no text for the digest a run names; such a run can never be sent."""


async def ensure_version(store: Store, backend: Backend, run: Run, namespace: str) -> BackendVersion:
    """Where the backend keeps the run's pipeline; uploads it first if it does not. Errors: ``KfpError``."""
    digest = run.pipeline.digest
    known = await store.read(lambda s: specs.find_version(s, backend.name, namespace, digest))
    if known is not None:
        return known
    lock = backend.upload_locks.setdefault((namespace, digest), asyncio.Lock())
    async with lock:
        known = await store.read(lambda s: specs.find_version(s, backend.name, namespace, digest))
        if known is not None:
            return known
        spec = await store.read(lambda s: specs.get_spec(s, run.project, digest))
        if spec is None:
            raise SpecGone(f"no spec with the digest {digest} is stored")
        version = await _upload(backend.client, backend.name, namespace, spec)
        await store.transact(lambda s: specs.remember_version(s, version), repeatable=True)
        log.info("pipeline uploaded", extra={"backend": backend.name, "version": version.version_name})
    return version


async def forget_version(store: Store, backend: Backend, run: Run, namespace: str) -> None:
    """The backend says it has no such version: the next try uploads it again."""
    digest = run.pipeline.digest
    await store.transact(lambda s: specs.forget_version(s, backend.name, namespace, digest), repeatable=True)


async def ensure_experiment(backend: Backend, name: str, namespace: str) -> str:
    """The id of the experiment of that name, made if it does not exist. Errors: ``KfpError``."""
    known = backend.experiments.get((namespace, name))
    if known is None:
        experiment = await backend.client.ensure_experiment(name, namespace or None)
        known = experiment.experiment_id or ""
        backend.experiments[(namespace, name)] = known
    return known


async def _upload(client: KfpClient, backend: str, namespace: str, spec: StoredSpec) -> BackendVersion:
    version_name = spec.digest[:DIGEST_PREFIX]
    pipeline_id, version = await _find_or_register(client, spec, namespace, version_name)
    if version is None:
        version = await _upload_version(client, spec, pipeline_id, version_name)
    return BackendVersion(
        backend=backend,
        namespace=namespace,
        digest=spec.digest,
        pipeline_id=pipeline_id,
        version_id=version.pipeline_version_id or "",
        pipeline_name=spec.name,
        version_name=version.display_name or version.name or version_name,
    )


async def _find_or_register(
    client: KfpClient, spec: StoredSpec, namespace: str, version_name: str
) -> tuple[str, PipelineVersion | None]:
    """The pipeline's id and the version that holds the spec, if there is one already.

    Registering a pipeline makes its first version with it, which KFP names after the pipeline.
    """
    try:
        found = await client.get_pipeline_by_name(spec.name, namespace or None)
    except KfpNotFound:
        try:
            made = await client.upload_pipeline(spec.text, spec.name, namespace or None)
        except (KfpConflict, KfpServerError, KfpInvalid) as error:
            # Somebody else may have made it in between, which several releases answer with 400 or 500.
            found = await _pipeline_made_meanwhile(client, spec.name, namespace, error)
        else:
            pipeline_id = made.pipeline_id or ""
            return pipeline_id, await find_version(client, pipeline_id, spec.name)
    pipeline_id = found.pipeline_id or ""
    return pipeline_id, await find_version(client, pipeline_id, version_name)


async def _pipeline_made_meanwhile(client: KfpClient, name: str, namespace: str, error: KfpError) -> Pipeline:
    try:
        return await client.get_pipeline_by_name(name, namespace or None)
    except KfpNotFound:
        raise error from None


async def _upload_version(
    client: KfpClient, spec: StoredSpec, pipeline_id: str, version_name: str
) -> PipelineVersion:
    try:
        return await client.upload_pipeline_version(spec.text, pipeline_id, version_name)
    except (KfpConflict, KfpServerError, KfpInvalid) as error:
        # The answer to an earlier upload may have been lost; only if it is there was it that.
        version = await find_version(client, pipeline_id, version_name)
        if version is None:
            raise error from None
        return version


async def find_version(client: KfpClient, pipeline_id: str, name: str) -> PipelineVersion | None:
    """The pipeline's version of that name, looked for page by page. Errors: ``KfpError``."""
    token: str | None = None
    for _ in range(_VERSION_PAGES):
        page = await client.list_versions(pipeline_id, page_token=token)
        for version in page.pipeline_versions:
            if name in (version.name, version.display_name):
                return version
        token = page.next_page_token
        if not token:
            return None
    return None
