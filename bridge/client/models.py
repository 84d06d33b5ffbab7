"""The messages of the bridge's own API (``/api/v1``), shared by the service, the client and the provider.

Names and shapes here are the API: the service answers with them and its OpenAPI document is made
from them. Times are UTC with a zone; ids are UUIDs as text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

JsonValue = Any
ItemT = TypeVar("ItemT")
# What the database's columns hold.
MAX_INT = 2**31 - 1
MAX_BIGINT = 2**63 - 1


class Message(BaseModel):
    """What every message has: unknown fields are kept out, so that old and new versions can talk."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Request(BaseModel):
    """A message that is sent to the service: an unknown field is a mistake and is refused."""

    model_config = ConfigDict(extra="forbid")


class LineageParentModel(Message):
    """A task's run in OpenLineage and the root of its hierarchy; each is a run id with the job's namespace
    and name, never one text: a namespace may hold the slash that would join them."""

    run_id: UUID
    namespace: str = Field(min_length=1, max_length=1024)
    job: str = Field(min_length=1, max_length=1024)
    root_run_id: UUID
    root_namespace: str = Field(min_length=1, max_length=1024)
    root_job: str = Field(min_length=1, max_length=1024)


class OriginModel(Message):
    """Who asked for a run; see ``bridge.domain.identity.Origin``."""

    scheduler: str | None = None
    deployment: str | None = None
    team: str | None = None
    user: str | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    dag_run_start: datetime | None = None
    task_id: str | None = None
    map_index: int = Field(default=-1, ge=-1, le=MAX_INT)
    try_number: int = Field(default=1, ge=1, le=MAX_INT)
    max_tries: int = Field(default=0, ge=-1, le=MAX_INT)
    logical_date: datetime | None = None
    partition_key: str | None = None
    url: str | None = None
    asset_events: list[dict[str, Any]] = Field(default_factory=list)
    lineage: LineageParentModel | None = None
    traceparent: str | None = Field(default=None, max_length=55)


class InputModel(Message):
    """One piece of data a submission names; see ``bridge.domain.lineage.InputVersion``."""

    name: str = Field(min_length=1, max_length=255)
    uri: str = Field(min_length=1, max_length=4096)
    version: str | None = Field(default=None, max_length=255)
    version_kind: str | None = Field(default=None, max_length=64)
    rows: int | None = Field(default=None, ge=0, le=MAX_BIGINT)
    bytes: int | None = Field(default=None, ge=0, le=MAX_BIGINT)
    producer: OriginModel | None = None


class PipelineVersionModel(Request):
    """A registered pipeline by name: its newest version, the one named ``version``, or the one that
    ``alias`` means now (where no alias has that name, the version that has it)."""

    name: str = Field(min_length=1, max_length=255)
    version: str | None = Field(default=None, max_length=255)
    alias: str | None = Field(default=None, max_length=255)

    @model_validator(mode="after")
    def _one_of_them(self) -> PipelineVersionModel:
        if self.version is not None and self.alias is not None:
            raise ValueError("give a version or an alias, not both")
        return self


class SubmitRequest(Request):
    """``POST /runs``. Exactly one of ``spec`` (compiled pipeline as YAML text) and ``pipeline`` is given.

    ``inputs`` are stored as edges and handed to the pipeline: the parameter named by an input gets
    its URI, or the list of URIs if the parameter is a list, unless ``arguments`` names it already.
    Arguments named in ``text_arguments`` are text to be read as the type that the pipeline declares, for a
    caller that does not know the pipeline.
    ``skip_if_unchanged`` is answered with the last good run of the same pipeline and project if that had
    the same spec, arguments, inputs in known versions, gate and backend.
    """

    backend: str | None = None
    project: str = "default"
    namespace: str | None = None
    spec: str | None = None
    pipeline: PipelineVersionModel | None = None
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    text_arguments: list[str] = Field(default_factory=list, max_length=10_000)
    inputs: list[InputModel] = Field(default_factory=list, max_length=10_000)
    experiment: str | None = Field(default=None, max_length=255)
    display_name: str | None = Field(default=None, max_length=255)
    service_account: str | None = None
    pipeline_root: str | None = None
    caching: bool | None = None
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    on_retry: Literal["new_run", "retry_failed_tasks"] = "new_run"
    on_clear: Literal["cancel_then_new", "adopt", "detach"] = "cancel_then_new"
    gate: str | None = Field(default=None, max_length=2000)
    skip_if_unchanged: bool = False
    origin: OriginModel = Field(default_factory=OriginModel)


class CancelRequest(Request):
    """``POST /runs/{id}:cancel``; a cancel of a superseded try or generation is refused with 409.

    ``key`` and ``try_number`` say on whose behalf; a person who cancels leaves both out.
    """

    key: UUID | None = None
    try_number: int | None = Field(default=None, ge=1, le=MAX_INT)
    reason: str | None = Field(default=None, max_length=1000)


class ErrorModel(Message):
    """Why a run or task failed; ``task`` is the failed component's path, ``log_tail`` its last lines,
    ``kind`` what kind of cause comes first (``CauseModel``), if causes were ranked."""

    message: str
    code: str | None = None
    task: str | None = None
    log_tail: list[str] = Field(default_factory=list)
    kind: str | None = None


class EvidenceModel(Message):
    """One thing that was seen; ``witness`` is ``pod``, ``container``, ``event``, ``step`` (of the Workflow),
    ``backend`` or ``log``, ``reason`` Kubernetes' own word."""

    witness: str
    reason: str | None = None
    message: str = ""
    exit_code: int | None = None
    pod: str | None = None
    container: str | None = None
    at: datetime | None = None


class CauseModel(Message):
    """What a run failed of or, if ``waiting``, what keeps a task of it from starting. ``kind`` is one of
    ``code``, ``out_of_memory``, ``image``, ``unschedulable``, ``quota``, ``timeout``, ``data``, ``backend``,
    ``node``, ``canceled``; ``weight`` (0 – 100) is how strongly the evidence speaks for it."""

    kind: str
    message: str
    task: str | None = None
    weight: int = 0
    waiting: bool = False
    evidence: list[EvidenceModel] = Field(default_factory=list)


class GateModel(Message):
    """A gate's verdict; ``passed`` is null when it could not be judged, ``reason`` says why."""

    expression: str
    passed: bool | None
    numbers: dict[str, float | None] = Field(default_factory=dict)
    reason: str
    last_good_run: UUID | None = None


class PipelineModel(Message):
    """A pipeline version: name, sha256 of the compiled spec, its registered version name if any, and the
    alias by which a run asked for it."""

    name: str
    digest: str
    version_name: str | None = None
    alias: str | None = None


class RegisterRequest(Request):
    """``POST /pipelines``: a compiled pipeline as YAML text, and a name for this version."""

    spec: str
    version: str | None = Field(default=None, min_length=1, max_length=255)


class AliasRequest(Request):
    """``PUT /pipelines/{name}/aliases/{alias}``: the version it is to mean, by digest or by name."""

    digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    version: str | None = Field(default=None, min_length=1, max_length=255)


class PipelineAliasModel(Message):
    """An alias, the version it means, and the digest it meant before a move that was just made."""

    pipeline: str
    alias: str
    digest: str
    version_name: str | None = None
    project: str
    changed_at: datetime
    previous_digest: str | None = None


class RunLinks(Message):
    """Where a person can look: the bridge's page, the KFP UI and the scheduler's page of the task."""

    bridge: str | None = None
    kfp: str | None = None
    scheduler: str | None = None


class RunModel(Message):
    """A run as readers see it. ``state`` is KFP's word, ``phase`` the bridge's own progress,
    ``mirror`` how complete the copy of tasks, artifacts and metrics is; ``waiting`` why a QUEUED run has
    not been sent yet, if the bridge itself holds it back; ``metrics`` the first few by key, in a listing that
    asks for them; ``clearable`` whether the bridge can have Airflow clear its task (``:clear``)."""

    run_id: UUID
    kfp_run_id: UUID
    submission_key: UUID | None = None
    attempt: int = 1
    backend: str
    project: str
    namespace: str | None = None
    pipeline: PipelineModel
    display_name: str
    experiment: str | None = None
    state: str
    phase: str
    mirror: str
    over: bool
    good: bool
    version: int
    created_at: datetime
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stale_since: datetime | None = None
    cancel_requested_at: datetime | None = None
    revivals: int = 0
    error: ErrorModel | None = None
    causes: list[CauseModel] = Field(default_factory=list)
    gate: GateModel | None = None
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    origin: OriginModel = Field(default_factory=OriginModel)
    links: RunLinks = Field(default_factory=RunLinks)
    warnings: list[str] = Field(default_factory=list)
    waiting: str | None = None
    clearable: bool = False
    metrics: dict[str, float] = Field(default_factory=dict)

    def _repr_html_(self) -> str:
        from bridge.client.notebook import run_html

        return run_html(self)


class ClearedModel(Message):
    """What Airflow cleared for a run: the task instances by name, that of the run and those after it."""

    run_id: UUID
    dag_id: str
    dag_run_id: str
    tasks: list[str]


class TaskModel(Message):
    """A task of a run; ``path`` is the dotted path of names from the pipeline's root."""

    task_id: str
    name: str
    path: str
    parent_task_id: str | None = None
    kind: str | None = None
    iteration: int | None = None
    state: str
    cached: bool = False
    pod_name: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorModel | None = None
    causes: list[CauseModel] = Field(default_factory=list)
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    outputs: dict[str, JsonValue] = Field(default_factory=dict)


class PlannedTaskModel(Message):
    """A task that a compiled pipeline names, whether or not it has run: ``path`` and ``parent`` are paths
    without iterations, ``after`` the paths of the siblings it waits for; ``loop``: it runs once per item."""

    path: str
    parent: str
    name: str
    kind: Literal["dag", "container", "importer"]
    loop: bool = False
    after: list[str] = Field(default_factory=list)


class ArtifactUseModel(Message):
    """One use of an artifact by a task of a run."""

    run_id: UUID
    task_path: str
    key: str
    direction: Literal["INPUT", "OUTPUT"]
    index: int = 0


class ArtifactModel(Message):
    """An artifact, by our opaque id; ``ref`` is what XCom carries.

    ``content`` tells whether what the URI names was there when the bridge last looked; ``None``: it did not.
    """

    artifact_id: UUID
    type: str
    uri: str | None = None
    name: str | None = None
    digest: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: datetime | None = None
    uses: list[ArtifactUseModel] = Field(default_factory=list)
    content: Literal["available", "unavailable"] | None = None
    content_error: str | None = None
    content_checked_at: datetime | None = None

    @property
    def ref(self) -> str:
        """The reference ``bridge://artifacts/<id>``."""
        return f"bridge://artifacts/{self.artifact_id}"


class MetricModel(Message):
    """A scalar metric; ``key`` is ``task.name`` as gates write it."""

    key: str
    task_path: str
    name: str
    value: float
    step: int = 0


class MetricBlobModel(Message):
    """A structured metric: ``kind`` is ``roc``, ``confusion_matrix`` or ``text``."""

    task_path: str
    name: str
    kind: str
    content: JsonValue


class MetricsModel(Message):
    """``GET /runs/{id}/metrics``."""

    scalars: list[MetricModel] = Field(default_factory=list)
    blobs: list[MetricBlobModel] = Field(default_factory=list)


class EventModel(Message):
    """One numbered event of the outbox."""

    number: int
    type: str
    time: datetime
    run_id: UUID | None = None
    data: dict[str, JsonValue] = Field(default_factory=dict)


class Page(Message, Generic[ItemT]):
    """One page of a listing; ``next_cursor`` is opaque and absent on the last page."""

    items: list[ItemT]
    next_cursor: str | None = None


class ProblemField(Message):
    """One thing wrong with a request: where, and what to do about it."""

    pointer: str
    detail: str


class Problem(Message):
    """RFC 9457 problem details with two members of our own: ``retryable`` and ``errors``.

    ``type`` is a stable ``urn:kfbridge:problem:<slug>``; programs decide on it, never on ``detail``.
    """

    type: str
    title: str
    status: int
    detail: str
    retryable: bool = False
    errors: list[ProblemField] = Field(default_factory=list)
    retry_after_seconds: float | None = None
