"""The seam between what executes a pipeline (the driver) and what remembers it (the store).

The driver tells a ``Recorder`` of every task in this order: ``task_created`` once, ``task_started``
once per attempt, ``task_finished`` once. A task that is never started (its condition was false, an
upstream task failed) goes from created straight to finished. One whose result comes from the cache is
started without a pod, so that its inputs are known. DAGs, loops, loop iterations and the root DAG are
tasks as well, of kind ``dag``; a parent is created before its children and finished after them.

The row of the run itself is not the driver's business: the server marks it RUNNING before
``RunExecutor.execute`` and stores the ``Outcome`` that it returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID, uuid5

from bridge.domain.states import RuntimeState
from bridge.spec.load import Pipeline

TaskKind = Literal["container", "dag", "importer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """An artifact as it travels between tasks.

    ``artifact_id`` is the store's (MLMD's) id, ``None`` until the store has given one. ``schema_title``
    is a type such as ``system.Model``; ``uri`` is ``file:///…`` for what lies on this machine.
    ``metadata`` holds JSON values only.
    """

    schema_title: str
    uri: str
    name: str = ""
    schema_version: str = "0.0.1"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    artifact_id: int | None = None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task gave: output parameters with their exact types, and lists of artifacts by output key."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[StoredArtifact, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCreated:
    """A task is known. ``task_id`` is ``task_id_of(kfp_run_id, path)``: when a run is retried, the task
    comes again under the same id, and what was recorded of its earlier life is reset.

    ``path`` joins the names from the root with ``.`` and tells iterations as ``name[3]``; the root DAG's
    is empty. A loop is a ``dag`` task with ``iteration_count``; its children are ``dag`` tasks of the same
    name, one per item, with ``iteration``. A loop over a plain component has iterations of that
    component's kind.
    """

    kfp_run_id: UUID
    task_id: UUID
    parent_task_id: UUID | None
    name: str
    display_name: str
    path: str
    kind: TaskKind
    created_at: datetime
    iteration: int | None = None
    iteration_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """An attempt of a task begins, with the inputs it gets. ``attempt`` counts from 0.

    ``pod_name`` is unique per attempt, over all runs; under it the log is asked for. DAGs, importers and
    tasks answered from the cache have neither pod nor log. ``platform`` is what the pipeline's Kubernetes
    document asks for the task, names resolved, secrets' values not in it; ``notes`` are sentences about what
    of it cannot be honoured here.
    """

    kfp_run_id: UUID
    task_id: UUID
    attempt: int
    started_at: datetime
    pod_name: str | None = None
    log_path: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[StoredArtifact, ...]] = field(default_factory=dict)
    iteration_count: int | None = None
    platform: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished:
    """A task is at its end: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    SKIPPED is a false condition, an upstream failure (``message`` says which) or, with ``cached_task_id``
    set, a result that came from the cache. ``message`` says in a sentence why a task failed or did not
    run. ``fingerprint`` is set when later tasks may take this result from the cache.
    """

    kfp_run_id: UUID
    task_id: UUID
    state: RuntimeState
    finished_at: datetime
    result: TaskResult = field(default_factory=TaskResult)
    message: str | None = None
    exit_code: int | None = None
    fingerprint: str | None = None
    cached_task_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedTask:
    """A finished task whose result may stand for a new one with the same fingerprint."""

    task_id: UUID
    result: TaskResult


class Recorder(Protocol):
    """Where the driver writes down what happens. Every method is durable when it returns.

    The driver calls from one event loop, concurrently for different tasks; a method that raises ends
    the run as FAILED. When a run is cancelled, ``task_finished`` may come for a task that was only just
    being created or finished, as the earlier call was interrupted: it is then ignored if the task is
    not known or already at its end.
    """

    async def task_created(self, task: TaskCreated) -> None:
        """A task is known, as PENDING."""

    async def task_started(self, start: TaskStarted) -> None:
        """The task is RUNNING; its inputs become events of its execution."""

    async def task_finished(self, end: TaskFinished) -> Mapping[str, tuple[int, ...]]:
        """The task is at its end. Artifacts in ``end.result`` without an id are stored and get one; those
        with an id are only linked. Returns the ids by output key, in the order given."""
        ...

    async def find_cached(self, fingerprint: str) -> CachedTask | None:
        """The newest SUCCEEDED task, of any run, that was recorded with this fingerprint."""
        ...

    async def find_artifact(self, artifact: StoredArtifact) -> int | None:
        """The id of an artifact with the same uri, type and metadata, for an importer that need not import
        again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunToExecute:
    """One run, ready to be executed.

    ``parameters`` are the arguments as given (``check_arguments`` has passed them); defaults are filled
    in by the driver. ``pipeline_root`` is a URI or path under which artifacts go; ``None`` means
    ``<data_dir>/artifacts/<pipeline>/<kfp_run_id>``. Only local roots can be written to. ``caching`` is
    the run's own wish: ``False`` turns caching off for all tasks, ``None`` and ``True`` leave it to each
    task. ``scheduled_at`` is the time for which a recurring run made it. ``secrets_dir`` holds secrets and
    config maps, ``<name>/<key>``.
    When a run is retried, ``retry`` counts up from 0 and ``finished`` holds what its SUCCEEDED and
    cached tasks gave, by task path: these are not run again and not recorded again.
    """

    kfp_run_id: UUID
    display_name: str
    pipeline: Pipeline
    parameters: Mapping[str, Any]
    data_dir: Path
    pipeline_root: str | None = None
    caching: bool | None = None
    scheduled_at: datetime | None = None
    secrets_dir: Path | None = None
    retry: int = 0
    finished: Mapping[str, TaskResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: SUCCEEDED, FAILED or CANCELED, why, and what the pipeline gave.

    ``failed_tasks`` holds the paths of the tasks that failed by themselves, in the order they did.
    """

    state: RuntimeState
    message: str | None = None
    failed_tasks: Sequence[str] = ()
    result: TaskResult = field(default_factory=TaskResult)


def task_id_of(kfp_run_id: UUID, path: str) -> UUID:
    """The id of the task with this path in a run: the same whenever it is asked for."""
    return uuid5(kfp_run_id, f"task:{path}")
