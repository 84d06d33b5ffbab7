"""KFP's v2beta1 messages, as far as the bridge reads or writes them.

Field names are the wire's. Everything is optional, as in protobuf: an unset field is left out, and
unknown fields of newer servers are kept (``extra="allow"``). 64-bit integers are strings in
protobuf's JSON, and an unfinished run's ``finished_at`` is the epoch; see ``Run.ended_at``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from bridge.domain.states import RuntimeState, parse_state
from bridge.kfp_api.filters import UNFINISHED, rfc3339

_MAX_NAME_CHARS = 200
Int64 = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class KfpMessage(BaseModel):
    """What every message has; ``to_json`` gives the wire's form."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    @model_serializer(mode="wrap")
    def _leave_unset_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = handler(self)
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None or value in ("", []):
                shown.pop(name, None)
            elif isinstance(value, datetime):
                shown[name] = rfc3339(value)
        return shown

    def to_json(self) -> dict[str, Any]:
        """The message as protobuf's JSON mapping writes it: unset and empty fields left out."""
        return self.model_dump(mode="json")


class Status(KfpMessage):
    """google.rpc.Status: a gRPC code, a message and details."""

    code: int | None = None
    message: str | None = None
    details: list[Any] = Field(default_factory=list)


class RuntimeStatus(KfpMessage):
    """One step of a state history."""

    update_time: datetime | None = None
    state: str | None = None
    error: Status | None = None


class PipelineVersionReference(KfpMessage):
    """Which registered version a run is made from."""

    pipeline_id: str | None = None
    pipeline_version_id: str | None = None


class RuntimeConfig(KfpMessage):
    """The arguments of a run, and where its artifacts go."""

    parameters: dict[str, Any] | None = None
    pipeline_root: str | None = None


class ChildTask(KfpMessage):
    """A child of a task: by task id, or by the name of its pod."""

    task_id: str | None = None
    pod_name: str | None = None


class ExecutorDetail(KfpMessage):
    """The jobs behind a task."""

    main_job: str | None = None
    pre_caching_check_job: str | None = None
    failed_main_jobs: list[str] = Field(default_factory=list)
    failed_pre_caching_check_jobs: list[str] = Field(default_factory=list)


class TaskDetail(KfpMessage):
    """A task as the run details tell it; KFP fills ``inputs``, ``outputs`` and ``pod_name`` hardly ever."""

    run_id: str | None = None
    task_id: str | None = None
    display_name: str | None = None
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    executor_detail: ExecutorDetail | None = None
    state: str | None = None
    execution_id: Int64 | None = None
    error: Status | None = None
    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None
    parent_task_id: str | None = None
    state_history: list[RuntimeStatus] = Field(default_factory=list)
    pod_name: str | None = None
    child_tasks: list[ChildTask] = Field(default_factory=list)

    @property
    def runtime_state(self) -> RuntimeState:
        """The task's state, parsed."""
        return parse_state(self.state)


class RunDetail(KfpMessage):
    """The tasks of a run."""

    pipeline_context_id: Int64 | None = None
    pipeline_run_context_id: Int64 | None = None
    task_details: list[TaskDetail] = Field(default_factory=list)


class Run(KfpMessage):
    """A run. ``run_id`` may be set by whoever creates it, and is then honoured by the server."""

    experiment_id: str | None = None
    run_id: str | None = None
    display_name: str | None = None
    storage_state: str | None = None
    description: str | None = None
    pipeline_version_id: str | None = None
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_reference: PipelineVersionReference | None = None
    runtime_config: RuntimeConfig | None = None
    service_account: str | None = None
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    finished_at: datetime | None = None
    state: str | None = None
    error: Status | None = None
    run_details: RunDetail | None = None
    recurring_run_id: str | None = None
    state_history: list[RuntimeStatus] = Field(default_factory=list)

    @field_validator("created_at", "scheduled_at", "finished_at")
    @classmethod
    def _in_the_calendar(cls, moment: datetime | None) -> datetime | None:
        if moment is not None:
            _utc(moment)
        return moment

    @property
    def runtime_state(self) -> RuntimeState:
        """The run's state, parsed; UNSPECIFIED when the server left it out."""
        return parse_state(self.state)

    @property
    def ended_at(self) -> datetime | None:
        """When the run ended, ``None`` while it has not: the wire says 1970 for that."""
        moment = self.finished_at
        return None if moment is None or _utc(moment) <= UNFINISHED else _utc(moment)

    @property
    def task_details(self) -> tuple[TaskDetail, ...]:
        """The run's tasks, none if the server gave no details."""
        return tuple(self.run_details.task_details) if self.run_details else ()


class Experiment(KfpMessage):
    """An experiment; its display name is unique within its namespace."""

    experiment_id: str | None = None
    display_name: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    namespace: str | None = None
    storage_state: str | None = None
    last_run_created_at: datetime | None = None


class Pipeline(KfpMessage):
    """A registered pipeline. Servers before 2.15 have ``display_name`` alone and no ``name``."""

    pipeline_id: str | None = None
    display_name: str | None = None
    name: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    namespace: str | None = None
    error: Status | None = None
    tags: dict[str, str] | None = None


class PipelineUrl(KfpMessage):
    """Where a package was fetched from."""

    pipeline_url: str | None = None


class PipelineVersion(KfpMessage):
    """A version of a pipeline, with the compiled spec."""

    pipeline_id: str | None = None
    pipeline_version_id: str | None = None
    display_name: str | None = None
    name: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    package_url: PipelineUrl | None = None
    code_source_url: str | None = None
    pipeline_spec: dict[str, Any] | None = None
    error: Status | None = None
    tags: dict[str, str] | None = None


class BrokenRow(KfpMessage):
    """A row of a list that is no run: its ``run_id``, else a digest of it, and what is wrong with it."""

    name: str
    error: str


class ListRuns(KfpMessage):
    """One page of runs; without ``next_page_token`` it is the last.

    A row that is no run is in ``broken`` instead: one must not hide the others.
    """

    runs: list[Run] = Field(default_factory=list)
    total_size: int | None = None
    next_page_token: str | None = None
    _broken: list[BrokenRow] = PrivateAttr(default_factory=list)

    @property
    def broken(self) -> Sequence[BrokenRow]:
        """The rows that are no runs."""
        return self._broken

    @model_validator(mode="wrap")
    @classmethod
    def _without_broken_rows(cls, value: Any, handler: ModelWrapValidatorHandler[ListRuns]) -> ListRuns:
        try:
            return handler(value)
        except ValidationError:
            rows = value.get("runs") if isinstance(value, dict) else None
            if not isinstance(rows, list):
                raise
        read = [_readable(row) for row in rows]
        page = handler({**value, "runs": []})
        page.runs = [row for row in read if isinstance(row, Run)]
        page._broken = [row for row in read if isinstance(row, BrokenRow)]
        return page


class ListRunsBriefly(ListRuns):
    """A page whose runs come without their details: KFP's lists carry every task of every run."""

    @model_validator(mode="before")
    @classmethod
    def _without_details(cls, value: Any) -> Any:
        rows = value.get("runs") if isinstance(value, dict) else None
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                row.pop("run_details", None)
        return value


class ListExperiments(KfpMessage):
    """One page of experiments."""

    experiments: list[Experiment] = Field(default_factory=list)
    total_size: int | None = None
    next_page_token: str | None = None


class ListPipelines(KfpMessage):
    """One page of pipelines."""

    pipelines: list[Pipeline] = Field(default_factory=list)
    total_size: int | None = None
    next_page_token: str | None = None


class ListPipelineVersions(KfpMessage):
    """One page of a pipeline's versions."""

    pipeline_versions: list[PipelineVersion] = Field(default_factory=list)
    total_size: int | None = None
    next_page_token: str | None = None


def _readable(row: Any) -> Run | BrokenRow:
    try:
        return Run.model_validate(row)
    except ValidationError as error:
        told = row.get("run_id") if isinstance(row, dict) else None
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        name = told if isinstance(told, str) and told else sha256(repr(row).encode()).hexdigest()
        return BrokenRow(name=name[:_MAX_NAME_CHARS], error=f"{where}: {first['msg']}")


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a moment beyond the calendar") from error
