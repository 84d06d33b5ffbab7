"""The API's messages about the installation itself: backends, queues, watches, what is set aside."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from bridge.client.models import Message, Request


class QueueStatus(Message):
    """One project's part of the queue before a backend: ``waiting`` runs, the first of them since
    ``oldest_at``; ``active`` of the ``max_active_runs`` it may have there; its weight against others."""

    project: str
    waiting: int
    oldest_at: datetime | None = None
    oldest_seconds: float | None = None
    active: int
    max_active_runs: int
    weight: float = 1.0


class QuarantineModel(Message):
    """Work that is set aside until it is released. ``work`` is ``follow`` (submit, look up, stop),
    ``mirror``, ``waiter``, ``emit`` (a run's OpenLineage events), ``sweep`` (a run whose news cannot be taken
    in) or ``list`` (a row that is no run); ``subject`` our run id, or the backend's name of the row."""

    number: int
    backend: str
    project: str
    work: str
    subject: str
    run_id: UUID | None = None
    reason: str
    failures: int
    since: datetime


class WatchStatus(Message):
    """How the watch on a backend's Workflows gets on. ``state``: ``healthy``, ``starting``, ``reconnecting``,
    ``off`` (a person has to put ``off_because`` right) or ``idle`` (no process follows the backend).
    ``lag_seconds``: from the last end the cluster told to KFP telling it too, recorded."""

    state: str
    namespaces: list[str] = Field(default_factory=list)
    healthy_since: datetime | None = None
    off_because: str | None = None
    last_error: str | None = None
    last_heard_at: datetime | None = None
    lag_seconds: float | None = None
    restarts: int = 0
    lists: int = 0
    events: int = 0
    unreadable: int = 0
    pods_off_because: str | None = None


class HistoryStatus(Message):
    """How far the runs that were there before the bridge are imported: ``seen`` of about ``total``, back to
    ``reached``; wanted are those since ``since``. ``done`` when nothing is left."""

    done: bool
    seen: int
    total: int | None = None
    since: datetime
    reached: datetime | None = None


class SwitchModel(Message):
    """That nothing new is sent to a backend: it was paused, or is to be drained. ``drained_at``: since then
    nothing is under way there, ``active_runs`` are until then."""

    backend: str
    mode: Literal["paused", "draining", "drained"]
    since: datetime
    reason: str | None = None
    drained_at: datetime | None = None
    active_runs: int = 0


class PauseRequest(Request):
    """``POST /backends/{name}:pause``: with ``drain`` an event ``backend.drained`` tells when nothing is
    under way there any more."""

    drain: bool = False
    reason: str | None = Field(default=None, max_length=500)


class BackendStatus(Message):
    """How the bridge gets on with one backend; times in seconds. ``trouble`` says what a backend that is not
    reachable does, as the end of a sentence.

    ``circuit`` is ``closed``, ``open`` (nothing is sent for ``held_seconds``) or ``half-open`` (one request
    is let through to see), in the process that answers; ``waiting_requests`` of it wait for their turn.
    """

    name: str
    url: str
    reachable: bool
    stale_since: datetime | None = None
    last_fast_sweep_at: datetime | None = None
    last_slow_sweep_at: datetime | None = None
    last_sweep_seconds: float | None = None
    tick_seconds: float | None = None
    last_error: str | None = None
    trouble: str | None = None
    circuit: str = "closed"
    held_seconds: float = 0.0
    waiting_requests: int = 0
    watch: WatchStatus | None = None
    history: HistoryStatus | None = None
    active_runs: int = 0
    queued_runs: int = 0
    max_active_runs: int | None = None
    queues: list[QueueStatus] = Field(default_factory=list)
    quarantined: int = 0
    switch: SwitchModel | None = None


class EmissionStatus(Message):
    """How far the OpenLineage consumer is behind: ``unread_events`` were not looked at for it, of
    ``waiting_runs`` it is owed something, ``dead_runs`` were given up (``GET /quarantine``, work ``emit``).
    ``failing_since``: since when it has not taken what some run owes, ``last_error`` why."""

    url: str
    unread_events: int = 0
    waiting_runs: int = 0
    dead_runs: int = 0
    failing_since: datetime | None = None
    last_error: str | None = None


class OutboxStatus(Message):
    """How far the sequencer is: ``last_number`` is the newest event readers see, ``unnumbered`` (counted up
    to 1000) wait for their number, the first of them since ``oldest_seconds``."""

    last_number: int = 0
    unnumbered: int = 0
    oldest_seconds: float | None = None


class StatusModel(Message):
    """``GET /status``: version, database, backends and worker of this installation. ``access`` is
    ``required`` if callers have to say who they are, and ``off`` if everybody may do everything."""

    version: str
    database: str
    schema_revision: str | None = None
    access: Literal["required", "off"] | None = None
    workers: int = 0
    mirror_backlog: int = 0
    read_only: str | None = None
    backends: list[BackendStatus] = Field(default_factory=list)
    openlineage: EmissionStatus | None = None
    outbox: OutboxStatus = Field(default_factory=OutboxStatus)
