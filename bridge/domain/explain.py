"""How a run came to be and what came out of it: the answer of ``explain``, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from bridge.domain.identity import Origin
from bridge.domain.lineage import Artifact, Metric, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedInput:
    """One dataset version that a run read: under which name, and who wrote it, as far as known.

    ``name`` is the parameter through which it was handed over, or the path of the importer that
    read it; ``declared`` tells which. ``version`` is ``None`` where nobody told it.
    """

    dataset_id: UUID
    name: str
    uri: str
    declared: bool = True
    version: str | None = None
    version_kind: str | None = None
    rows: int | None = None
    bytes: int | None = None
    written_at: datetime | None = None
    producer: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """A run of a job as OpenLineage names it: one try of an Airflow task, or a DagRun (no ``task_id``).

    ``state`` is the type of its last event, ``None`` before the first.
    """

    run_id: UUID
    namespace: str | None = None
    job: str | None = None
    state: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which DAG run, data, parameters and pipeline version made a run, and what came out of it.

    ``ancestors`` is the run's parent in OpenLineage, that one's parent and so on, as far as known.
    ``unknown`` lists in words what could not be told; it is never guessed.
    """

    run: Run
    inputs: tuple[ExplainedInput, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[Artifact, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    metrics: tuple[Metric, ...] = ()
    unknown: tuple[str, ...] = ()
    ancestors: tuple[JobRun, ...] = ()
