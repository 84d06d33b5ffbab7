"""Small frozen values that only the lineage database hands out or takes in: filters, claims, states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypedDict
from uuid import UUID

from bridge.domain.identity import Origin
from bridge.domain.lineage import Artifact, ArtifactUse, GateVerdict, PipelineRef, Run, RunError
from bridge.domain.states import MirrorState, RunPhase, RuntimeState

MAX_PAGE = 200


class Duty(StrEnum):
    """What a worker can owe a run. Each duty has its own due time, lease and fence.

    FOLLOW is to submit, look up, follow or stop it (``due_at``), MIRROR to read its metadata
    (``mirror_due_at``), WAITER to cancel it because nobody was heard of who waits for it, CONTENT to look
    whether what its artifacts name is there (``content_due_at``), EMIT to tell an OpenLineage consumer of it.
    """

    FOLLOW = "follow"
    MIRROR = "mirror"
    WAITER = "waiter"
    CONTENT = "content"
    EMIT = "emit"


@dataclass(frozen=True, slots=True)
class Fence:
    """The number of one claim. Writing with an outdated one raises ``FencedOut``."""

    duty: Duty
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's time-limited right to do one duty of a run."""

    run: Run
    fence: Fence
    worker: str
    lease_until: datetime
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A project's part of the queue before one backend: how many runs wait, since when the first of them,
    and how many places the project has there."""

    backend: str
    project: str
    waiting: int
    active: int
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Work that is not tried until it is released: which (a duty, ``sweep`` or ``list``), on what, and why.

    ``run_id`` is there if the subject is a run of ours."""

    number: int
    backend: str
    project: str
    work: str
    subject: str
    reason: str
    failures: int
    since: datetime
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFilter:
    """Runs whose metric ``key`` (``evaluate.auc``) compares so with ``value`` at any step."""

    key: str
    op: Literal[">", ">=", "<", "<=", "=="]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a listing gives; every field narrows, ``None`` and ``()`` do not.

    ``states`` are shown states (``Run.shown_state``); ``text`` is words or beginnings of words, case
    ignored, all of which a run must have (``words.words_of`` says where); times are half-open:
    ``after <= created_at < before``. ``labels`` are pairs of name and value.
    """

    ids: tuple[UUID, ...] | None = None
    states: tuple[RuntimeState, ...] = ()
    phases: tuple[RunPhase, ...] = ()
    pipeline: str | None = None
    experiment: str | None = None
    projects: tuple[str, ...] = ()
    backend: str | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    submission_key: UUID | None = None
    metrics: tuple[MetricFilter, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    scheduler: str | None = None
    team: str | None = None
    user: str | None = None
    good: bool | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """In which order a listing gives runs: by when they were created or finished (those that are not
    finished are left out), or by a metric's value (those without it are left out; of several steps each
    run's best place counts)."""

    by: Literal["created", "finished", "metric"] = "created"
    descending: bool = True
    metric: str = ""


class RunChanges(TypedDict, total=False):
    """What ``change_run`` may set. ``due_at``, ``mirror_due_at``, ``failures``, ``mirror_failures``,
    ``observed_at``, ``queued_at`` and ``placed_at`` are the workers' own: setting them alone neither raises
    the version nor makes an event."""

    phase: RunPhase
    state: RuntimeState
    mirror: MirrorState
    display_name: str
    experiment: str | None
    submitted_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    observed_at: datetime | None
    settled_at: datetime | None
    after_run: UUID | None
    queued_at: datetime | None
    placed_at: datetime | None
    cancel_requested_at: datetime | None
    revivals: int
    error: RunError | None
    gate: GateVerdict | None
    labels: Mapping[str, str]
    due_at: datetime | None
    mirror_due_at: datetime | None
    content_due_at: datetime | None
    failures: int
    mirror_failures: int
    content_failures: int
    # Only when a run that was found turns out to be a submission's.
    submission_key: UUID | None
    attempt: int
    project: str
    namespace: str | None
    pipeline: PipelineRef
    arguments: Mapping[str, Any]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One change of a run's phase or state, kept for good."""

    at: datetime
    phase: RunPhase
    state: RuntimeState
    version: int
    error: RunError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpec:
    """A compiled pipeline as it was submitted, by its digest."""

    project: str
    name: str
    digest: str
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlias:
    """A name of a pipeline's version that can be moved to another one."""

    project: str
    pipeline: str
    alias: str
    digest: str
    version_name: str | None
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendVersion:
    """Where a backend keeps a spec that was uploaded to it; ids are the backend's."""

    backend: str
    namespace: str
    digest: str
    pipeline_id: str
    version_id: str
    pipeline_name: str
    version_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPipeline:
    """A pipeline known by name, with the newest digest seen."""

    project: str
    name: str
    digest: str | None
    versions: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendState:
    """What is remembered of one backend and namespace (``""`` where it has none).

    ``watermark`` is the newest ``finished_at`` a fast sweep has seen, ``metadata_watermark_ms`` the
    newest update of the metadata store, in milliseconds since 1970, ``history`` how far old runs were
    imported.
    """

    backend: str
    namespace: str = ""
    watermark: datetime | None = None
    metadata_watermark_ms: int | None = None
    last_fast_sweep_at: datetime | None = None
    last_slow_sweep_at: datetime | None = None
    last_sweep_seconds: float | None = None
    tick_seconds: float | None = None
    stale_since: datetime | None = None
    last_error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """That nothing new is sent to a backend: since when, why, and if it is ``draining``, whether and when
    nothing was under way there any more."""

    backend: str
    draining: bool
    since: datetime
    reason: str | None = None
    drained_at: datetime | None = None


class BackendChanges(TypedDict, total=False):
    """What ``change_backend_state`` may set."""

    watermark: datetime | None
    metadata_watermark_ms: int | None
    last_fast_sweep_at: datetime | None
    last_slow_sweep_at: datetime | None
    last_sweep_seconds: float | None
    tick_seconds: float | None
    stale_since: datetime | None
    last_error: str | None
    facts: Mapping[str, Any]
    history: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One numbered event of the outbox; numbers have no gaps and grow in the order readers see."""

    number: int
    type: str
    time: datetime
    run_id: UUID | None
    project: str
    backend: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLease:
    """A lease on something that only one process may do at a time."""

    name: str
    holder: str
    until: datetime
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorCounts:
    """How many rows a stored mirror added or changed; all zero when it held nothing new."""

    tasks: int = 0
    artifacts: int = 0
    uses: int = 0
    metrics: int = 0
    blobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """An artifact with where it belongs and every use of it, in whichever run. ``projects`` are those that it
    is of, as far as they were asked for: the one that mirrored it first and those of the runs that use it."""

    artifact: Artifact
    backend: str
    project: str
    uses: tuple[tuple[UUID, ArtifactUse], ...] = ()
    projects: tuple[str, ...] = ()
