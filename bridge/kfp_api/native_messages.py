"""Messages of the coming native artifact and task API, as far as the bridge reads them.

Shapes follow KFP's main branch (``v2beta1PipelineTask`` and ``v2beta1Artifact`` of its API description).
As everywhere in protobuf's JSON every field is optional, and a 64-bit integer is a text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from bridge.kfp_api.messages import Int64, KfpMessage, Status


class NativeArtifact(KfpMessage):
    """An artifact; a scalar metric is one of type Metric with its name and ``number_value``."""

    artifact_id: str | None = None
    name: str | None = None
    type: str | None = None
    uri: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    number_value: float | None = None
    created_at: datetime | None = None


class IOProducer(KfpMessage):
    """Which task gave something, and in which iteration of a loop."""

    task_name: str | None = None
    iteration: Int64 | None = None


class IOParameter(KfpMessage):
    """A parameter that a task got or gave."""

    value: Any = None
    type: str | None = None
    parameter_key: str | None = None
    producer: IOProducer | None = None


class IOArtifact(KfpMessage):
    """Artifacts that a task got or gave under one key."""

    artifacts: list[NativeArtifact] = Field(default_factory=list)
    type: str | None = None
    artifact_key: str | None = None
    producer: IOProducer | None = None


class InputOutputs(KfpMessage):
    """One side of a task."""

    parameters: list[IOParameter] = Field(default_factory=list)
    artifacts: list[IOArtifact] = Field(default_factory=list)


class TaskPod(KfpMessage):
    """A pod of a task: its driver's or its executor's."""

    name: str | None = None
    type: str | None = None


class TaskStatus(KfpMessage):
    """One step of a task's history."""

    update_time: datetime | None = None
    state: str | None = None
    error: Status | None = None


class StatusMetadata(KfpMessage):
    """Why a task is in its state."""

    message: str | None = None


class TypeAttributes(KfpMessage):
    """Which iteration of a loop a task belongs to, or how many a loop has."""

    iteration_index: Int64 | None = None
    iteration_count: Int64 | None = None


class PipelineTask(KfpMessage):
    """A task of a run."""

    name: str | None = None
    display_name: str | None = None
    task_id: str | None = None
    pods: list[TaskPod] = Field(default_factory=list)
    create_time: datetime | None = None
    end_time: datetime | None = None
    state: str | None = None
    status_metadata: StatusMetadata | None = None
    state_history: list[TaskStatus] = Field(default_factory=list)
    type: str | None = None
    type_attributes: TypeAttributes | None = None
    parent_task_id: str | None = None
    inputs: InputOutputs | None = None
    outputs: InputOutputs | None = None
    scope_path: str | None = None


class ArtifactTask(KfpMessage):
    """A link between an artifact and a task of a run."""

    id: str | None = None
    artifact_id: str | None = None
    task_id: str | None = None
    type: str | None = None
    producer: IOProducer | None = None
    key: str | None = None


class ListTasks(KfpMessage):
    """One page of a run's tasks, each still as it came: one that is broken must not hide the others."""

    tasks: list[Any] = Field(default_factory=list)
    next_page_token: str | None = None


class ListArtifactTasks(KfpMessage):
    """One page of links, each still as it came."""

    artifact_tasks: list[Any] = Field(default_factory=list)
    next_page_token: str | None = None
