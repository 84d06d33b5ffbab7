"""The nouns of the lineage: what the bridge stores and what its API shows. All frozen, all times UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from bridge.domain.identity import Origin
from bridge.domain.redaction import redact_text
from bridge.domain.states import MirrorState, RunPhase, RuntimeState


class OnRetry(StrEnum):
    """What a higher try gets when the earlier try's run failed or was canceled."""

    NEW_RUN = "new_run"
    RETRY_FAILED_TASKS = "retry_failed_tasks"


class OnClear(StrEnum):
    """What a new generation gets when the old generation's run is still active."""

    CANCEL_THEN_NEW = "cancel_then_new"
    ADOPT = "adopt"
    DETACH = "detach"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputVersion:
    """One piece of data a submission names: a URI in the one spelling, and which version of it.

    ``name`` is the pipeline parameter through which the URI is handed over; several inputs may
    share one name when that parameter takes a list. ``version`` is a digest, an object-store
    version id, a table snapshot or a query id, as ``version_kind`` says; ``None`` is unknown,
    never guessed. ``producer`` names the Airflow task that wrote it, where an asset event told.
    """

    name: str
    uri: str
    version: str | None = None
    version_kind: str | None = None
    rows: int | None = None
    bytes: int | None = None
    producer: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRef:
    """A pipeline version: the name and sha256 digest of its compiled spec.

    ``alias`` is the name it was asked for by, which may mean another version by now.
    """

    name: str
    digest: str
    version_name: str | None = None
    alias: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The recorded intent to have a run. Written before anything is sent, never changed but by
    the same caller's later tries."""

    key: UUID
    family: UUID | None
    backend: str
    project: str
    namespace: str | None
    pipeline: PipelineRef
    display_name: str
    experiment: str
    arguments: Mapping[str, Any]
    inputs: tuple[InputVersion, ...]
    origin: Origin
    request_digest: str
    created_at: datetime
    service_account: str | None = None
    pipeline_root: str | None = None
    caching: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    on_retry: OnRetry = OnRetry.NEW_RUN
    on_clear: OnClear = OnClear.CANCEL_THEN_NEW
    gate: str | None = None
    try_number: int = 1
    current_run: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What the gate of a run said, with the numbers it compared.

    ``passed`` is ``None`` when the expression could not be judged; ``reason`` then says why.
    """

    expression: str
    passed: bool | None
    numbers: Mapping[str, float | None]
    reason: str
    last_good_run: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """Why a run failed, as the backend or the bridge tells it. ``log_tail`` holds last lines; ``kind`` is the
    likeliest cause's (``CauseKind``), if causes were ranked. What looks like a secret is never in it."""

    message: str
    code: str | None = None
    task: str | None = None
    log_tail: tuple[str, ...] = ()
    kind: str | None = None

    def __post_init__(self) -> None:
        # Here, so that what is stored, searched for, told in events and compared with what is seen is one.
        object.__setattr__(self, "message", redact_text(self.message))
        if self.log_tail:
            # As one text: a key has several lines.
            object.__setattr__(self, "log_tail", tuple(redact_text("\n".join(self.log_tail)).split("\n")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One KFP run: made for a submission (first, second … attempt) or found on the backend.

    ``run_id`` is ours, ``kfp_run_id`` the backend's. ``version`` grows with each change and is
    what a long-poll waits on. ``submitted_at`` is when the POST was begun, ``settled_at`` when the
    end was mirrored (or reading it was given up) and the gate judged: from then on nobody needs to
    wait. ``after_run`` names a run that has to be over before this one is sent. ``queued_at`` is since
    when it waits for a place at its backend, ``placed_at`` when it was given one, which it keeps until it
    is over.
    """

    run_id: UUID
    kfp_run_id: UUID
    backend: str
    project: str
    namespace: str | None
    submission_key: UUID | None
    attempt: int
    pipeline: PipelineRef
    display_name: str
    experiment: str | None
    phase: RunPhase
    state: RuntimeState
    mirror: MirrorState
    version: int
    created_at: datetime
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    observed_at: datetime | None = None
    settled_at: datetime | None = None
    after_run: UUID | None = None
    queued_at: datetime | None = None
    placed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    revivals: int = 0
    error: RunError | None = None
    gate: GateVerdict | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)

    @property
    def over_at(self) -> datetime | None:
        """When it ended, as far as anybody knows: of one that was lost, when that was seen. ``None`` while it
        goes on."""
        if self.finished_at is not None or not self.phase.is_over:
            return self.finished_at
        return self.settled_at or self.observed_at

    @property
    def is_good(self) -> bool:
        """SUCCEEDED with its gate passed or absent: what ``last_good`` chooses from.

        A run that is not settled is not good yet: its gate may still fail it.
        """
        passed = self.gate is None or self.gate.passed is True
        return self.settled_at is not None and self.state is RuntimeState.SUCCEEDED and passed

    @property
    def shown_state(self) -> RuntimeState:
        """The state a reader sees: the backend's, or what the bridge's own phase amounts to."""
        if self.phase in (RunPhase.QUEUED, RunPhase.SUBMITTING):
            return RuntimeState.CANCELING if self.cancel_requested_at else RuntimeState.PENDING
        if self.phase in (RunPhase.REJECTED, RunPhase.LOST):
            return self.state if self.state.is_terminal else RuntimeState.FAILED
        if self.phase is RunPhase.ABANDONED:
            return RuntimeState.CANCELED
        return self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a run as the backend's run details tell it, DAGs and loop iterations included.

    ``task_id`` is unique within the run; ``name`` is the task's name in the compiled pipeline;
    ``path`` joins the names from the root with ``.`` and tells iterations as ``name[3]``.
    ``kind`` is ``container``, ``dag`` or ``importer`` when known.
    """

    task_id: str
    name: str
    path: str
    parent_task_id: str | None
    state: RuntimeState
    kind: str | None = None
    iteration: int | None = None
    cached: bool = False
    pod_name: str | None = None
    execution_id: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: RunError | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)


class Direction(StrEnum):
    """Whether a task consumed or produced an artifact."""

    INPUT = "INPUT"
    OUTPUT = "OUTPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactUse:
    """An edge of the lineage: a task of a run used an artifact under a key (``train.model``)."""

    task_id: str
    task_path: str
    key: str
    direction: Direction
    index: int = 0


FILELESS_TYPES = frozenset(
    {"system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"}
)
"""Types of artifacts that need no content: what they tell is in their metadata, and KFP's launcher writes no
file for them."""


class ContentState(StrEnum):
    """Whether what an artifact's URI names was there when the bridge last looked."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentLook:
    """What one look at an artifact's URI found; ``error`` says why it is not available."""

    state: ContentState
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A typed artifact as the backend's metadata tells it.

    ``backend_artifact_id`` is the backend's own id, unique with ``backend``; ``artifact_id`` is
    ours and opaque (``None`` before it was stored). ``type`` is a schema title such as
    ``system.Model``; ``digest`` is a sha256 where something told or measured it. ``content`` is
    ``None`` as long as nobody has looked whether what the URI names is there.
    """

    backend_artifact_id: str
    type: str
    uri: str | None
    name: str | None = None
    digest: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    artifact_id: UUID | None = None
    uses: tuple[ArtifactUse, ...] = ()
    content: ContentLook | None = None
    content_checked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One scalar of a run: ``key`` is ``task.name``, e.g. ``evaluate.auc``; finite values only."""

    task_path: str
    name: str
    value: float
    step: int = 0

    @property
    def key(self) -> str:
        """The name under which gates and trends know the metric."""
        return f"{self.task_path}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBlob:
    """A structured metric of a run: ``kind`` is ``roc``, ``confusion_matrix`` or ``text``."""

    task_path: str
    name: str
    kind: str
    content: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMirror:
    """Everything one reading of a run's metadata gave, ready to be stored in one transaction.

    ``warnings`` name what was left out, such as metrics that are not finite, a sentence each.
    """

    tasks: tuple[Task, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    metrics: tuple[Metric, ...] = ()
    blobs: tuple[MetricBlob, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetWrite:
    """A dataset version that a job run (an Airflow task) wrote or read, as OpenLineage tells it."""

    uri: str
    version: str | None = None
    rows: int | None = None
    bytes: int | None = None
    direction: Direction = Direction.OUTPUT


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunEvent:
    """What one OpenLineage run event says of a run of a job of Airflow's side."""

    namespace: str
    job: str
    ol_run_id: UUID
    event_type: str
    event_time: datetime
    job_type: str | None = None
    parent_ol_run_id: UUID | None = None
    origin: Origin | None = None
    datasets: tuple[DatasetWrite, ...] = ()
    facets: Mapping[str, Any] = field(default_factory=dict)
