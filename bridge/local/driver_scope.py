"""What the driver carries while it executes: the run's context, scopes of DAGs, ends of tasks, inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from bridge.domain.states import RuntimeState
from bridge.local.claims import Claims
from bridge.local.launcher import Runner
from bridge.local.object_store import ObjectStore
from bridge.local.recording import Recorder, RunToExecute, StoredArtifact, TaskResult, task_id_of
from bridge.local.secrets import SecretFiles
from bridge.spec.model import Component, PipelineModel, Retry, Task

# A timer may go off a clock tick before its time.
_TIMER_PLAY_SECONDS = 0.01

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The resolved inputs of a task. A parameter that has no value at all is not in ``parameters``."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[StoredArtifact, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How a task ended. A cached task ends SUCCEEDED here; SKIPPED means it gave nothing."""

    state: RuntimeState
    result: TaskResult = field(default_factory=TaskResult)
    message: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether what the task gives can be used."""
        return self.state is RuntimeState.SUCCEEDED


@dataclass(slots=True)
class Scope:
    """A DAG while it is executed: its inputs, and how its tasks ended so far.

    ``retry`` is the policy of those of its tasks that have none of their own.
    """

    component: Component
    path: str
    task_id: UUID
    inputs: Inputs
    retry: Retry | None = None
    ends: dict[str, TaskEnd] = field(default_factory=dict)

    def path_of(self, task: Task, iteration: int | None = None) -> str:
        """The path of a task of this DAG, or of one of its iterations."""
        path = f"{self.path}.{task.name}" if self.path else task.name
        return path if iteration is None else f"{path}[{iteration}]"


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a run has to be over: ``limit_seconds`` after its start, at ``at`` on the loop's clock."""

    limit_seconds: float
    at: float

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return asyncio.get_running_loop().time() >= self.at - _TIMER_PLAY_SECONDS

    @property
    def message(self) -> str:
        """A sentence for what was still going on."""
        return f"The run was ended after {self.limit_seconds:g} s, its active deadline."


@dataclass(slots=True)
class RunContext:
    """What all parts of one run's execution share. ``artifact_root`` is a path, or a URI in ``objects``."""

    run: RunToExecute
    recorder: Recorder
    runner: Runner
    slots: asyncio.Semaphore
    artifact_root: str
    started_at: datetime
    objects: ObjectStore | None = None
    cancel_requested: bool = False
    deadline: Deadline | None = None
    failed_tasks: list[str] = field(default_factory=list)

    @property
    def model(self) -> PipelineModel:
        """The pipeline that is executed."""
        return self.run.pipeline.model

    @property
    def honours(self) -> frozenset[str]:
        """What of a launch the runner sees to; one that does not say sees to nothing."""
        return getattr(self.runner, "honours", frozenset())

    @property
    def secrets(self) -> SecretFiles:
        """Where secrets and config maps are looked up."""
        return SecretFiles(self.run.secrets_dir)

    @property
    def claims(self) -> Claims:
        """The volume claims, which all runs of the backend share."""
        return Claims(self.run.data_dir / "claims")

    @property
    def run_dir(self) -> Path:
        """The folder of the run's logs and working files."""
        return self.run.data_dir / "runs" / str(self.run.kfp_run_id)

    @property
    def resource_name(self) -> str:
        """What KFP calls the run's resource: the pipeline's name and a short id."""
        return f"{self.model.name}-{self.run.kfp_run_id.hex[:5]}"

    def task_id(self, path: str) -> UUID:
        """The id of the task at a path."""
        return task_id_of(self.run.kfp_run_id, path)

    def names(self, task_name: str, task_id: UUID) -> dict[str, str]:
        """What the placeholders that name run and task stand for."""
        created = self.started_at.strftime(_TIME)
        scheduled = (self.run.scheduled_at or self.started_at).strftime(_TIME)
        return {
            "pipeline_job_name": self.run.display_name,
            "pipeline_job_resource_name": self.resource_name,
            "pipeline_job_uuid": str(self.run.kfp_run_id),
            "pipeline_task_name": task_name,
            "pipeline_task_uuid": str(task_id),
            "pipeline_job_create_time_utc": created,
            "pipeline_job_schedule_time_utc": scheduled,
            "pipeline_root": self.artifact_root,
            "workspace_path": str(self.run_dir / "workspace"),
        }


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)
