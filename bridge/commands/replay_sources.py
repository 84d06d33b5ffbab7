"""Where a replay learns what a task was given: from the bridge, or from the backend itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from bridge.commands.failures import FAILED, CommandError
from bridge.domain.lineage import Direction
from bridge.domain.uris import local_path

if TYPE_CHECKING:
    from bridge.client.models import ArtifactModel, TaskModel
    from bridge.client.sync import BridgeClient
    from bridge.domain.lineage import Artifact, Task
    from bridge.kfp_api.client import KfpClient
    from bridge.kfp_api.messages import Run
    from bridge.local.recording import StoredArtifact
    from bridge.spec.load import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenArtifact:
    """An input artifact of a task: under which key, the how-manieth of a list, and what it is."""

    key: str
    index: int
    type: str
    uri: str | None
    name: str
    metadata: dict[str, Any]
    artifact_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTask:
    """A task of a run with all that it was given."""

    path: str
    state: str
    parameters: dict[str, Any]
    artifacts: tuple[GivenArtifact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRun:
    """A run, its pipeline and its tasks."""

    kfp_run_id: UUID
    display_name: str
    pipeline: Pipeline
    tasks: tuple[GivenTask, ...]

    def task(self, wanted: str | None) -> GivenTask:
        """The task with that path, or the failed one furthest down. Raises ``CommandError``."""
        by_path = {task.path: task for task in self.tasks if task.path}
        if wanted is not None:
            if wanted not in by_path:
                known = ", ".join(by_path) or "none"
                raise CommandError(f"the run has no task {wanted}", to_do=f"its tasks are: {known}")
            return by_path[wanted]
        failed = [task for task in by_path.values() if task.state == "FAILED"]
        deepest = [one for one in failed if not any(_is_below(other.path, one.path) for other in failed)]
        if not deepest:
            raise CommandError(
                "no task of the run failed", to_do=f"say which to replay: {', '.join(by_path) or 'none'}"
            )
        return deepest[0]


Fetch = Callable[[GivenArtifact, Path], None]
"""Writes the content of an artifact that is not on this machine to a file. Raises ``CommandError``."""


def from_bridge(client: BridgeClient, run_id: UUID) -> GivenRun:
    """The run as the bridge keeps it."""
    run = client.get_run(run_id)
    return GivenRun(
        kfp_run_id=run.kfp_run_id,
        display_name=run.display_name,
        pipeline=_load(client.spec(run_id)),
        tasks=_given_tasks(client.tasks(run_id), client.artifacts(run_id)),
    )


async def from_backend(kfp: KfpClient, kfp_run_id: UUID) -> GivenRun:
    """The run as KFP and its metadata keep it."""
    from bridge.kfp_api.choosing import ChoosingReader

    run = await kfp.get_run(kfp_run_id)
    mirror = await ChoosingReader(kfp).read_run(kfp_run_id, run.task_details)
    if mirror is None:
        raise CommandError(
            f"the backend has no metadata of run {kfp_run_id}: it expired, or nothing of it began",
            exit_code=FAILED,
        )
    return GivenRun(
        kfp_run_id=kfp_run_id,
        display_name=run.display_name or str(kfp_run_id),
        pipeline=_load(json.dumps(await _spec_of(kfp, run))),
        tasks=_given_tasks(mirror.tasks, mirror.artifacts),
    )


def _given_tasks(
    tasks: Sequence[TaskModel | Task], artifacts: Sequence[ArtifactModel | Artifact]
) -> tuple[GivenTask, ...]:
    """Each task with its input artifacts. The artifacts' uses are those within the run."""
    given: dict[str, list[GivenArtifact]] = {}
    for artifact in artifacts:
        for use in artifact.uses:
            if use.direction == Direction.INPUT:
                given.setdefault(use.task_path, []).append(
                    GivenArtifact(
                        key=use.key,
                        index=use.index,
                        type=artifact.type,
                        uri=artifact.uri,
                        name=artifact.name or use.key,
                        metadata=dict(artifact.metadata),
                        artifact_id=artifact.artifact_id,
                    )
                )
    return tuple(
        GivenTask(
            path=task.path,
            state=str(task.state),
            parameters=dict(task.inputs),
            artifacts=tuple(given.get(task.path, ())),
        )
        for task in tasks
    )


async def _spec_of(kfp: KfpClient, run: Run) -> Any:
    reference = run.pipeline_version_reference
    if run.pipeline_spec:
        return run.pipeline_spec
    if reference is None or not reference.pipeline_id or not reference.pipeline_version_id:
        raise CommandError(f"run {run.run_id} does not say which pipeline it ran", exit_code=FAILED)
    version = await kfp.get_version(reference.pipeline_id, reference.pipeline_version_id)
    return version.pipeline_spec


def _load(text: str) -> Pipeline:
    from bridge.spec.errors import SpecError
    from bridge.spec.load import load_pipeline

    try:
        return load_pipeline(text)
    except SpecError as error:
        raise CommandError(
            "the pipeline of the run cannot be read here", details=error.problems, exit_code=FAILED
        ) from error


def bring(
    artifacts: Sequence[GivenArtifact], folder: Path, fetch: Fetch
) -> dict[str, tuple[StoredArtifact, ...]]:
    """The artifacts with URIs that can be read here: files of this machine where they are, others are
    fetched below ``folder``. Raises ``CommandError``."""
    from bridge.local.recording import StoredArtifact

    brought: dict[str, list[StoredArtifact]] = {}
    for one in sorted(artifacts, key=lambda artifact: (artifact.key, artifact.index)):
        brought.setdefault(one.key, []).append(
            StoredArtifact(
                schema_title=one.type,
                schema_version="0.0.1",
                uri=_place(one, folder, fetch),
                name=one.name,
                metadata=one.metadata,
            )
        )
    return {key: tuple(found) for key, found in brought.items()}


def _place(artifact: GivenArtifact, folder: Path, fetch: Fetch) -> str:
    if not artifact.uri:
        return ""
    path = local_path(artifact.uri)
    if path is not None and Path(path).exists():
        return artifact.uri
    name = Path(urlsplit(artifact.uri).path).name or artifact.key
    target = folder / artifact.key / str(artifact.index) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    obstacle = _fetch_from_store(artifact.uri, target)
    if obstacle is not None:
        try:
            fetch(artifact, target)
        except CommandError as error:
            raise CommandError(
                f"the input {artifact.key} cannot be fetched from {artifact.uri}",
                details=[obstacle, error.happened, *error.details],
                to_do=error.to_do,
                exit_code=FAILED,
            ) from error
    return target.as_uri()


def _fetch_from_store(uri: str, target: Path) -> str | None:
    """Straight from the object store, where its library and credentials are here; else why not."""
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file", "minio", "oci"):
        return f"no library reads {scheme or 'bare'} addresses"
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        return f"fsspec: {error}"
    try:
        system.get(path, str(target), recursive=bool(system.isdir(path)))
    except Exception as error:
        # Each store's library raises errors of its own; the caller tells this one if no other way works.
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        return f"{scheme}: {type(error).__name__}: {error}"
    return None


def _is_below(path: str, ancestor: str) -> bool:
    return path.startswith((f"{ancestor}.", f"{ancestor}["))
