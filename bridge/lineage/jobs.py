"""Jobs and job runs of Airflow's side. A task instance that an asset event names as the producer of data
and the same task instance in an OpenLineage event are one row, whichever is heard of first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, delete, func, or_, select, tuple_, update
from sqlmodel import Session

from bridge.domain.explain import JobRun
from bridge.domain.identity import Origin
from bridge.domain.lineage import JobRunEvent
from bridge.lineage.bulk import in_pieces, insert_new, upsert
from bridge.lineage.columns import clean_text
from bridge.lineage.convert import origin_from_json, origin_to_json
from bridge.lineage.tables import DATASET_USES, DATASET_VERSIONS, JOB_RUNS, JOBS

# dag_id, dag_run_id, task_id, map_index: one task instance, in all its tries.
Instance = tuple[str, str, str, int]
_FAILED = ("FAIL", "ABORT")
_ENDS = ("COMPLETE", *_FAILED)
_MOST_ANCESTORS = 20
_SHOWN = ("state", "started_at", "finished_at", "dag_id", "dag_run_id", "try_number")
_INSTANCE_COLUMNS = (
    JOB_RUNS.c.dag_id,
    JOB_RUNS.c.dag_run_id,
    JOB_RUNS.c.task_id,
    JOB_RUNS.c.map_index,
)


def instance_of(origin: Origin | None) -> Instance | None:
    """The task instance (or, without ``task_id``, the DagRun) an origin names; ``None`` if it names none."""
    if origin is None or origin.dag_id is None or origin.dag_run_id is None:
        return None
    texts = (origin.dag_id, origin.dag_run_id, origin.task_id or "")
    dag_id, dag_run_id, task_id = (clean_text(text) for text in texts)
    return (dag_id, dag_run_id, task_id, origin.map_index)


def producers(session: Session, project: str, origins: Collection[Origin]) -> dict[Instance, int]:
    """The job run that each of the origins stands for, made now where none is known.

    An asset event does not tell the try. So where tries of the task instance are known, it is the newest
    of those that did not fail; only a task instance nobody has heard of gets a row with the origin's try.
    """
    wanted = {instance: origin for origin in origins if (instance := instance_of(origin)) is not None}
    known = _newest_tries(session, project, wanted)
    missing = {instance: origin for instance, origin in wanted.items() if instance not in known}
    if missing:
        insert_new(session, JOB_RUNS, [_row(project, origin) for origin in missing.values()])
        known |= _newest_tries(session, project, missing)
    return known


def _newest_tries(session: Session, project: str, instances: Collection[Instance]) -> dict[Instance, int]:
    found: dict[Instance, int] = {}
    for piece in in_pieces(instances, 200):
        rows = session.execute(
            select(JOB_RUNS.c.id, JOB_RUNS.c.state, *_INSTANCE_COLUMNS)
            .where(JOB_RUNS.c.project == project, tuple_(*_INSTANCE_COLUMNS).in_(piece))
            .order_by(JOB_RUNS.c.try_number)
        ).all()
        # Failed tries first, so that any other try replaces them and a later one an earlier one.
        for row in sorted(rows, key=lambda row: row.state not in _FAILED):
            found[(row.dag_id, row.dag_run_id, row.task_id, row.map_index)] = row.id
    return found


def _row(project: str, origin: Origin) -> dict[str, Any]:
    instance = instance_of(origin)
    names = ("dag_id", "dag_run_id", "task_id", "map_index")
    return {
        "project": project,
        **dict(zip(names, instance or (None,) * 4, strict=True)),
        "try_number": origin.try_number if instance else None,
        "origin": origin_to_json(origin),
    }


def record_job_run(session: Session, project: str, event: JobRunEvent) -> int:
    """Store what an event says of the job and of this run of it; the surrogate key of the job run.

    Events may come twice and in any order: an end is not undone by a start that comes late.
    """
    job = _ensure_job(session, project, event.namespace, event.job, event.job_type)
    key = _find(session, project, event.ol_run_id, event.origin or Origin())
    stored = session.execute(select(JOB_RUNS).where(JOB_RUNS.c.id == key)).mappings().one()
    session.execute(update(JOB_RUNS).where(JOB_RUNS.c.id == key).values(**_news(stored, event, job)))
    return key


def expect_job_run(session: Session, project: str, origin: Origin) -> None:
    """Know the task that asks for a run by its OpenLineage run, whose events may come later or never.

    Its DagRun is its parent where that is the root; any other parent only the events tell.
    """
    parent = origin.lineage
    if parent is None:
        return
    plain = replace(origin, asset_events=(), lineage=None)
    values: dict[str, Any] = {"job": _ensure_job(session, project, parent.namespace, parent.job, "TASK")}
    if parent.root_job == origin.dag_id and parent.root_run_id != parent.run_id:
        values["parent_ol_run_id"] = func.coalesce(JOB_RUNS.c.parent_ol_run_id, parent.root_run_id)
        known = select(JOB_RUNS.c.id).where(
            JOB_RUNS.c.project == project, JOB_RUNS.c.ol_run_id == parent.root_run_id
        )
        # Looked for before it is locked: all tasks of a DagRun share it.
        if session.scalars(known).first() is None:
            dag_run = replace(plain, task_id=None, map_index=-1, try_number=1, max_tries=0, url=None)
            job = _ensure_job(session, project, parent.root_namespace, parent.root_job, "DAG")
            key = _find(session, project, parent.root_run_id, dag_run)
            session.execute(update(JOB_RUNS).where(JOB_RUNS.c.id == key).values(job=job))
    key = _find(session, project, parent.run_id, plain)
    session.execute(update(JOB_RUNS).where(JOB_RUNS.c.id == key).values(**values))


def bundle_of(session: Session, project: str, ol_run_id: UUID) -> tuple[str | None, str | None] | None:
    """The name and revision of the bundle that the DAG of a task's run came from, as Airflow's OpenLineage
    provider tells it; ``None`` if it was not told."""
    statement = select(JOB_RUNS.c.facets).where(
        JOB_RUNS.c.project == project, JOB_RUNS.c.ol_run_id == ol_run_id
    )
    facets = session.scalars(statement).first() or {}
    airflow = (facets.get("run") or {}).get("airflow") or {}
    for part in ("taskInstance", "dagRun"):
        told = airflow.get(part) or {}
        name, version = told.get("dag_bundle_name"), told.get("dag_bundle_version")
        if name or version:
            return name, version
    return None


def ancestors(session: Session, project: str, ol_run_id: UUID) -> list[JobRun]:
    """The job run with this OpenLineage run id, its parent, and so on, as far as they are known."""
    found: dict[UUID, JobRun] = {}
    wanted: UUID | None = ol_run_id
    while wanted is not None and wanted not in found and len(found) < _MOST_ANCESTORS:
        statement = (
            select(JOB_RUNS, JOBS.c.namespace, JOBS.c.name)
            .outerjoin(JOBS, JOBS.c.id == JOB_RUNS.c.job)
            .where(JOB_RUNS.c.project == project, JOB_RUNS.c.ol_run_id == wanted)
        )
        row = session.execute(statement).mappings().first()
        if row is None:
            break
        found[wanted] = job_run_of(row)
        wanted = row["parent_ol_run_id"]
    return list(found.values())


def job_run_of(row: RowMapping) -> JobRun:
    """A row of ``job_runs`` with its job's ``namespace`` and ``name``."""
    return JobRun(
        run_id=row["ol_run_id"],
        namespace=row["namespace"],
        job=row["name"],
        map_index=-1 if row["map_index"] is None else row["map_index"],
        task_id=row["task_id"] or None,
        **{name: row[name] for name in _SHOWN},
    )


def _ensure_job(session: Session, project: str, namespace: str, name: str, job_type: str | None) -> int:
    row = {"project": project, "namespace": namespace, "name": name, "job_type": job_type}
    upsert(session, JOBS, [row], key=("project", "namespace", "name"), keep_known=("job_type",))
    where = (JOBS.c.project == project, JOBS.c.namespace == namespace, JOBS.c.name == name)
    key: int = session.scalars(select(JOBS.c.id).where(*where)).one()
    return key


def _find(session: Session, project: str, ol_run_id: UUID, origin: Origin) -> int:
    """The job run's row, made now if neither of its two keys is stored."""
    instance = instance_of(origin)
    row = _row(project, origin) | {"ol_run_id": ol_run_id}
    insert_new(session, JOB_RUNS, [row])
    same = JOB_RUNS.c.ol_run_id == ol_run_id
    if instance is not None:
        task_instance = and_(
            *(column == part for column, part in zip(_INSTANCE_COLUMNS, instance, strict=True)),
            JOB_RUNS.c.try_number == origin.try_number,
        )
        same = or_(same, task_instance)
    keys = session.scalars(
        select(JOB_RUNS.c.id)
        .where(JOB_RUNS.c.project == project, same)
        .order_by(JOB_RUNS.c.id)
        .with_for_update()
    ).all()
    key: int = keys[0]
    for twin in keys[1:]:
        _merge(session, keep=key, drop=twin)
    values: dict[str, Any] = {"ol_run_id": ol_run_id}
    if instance is not None:
        values |= {name: row[name] for name in ("dag_id", "dag_run_id", "task_id", "map_index", "try_number")}
    session.execute(update(JOB_RUNS).where(JOB_RUNS.c.id == key).values(**values))
    return key


def _merge(session: Session, *, keep: int, drop: int) -> None:
    """Two rows turned out to be one job run: its first event did not say which task instance it was."""
    session.execute(update(DATASET_VERSIONS).where(DATASET_VERSIONS.c.producer == drop).values(producer=keep))
    kept = DATASET_USES.alias("kept")
    twice = (
        select(kept.c.id)
        .where(
            kept.c.job_run == keep,
            kept.c.direction == DATASET_USES.c.direction,
            kept.c.version == DATASET_USES.c.version,
        )
        .exists()
    )
    session.execute(delete(DATASET_USES).where(DATASET_USES.c.job_run == drop, twice))
    session.execute(update(DATASET_USES).where(DATASET_USES.c.job_run == drop).values(job_run=keep))
    session.execute(delete(JOB_RUNS).where(JOB_RUNS.c.id == drop))


def _news(stored: RowMapping, event: JobRunEvent, job: int) -> dict[str, Any]:
    values: dict[str, Any] = {"job": job, "facets": {**stored["facets"], **event.facets}}
    if event.parent_ol_run_id is not None:
        values["parent_ol_run_id"] = event.parent_ol_run_id
    if event.event_type in _ENDS:
        values |= {"state": event.event_type, "finished_at": event.event_time}
    elif stored["state"] not in _ENDS:
        values["state"] = event.event_type
    if event.event_type == "START":
        values["started_at"] = event.event_time
    if event.origin is not None:
        told = origin_to_json(event.origin)
        values["origin"] = {**stored["origin"], **told}
    return values


def origin_from_columns(row: RowMapping, prefix: str = "") -> Origin | None:
    """The origin of a job run: what was told of it, with the columns that name the task instance."""
    if row[prefix + "dag_id"] is None:
        return origin_from_json(row[prefix + "origin"]) if row[prefix + "origin"] else None
    record = dict(row[prefix + "origin"] or {})
    record |= {
        "dag_id": row[prefix + "dag_id"],
        "dag_run_id": row[prefix + "dag_run_id"],
        "task_id": row[prefix + "task_id"] or None,
        "map_index": row[prefix + "map_index"],
        "try_number": row[prefix + "try_number"],
    }
    return origin_from_json(record)
