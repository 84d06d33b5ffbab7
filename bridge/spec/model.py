"""The typed model of compiled pipelines (KFP's IR, schema 2.1.0). All frozen; names are the IR's own.

Names and meanings follow ``pipeline_spec.proto`` of Kubeflow Pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Final


class Missing(Enum):
    """Stands where a value may be ``None`` and there is none."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


class ParameterType(StrEnum):
    """The types of parameters that the IR knows."""

    STRING = "STRING"
    NUMBER_INTEGER = "NUMBER_INTEGER"
    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"
    TASK_FINAL_STATUS = "TASK_FINAL_STATUS"
    TASK_CONFIG = "TASK_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An input parameter of a component, or of the pipeline if the component is the root.

    ``default`` is ``MISSING`` when there is none (``None`` would be a value). An ``optional`` one
    without a default is simply absent when it is not given. ``literals`` are the only values allowed,
    if any are named.
    """

    name: str
    type: ParameterType
    optional: bool = False
    default: Any = MISSING
    description: str | None = None
    literals: tuple[Any, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a run cannot start without a value for it."""
        return not self.optional and self.default is MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSlot:
    """An input or output artifact of a component: its type, and whether it is a list of such."""

    name: str
    schema_title: str
    schema_version: str
    is_list: bool = False
    optional: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written into the pipeline; texts may hold ``{{$.inputs…}}`` placeholders."""

    value: Any


@dataclass(frozen=True, slots=True)
class FromInput:
    """The value of an input of the surrounding DAG."""

    name: str


@dataclass(frozen=True, slots=True)
class FromTask:
    """An output of a sibling task."""

    task: str
    key: str


@dataclass(frozen=True, slots=True)
class FinalStatusOf:
    """How a sibling task (an exit handler's body) ended."""

    task: str


ParameterSource = Constant | FromInput | FromTask | FinalStatusOf
ArtifactSource = FromInput | FromTask


@dataclass(frozen=True, slots=True)
class ParameterInput:
    """Where a task gets a parameter from; ``selector`` is a CEL expression applied to it
    (``parseJson(string_value)["a"]``)."""

    source: ParameterSource
    selector: str | None = None


class TriggerStrategy(StrEnum):
    """When a task with upstream tasks starts."""

    UPSTREAM_SUCCEEDED = "ALL_UPSTREAM_TASKS_SUCCEEDED"
    UPSTREAM_COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterator:
    """A task that runs once per item. ``raw`` (JSON text) or ``input_name`` gives the items;
    ``item_input`` is the component's input that receives one. ``over_artifacts``: items are artifacts."""

    item_input: str
    raw: str | None = None
    input_name: str | None = None
    over_artifacts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a failed task is tried again (``max_count`` times after the first) and after how long.

    The pause begins with ``backoff_seconds`` and is multiplied by ``backoff_factor`` each time; no attempt
    begins later than ``backoff_max_seconds`` after the first one began.
    """

    max_count: int
    backoff_seconds: float = 0.0
    backoff_factor: float = 2.0
    backoff_max_seconds: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a DAG. ``dependencies`` holds the names of all siblings it waits for."""

    name: str
    display_name: str
    component: str
    parameters: Mapping[str, ParameterInput]
    artifacts: Mapping[str, ArtifactSource]
    dependencies: tuple[str, ...] = ()
    enable_cache: bool = False
    cache_key: str | None = None
    condition: str | None = None
    strategy: TriggerStrategy = TriggerStrategy.UPSTREAM_SUCCEEDED
    iterator: Iterator | None = None
    parallelism_limit: int | None = None
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class OutputSelector:
    """Where a DAG's output comes from: the first of ``sources`` whose task has run. More than one
    source is ``OneOf``."""

    sources: tuple[FromTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """Tasks by name, and where the DAG's own outputs come from."""

    tasks: Mapping[str, Task]
    parameters: Mapping[str, OutputSelector] = field(default_factory=dict)
    artifacts: Mapping[str, OutputSelector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What a task runs: a ``dag`` or, by ``executor`` label, a container or importer.

    ``passthroughs`` names the parts of its configuration (``RESOURCES``, ``ENV`` …) that are handed to it
    as a ``dsl.TaskConfig`` input, and says for each whether they count for the task itself as well.
    """

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactSlot] = field(default_factory=dict)
    output_parameters: Mapping[str, ParameterType] = field(default_factory=dict)
    output_artifacts: Mapping[str, ArtifactSlot] = field(default_factory=dict)
    dag: Dag | None = None
    executor: str | None = None
    passthroughs: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A command line in an image. ``resources`` is the IR's own mapping."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImporterSpec:
    """An artifact that exists already becomes known. Its URI is a constant or the value of the
    component's input ``uri_input``; metadata may hold placeholders."""

    schema_title: str
    schema_version: str
    uri: str | None = None
    uri_input: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reimport: bool = False
    download_to_workspace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedSpec:
    """An executor of a kind that only other platforms run (``resolver``, ``customJob``)."""

    kind: str


Executor = ContainerSpec | ImporterSpec | UnsupportedSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineModel:
    """A whole compiled pipeline."""

    name: str
    display_name: str | None
    description: str | None
    root: Component
    components: Mapping[str, Component]
    executors: Mapping[str, Executor]
    schema_version: str
    sdk_version: str | None = None
    default_root: str | None = None
