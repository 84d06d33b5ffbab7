"""The API's messages about lineage: what made a run, what came of it, and the graph of both."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, JsonValue

from bridge.client.models import ArtifactModel, Message, MetricModel, OriginModel, RunModel
from bridge.client.reproduction import ReproducibilityModel


class DatasetVersionModel(Message):
    """One version of a dataset, who wrote it and how much it held."""

    dataset_id: UUID
    uri: str
    version: str | None = None
    version_kind: str | None = None
    rows: int | None = None
    bytes: int | None = None
    written_at: datetime | None = None
    producer: OriginModel | None = None


class ExplainInput(DatasetVersionModel):
    """An input edge of a run: which version of which dataset, under which parameter."""

    name: str


class JobRunModel(Message):
    """A run of a job as OpenLineage names it: one try of an Airflow task, or a DagRun (no ``task_id``).

    ``state`` is the type of its last event, ``null`` before the first.
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


class BundleModel(Message):
    """The bundle of DAGs that the asking task was loaded from, and its revision (a commit)."""

    name: str | None = None
    version: str | None = None


class JobModel(Message):
    """A job as OpenLineage names it: an Airflow DAG or task."""

    project: str
    namespace: str
    name: str
    type: str | None = None


class DatasetModel(Message):
    """A place where data lies, by its URI in the one spelling."""

    dataset_id: UUID
    project: str
    uri: str
    created_at: datetime


class ExplainModel(Message):
    """``GET /runs/{id}/explain``: which DagRun, data, parameters, code and environment made this run,
    and what came out of it. ``ancestors`` is the run's parent in OpenLineage, that one's parent and so on,
    ``bundle`` where the asking DAG came from, ``caching`` what the submission asked for (null: as compiled).
    ``unknown`` lists what could not be told; it is never guessed."""

    run: RunModel
    parent: OriginModel | None = None
    ancestors: list[JobRunModel] = Field(default_factory=list)
    inputs: list[ExplainInput] = Field(default_factory=list)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    images: dict[str, str] = Field(default_factory=dict)
    packages: dict[str, list[str]] = Field(default_factory=dict)
    models: list[ArtifactModel] = Field(default_factory=list)
    artifacts: list[ArtifactModel] = Field(default_factory=list)
    metrics: list[MetricModel] = Field(default_factory=list)
    spec_digest: str = ""
    caching: bool | None = None
    backend: str = ""
    backend_version: str | None = None
    bundle: BundleModel | None = None
    reproducibility: ReproducibilityModel | None = None
    unknown: list[str] = Field(default_factory=list)


class LineageNodeModel(Message):
    """A node of the lineage's graph: an artifact, a task, a run, one version of a dataset, or a run of an
    Airflow job. ``depth`` is the number of steps from where the graph begins; what a kind does not have
    is null. ``id`` is opaque and good for ``GET /lineage?node=``; ``link`` leads to Airflow's page of the
    task."""

    id: str
    kind: Literal["artifact", "task", "run", "dataset", "job_run"]
    depth: int
    name: str
    project: str
    type: str | None = None
    uri: str | None = None
    version: str | None = None
    state: str | None = None
    artifact_id: UUID | None = None
    run_id: UUID | None = None
    dataset_id: UUID | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    at: datetime | None = None
    link: str | None = None


class LineageEdgeModel(Message):
    """What flowed from the node ``source`` to the node ``target``; ``name`` is the input's or output's."""

    source: str
    target: str
    name: str = ""


class LineageGraphModel(Message):
    """``GET /artifacts/{id}/lineage``: nodes by distance and the edges between them. ``truncated`` says that
    more hangs on the nodes in ``frontier`` than depth and node limits let through."""

    nodes: list[LineageNodeModel]
    edges: list[LineageEdgeModel]
    truncated: bool
    frontier: list[str] = Field(default_factory=list)
