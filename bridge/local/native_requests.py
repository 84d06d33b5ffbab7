"""What callers may send of tasks, artifacts and their links in the coming native shape, field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from bridge.local.requests import Message

TaskState = Literal["RUNTIME_STATE_UNSPECIFIED", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CACHED"]
TaskType = Literal[
    "TASK_TYPE_UNSPECIFIED",
    "ROOT",
    "RUNTIME",
    "CONDITION_BRANCH",
    "CONDITION",
    "LOOP",
    "EXIT_HANDLER",
    "IMPORTER",
    "DAG",
]
ArtifactType = Literal[
    "TYPE_UNSPECIFIED",
    "Artifact",
    "Model",
    "Dataset",
    "HTML",
    "Markdown",
    "Metric",
    "ClassificationMetric",
    "SlicedClassificationMetric",
]
IOType = Literal[
    "UNSPECIFIED",
    "COMPONENT_DEFAULT_INPUT",
    "TASK_OUTPUT_INPUT",
    "COMPONENT_INPUT",
    "RUNTIME_VALUE_INPUT",
    "COLLECTED_INPUTS",
    "ITERATOR_INPUT",
    "ITERATOR_INPUT_RAW",
    "ITERATOR_OUTPUT",
    "OUTPUT",
    "ONE_OF_OUTPUT",
    "TASK_FINAL_STATUS_OUTPUT",
]


def _int64(value: Any) -> Any:
    # protojson writes 64-bit integers as texts and reads numbers too.
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if (
        not isinstance(value, str)
        or not value.removeprefix("-").isascii()
        or not value.lstrip("-").isdecimal()
    ):
        raise ValueError("must be an integer of 64 bits")
    if not -(2**63) <= int(value) < 2**63:
        raise ValueError("must be an integer of 64 bits")
    return str(int(value))


Int64 = Annotated[str, BeforeValidator(_int64)]


class ProducerMessage(Message):
    """v2beta1.IOProducer"""

    task_name: str | None = None
    iteration: Int64 | None = None


class ArtifactMessage(Message):
    """v2beta1.Artifact"""

    artifact_id: str = ""
    name: str = ""
    description: str = ""
    type: ArtifactType = "TYPE_UNSPECIFIED"
    uri: str = ""
    metadata: dict[str, Any] | None = None
    number_value: float | None = None
    created_at: Any = None
    namespace: str = ""


class CreateArtifactMessage(Message):
    """v2beta1.CreateArtifactRequest"""

    artifact: ArtifactMessage | None = None
    run_id: str = ""
    task_id: str = ""
    producer_key: str = ""
    iteration_index: Int64 | None = None
    reuse_if_exists: bool = False


class CreateArtifactsMessage(Message):
    """v2beta1.CreateArtifactsBulkRequest"""

    artifacts: list[CreateArtifactMessage] = Field(default_factory=list)


class LinkMessage(Message):
    """v2beta1.ArtifactTask"""

    id: str = ""
    artifact_id: str = ""
    run_id: str = ""
    task_id: str = ""
    type: IOType = "UNSPECIFIED"
    producer: ProducerMessage | None = None
    key: str = ""


class CreateLinkMessage(Message):
    """v2beta1.CreateArtifactTaskRequest"""

    artifact_task: LinkMessage | None = None


class CreateLinksMessage(Message):
    """v2beta1.CreateArtifactTasksBulkRequest"""

    artifact_tasks: list[LinkMessage] = Field(default_factory=list)


class IOParameterMessage(Message):
    """PipelineTask.InputOutputs.IOParameter"""

    value: Any = None
    type: IOType | None = None
    parameter_key: str | None = None
    producer: ProducerMessage | None = None


class InputOutputsMessage(Message):
    """PipelineTask.InputOutputs; its artifacts are put out only, and ignored."""

    parameters: list[IOParameterMessage] = Field(default_factory=list)
    artifacts: Any = Field(default=None, exclude=True)


class PodMessage(Message):
    """PipelineTask.TaskPod"""

    name: str | None = None
    uid: str | None = None
    type: Literal["UNSPECIFIED", "DRIVER", "EXECUTOR"] | None = None


class StatusMetadataMessage(Message):
    """PipelineTask.StatusMetadata"""

    message: str | None = None
    custom_properties: dict[str, Any] | None = None


class TypeAttributesMessage(Message):
    """PipelineTask.TypeAttributes"""

    iteration_index: Int64 | None = None
    iteration_count: Int64 | None = None
    download_to_workspace: bool | None = None


class TaskMessage(Message):
    """v2beta1.PipelineTask"""

    name: str | None = None
    display_name: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    pods: list[PodMessage] | None = None
    cache_fingerprint: str | None = None
    create_time: str | None = None
    end_time: str | None = None
    state: TaskState | None = None
    status_metadata: StatusMetadataMessage | None = None
    state_history: Any = Field(default=None, exclude=True)
    type: TaskType | None = None
    type_attributes: TypeAttributesMessage | None = None
    parent_task_id: str | None = None
    child_tasks: Any = Field(default=None, exclude=True)
    inputs: InputOutputsMessage | None = None
    outputs: InputOutputsMessage | None = None
    scope_path: str | None = None

    def told(self) -> dict[str, Any]:
        """What was sent, as JSON, without what only the server puts out."""
        return self.model_dump(exclude_unset=True, exclude={"task_id", "run_id", "child_tasks"})


class UpdateTasksMessage(Message):
    """RunService.UpdateTasksBulk's body"""

    tasks: dict[str, TaskMessage] = Field(default_factory=dict)


class FindCachedMessage(Message):
    """v2beta1.FindCachedTaskRequest"""

    namespace: str = ""
    cache_fingerprint: str = ""
