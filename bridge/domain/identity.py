"""Who asked for a run, and the keys that make one submission out of many requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

# A fixed namespace, so that every process on every machine derives the same ids.
_NAMESPACE = UUID("6b6b1a4e-2c0d-5d5b-9b1f-0a3f6f1c7a11")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageParent:
    """The OpenLineage run of the task that asks for a run, and the run at the root of its hierarchy."""

    run_id: UUID
    namespace: str
    job: str
    root_run_id: UUID
    root_namespace: str
    root_job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asked for a run, as far as the caller knows; every field may be absent.

    ``scheduler`` is ``airflow``, ``cli``, ``client`` or a name the caller gives itself;
    ``deployment`` tells several installations of one scheduler apart. ``asset_events`` are the
    consumed asset events of the DagRun, each a mapping with ``uri``, ``source_dag_id``,
    ``source_run_id``, ``source_task_id``, ``source_map_index`` and ``extra``. ``lineage`` is the parent
    of the run in OpenLineage's terms. ``traceparent`` is the caller's span (W3C Trace Context).
    """

    scheduler: str | None = None
    deployment: str | None = None
    team: str | None = None
    user: str | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    dag_run_start: datetime | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    logical_date: datetime | None = None
    partition_key: str | None = None
    url: str | None = None
    asset_events: tuple[Mapping[str, Any], ...] = field(default=())
    lineage: LineageParent | None = None
    traceparent: str | None = None

    @property
    def is_task_instance(self) -> bool:
        """Whether the origin names an Airflow task instance completely enough to derive a key."""
        return None not in (self.dag_id, self.dag_run_id, self.task_id)


def submission_key(project: str, origin: Origin) -> UUID:
    """The key of an Airflow task instance's submission.

    ``max_tries`` is part of it because it changes when the task is cleared and not when it is
    retried; ``dag_run_start`` because it tells a DagRun that was deleted and made again under the
    same id (both seen on Airflow 3.3.2). Raises ``ValueError`` if the origin is no task instance.
    """
    if not origin.is_task_instance:
        raise ValueError("an origin without dag_id, dag_run_id and task_id has no submission key")
    parts = (
        project,
        origin.deployment or "",
        origin.dag_id,
        origin.dag_run_id,
        utc_text(origin.dag_run_start),
        origin.task_id,
        origin.map_index,
        origin.max_tries,
    )
    return uuid5(_NAMESPACE, "airflow\x1f" + canonical_json(list(parts)))


def lineage_of_key(project: str, origin: Origin) -> UUID:
    """The key's family: the same for every generation of one task instance of one DagRun.

    A new submission whose family has an older, still active one is a task that was cleared. When the
    DagRun began is no part of it: a clear in a DagRun that has ended begins that anew (seen on Airflow
    3.3.2), and a run of before may still go on.
    """
    parts = (
        project,
        origin.deployment or "",
        origin.dag_id,
        origin.dag_run_id,
        origin.task_id,
        origin.map_index,
    )
    return uuid5(_NAMESPACE, "family\x1f" + canonical_json(list(parts)))


def caller_key(project: str, idempotency_key: str) -> UUID:
    """The key of a submission for which the caller sent an ``Idempotency-Key``, within its project."""
    return uuid5(_NAMESPACE, "caller\x1f" + canonical_json([project, idempotency_key]))


def kfp_run_id(key: UUID, attempt: int) -> UUID:
    """The ``run_id`` sent to KFP for the given attempt (1, 2, …) of a submission."""
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    return uuid5(key, f"attempt-{attempt}")


def request_digest(body: Mapping[str, Any]) -> str:
    """The sha256 of a request's meaning: its canonical JSON without ``origin``.

    The origin is left out because a retry carries another try number and is still the same request.
    """
    meaning = {name: value for name, value in body.items() if name != "origin"}
    return hashlib.sha256(canonical_json(meaning).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values have equal text; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def utc_text(moment: datetime | None) -> str:
    """An ISO 8601 text in UTC with microseconds, ``""`` for none; one moment, one text."""
    if moment is None:
        return ""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone names no moment")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
