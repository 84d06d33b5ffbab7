"""Datasets, their versions, and who wrote and read them: where Airflow's side and KFP's side meet.

One place is one dataset, by its normalised URI within a project; one version of it is one row, whoever
tells of it: the asset event of the task that wrote it, an OpenLineage event, the submission that names
it as an input, or the importer that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import RowMapping, case, delete, select, update
from sqlmodel import Session

from bridge.domain.explain import ExplainedInput
from bridge.domain.identity import canonical_json
from bridge.domain.lineage import Direction, InputVersion, JobRunEvent
from bridge.domain.uris import normalise_uri
from bridge.lineage.bulk import in_pieces, insert_new
from bridge.lineage.columns import database_time
from bridge.lineage.convert import uri_key
from bridge.lineage.errors import NotStored
from bridge.lineage.jobs import instance_of, origin_from_columns, producers, record_job_run
from bridge.lineage.tables import ARTIFACTS, DATASET_USES, DATASET_VERSIONS, DATASETS, JOB_RUNS, RUNS
from bridge.lineage.versions import Told, store_versions

# A fixed namespace, so that a dataset has the same public id in a restored or a second database.
_NAMESPACE = UUID("6b6b1a4e-2c0d-5d5b-9b1f-0a3f6f1c7a12")
# What an event says before the work, or of work that failed, is no proof that the data is there.
_NO_PROOF = frozenset({"START", "FAIL", "ABORT"})


@dataclass(frozen=True, slots=True)
class _Edge:
    """A dataset version used by a run or a job run; what ``dataset_uses`` stores of it."""

    told: Told
    direction: Direction
    via: str
    name: str = ""
    position: int = 0


def record_inputs(session: Session, run_id: UUID, project: str, inputs: Sequence[InputVersion]) -> None:
    """Store the run's input edges (``add_submission`` and ``add_attempt`` do so by themselves).

    Repeatable. Raises ``NotStored`` for an unknown run and ``ValueError`` for a URI that is none.
    """
    if not inputs:
        return
    run = session.scalars(select(RUNS.c.id).where(RUNS.c.run_id == run_id)).first()
    if run is None:
        raise NotStored(f"there is no run {run_id}")
    job_runs = producers(session, project, [item.producer for item in inputs if item.producer is not None])
    datasets = ensure_datasets(session, project, [item.uri for item in inputs])
    edges = []
    for position, item in enumerate(inputs):
        instance = instance_of(item.producer)
        told = Told(
            dataset=datasets[_key(item.uri)],
            version=item.version or "",
            version_kind=item.version_kind,
            rows=item.rows,
            bytes=item.bytes,
            producer=None if instance is None else job_runs[instance],
        )
        edges.append(_Edge(told, Direction.INPUT, "input", item.name, position))
    _store_edges(session, project, edges, run=run)
    _forget_imports(session, run, list(datasets.values()))


def _forget_imports(session: Session, run: int, datasets: Sequence[int]) -> None:
    """What a submission declares says more than that an importer read it."""
    for piece in in_pieces(datasets):
        versions = select(DATASET_VERSIONS.c.id).where(DATASET_VERSIONS.c.dataset.in_(piece))
        session.execute(
            delete(DATASET_USES).where(
                DATASET_USES.c.run == run,
                DATASET_USES.c.via == "importer",
                DATASET_USES.c.version.in_(versions),
            )
        )


def record_job_event(session: Session, project: str, event: JobRunEvent) -> None:
    """Store what an OpenLineage run event says: job, job run, datasets written and read. Repeatable.

    Outputs count from events that tell of work done, not from START, FAIL or ABORT. Raises
    ``ValueError`` for a dataset whose URI is none.
    """
    job_run = record_job_run(session, project, event)
    used = [
        item
        for item in event.datasets
        if item.direction is Direction.INPUT or event.event_type not in _NO_PROOF
    ]
    datasets = ensure_datasets(session, project, [item.uri for item in used])
    edges = []
    for item in used:
        wrote = item.direction is Direction.OUTPUT
        told = Told(
            dataset=datasets[_key(item.uri)],
            version=item.version or "",
            rows=item.rows,
            bytes=item.bytes,
            producer=job_run if wrote else None,
            written_at=event.event_time if wrote else None,
            certain=wrote,
        )
        edges.append(_Edge(told, item.direction, "openlineage"))
    _store_edges(session, project, edges, job_run=job_run)


def record_imports(session: Session, run: int, project: str, uris: Mapping[str, str]) -> None:
    """Store that importers of a run (by path) read URIs, where the submission did not name them already."""
    datasets = ensure_datasets(session, project, list(uris.values()))
    named = set(
        session.scalars(
            select(DATASET_VERSIONS.c.dataset)
            .join(DATASET_USES, DATASET_USES.c.version == DATASET_VERSIONS.c.id)
            .where(DATASET_USES.c.run == run, DATASET_USES.c.via == "input")
        )
    )
    edges = [
        _Edge(Told(dataset=datasets[_key(uri)]), Direction.INPUT, "importer", path, position)
        for position, (path, uri) in enumerate(sorted(uris.items()))
        if datasets[_key(uri)] not in named
    ]
    _store_edges(session, project, edges, run=run)


def ensure_datasets(session: Session, project: str, uris: Collection[str]) -> dict[str, int]:
    """The datasets at the URIs by ``uri_key``, made now where they are new; artifacts already known at a
    new dataset's place are tied to it. Raises ``ValueError`` for what is no URI."""
    wanted = {_key(uri): normalise_uri(uri) for uri in uris}
    found = find_datasets(session, project, wanted)
    new = sorted(key for key in wanted if key not in found)
    if new:
        at = session.execute(select(database_time())).scalar_one()
        insert_new(session, DATASETS, [_dataset(project, key, wanted[key], at) for key in new])
        found |= find_datasets(session, project, new)
        _tie_artifacts(session, project, new)
    return found


def _tie_artifacts(session: Session, project: str, keys: Sequence[str]) -> None:
    place = select(DATASETS.c.id).where(
        DATASETS.c.project == project, DATASETS.c.uri_key == ARTIFACTS.c.uri_key
    )
    for piece in in_pieces(keys):
        session.execute(
            update(ARTIFACTS)
            .where(ARTIFACTS.c.project == project, ARTIFACTS.c.uri_key.in_(piece))
            .values(dataset=place.scalar_subquery())
        )


def find_datasets(session: Session, project: str, keys: Collection[str]) -> dict[str, int]:
    """The stored datasets among the given ``uri_key`` values."""
    found: dict[str, int] = {}
    for piece in in_pieces(keys):
        statement = select(DATASETS.c.uri_key, DATASETS.c.id).where(
            DATASETS.c.project == project, DATASETS.c.uri_key.in_(piece)
        )
        found |= {row.uri_key: row.id for row in session.execute(statement)}
    return found


def _key(uri: str) -> str:
    key = uri_key(uri)
    if key is None:
        raise ValueError(f"{uri!r} is neither a URI with a scheme nor an absolute path")
    return key


def _dataset(project: str, key: str, uri: str, at: datetime) -> dict[str, Any]:
    return {
        "dataset_id": uuid5(_NAMESPACE, canonical_json([project, key])),
        "project": project,
        "uri": uri,
        "uri_key": key,
        "created_at": at,
    }


def _store_edges(
    session: Session,
    project: str,
    edges: Sequence[_Edge],
    *,
    run: int | None = None,
    job_run: int | None = None,
) -> None:
    versions = store_versions(session, project, [edge.told for edge in edges])
    insert_new(
        session,
        DATASET_USES,
        [
            {
                "project": project,
                "version": version,
                "run": run,
                "job_run": job_run,
                "direction": edge.direction.value,
                "via": edge.via,
                "name": edge.name,
                "position": edge.position,
            }
            for edge, version in zip(edges, versions, strict=True)
        ],
    )


def inputs_of(session: Session, run_id: UUID) -> list[ExplainedInput]:
    """The data a run read, in the order it was named: which version, who wrote it.

    What the submission declared comes first, then what only importers tell.
    """
    declared = DATASET_USES.c.via == "input"
    statement = (
        select(
            DATASETS.c.dataset_id,
            DATASETS.c.uri,
            DATASET_USES.c.name,
            DATASET_USES.c.via,
            DATASET_VERSIONS.c.version,
            DATASET_VERSIONS.c.version_kind,
            DATASET_VERSIONS.c.rows,
            DATASET_VERSIONS.c.bytes,
            DATASET_VERSIONS.c.written_at,
            JOB_RUNS.c.dag_id,
            JOB_RUNS.c.dag_run_id,
            JOB_RUNS.c.task_id,
            JOB_RUNS.c.map_index,
            JOB_RUNS.c.try_number,
            JOB_RUNS.c.origin,
        )
        .select_from(RUNS)
        .join(DATASET_USES, DATASET_USES.c.run == RUNS.c.id)
        .join(DATASET_VERSIONS, DATASET_VERSIONS.c.id == DATASET_USES.c.version)
        .join(DATASETS, DATASETS.c.id == DATASET_VERSIONS.c.dataset)
        .outerjoin(JOB_RUNS, JOB_RUNS.c.id == DATASET_VERSIONS.c.producer)
        .where(RUNS.c.run_id == run_id)
        .order_by(case((declared, 0), else_=1), DATASET_USES.c.position, DATASET_USES.c.id)
    )
    return [_explained(row) for row in session.execute(statement).mappings()]


def _explained(row: RowMapping) -> ExplainedInput:
    return ExplainedInput(
        dataset_id=row["dataset_id"],
        name=row["name"],
        uri=row["uri"],
        declared=row["via"] == "input",
        version=row["version"] or None,
        version_kind=row["version_kind"],
        rows=row["rows"],
        bytes=row["bytes"],
        written_at=row["written_at"],
        producer=origin_from_columns(row),
    )
