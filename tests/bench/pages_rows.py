"""What pages show that the made-up history does not have, added once: runs of today, a run of many tasks,
events, compiled pipelines, what runs used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, text
from sqlmodel import Session

from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.tables import (
    ARTIFACT_USES,
    ARTIFACTS,
    METRICS,
    PIPELINE_VERSIONS,
    PIPELINES,
    RUNS,
    SPECS,
    TASKS,
)
from tests.bench.seeding_rows import PIPELINES as PIPELINE_COUNT
from tests.bench.seeding_rows import pipeline_name

# A day of a history of a million runs in two years.
RUNS_TODAY = 1370
BIG_RUN, BIG_TASKS, BIG_METRICS = "a run of many tasks", 1000, 1000
_SPEC = Path(__file__).resolve().parents[2] / "kfp_pipelines" / "compiled" / "flight_delay.yaml"
_PIECE = 100_000
_TIMES = ("created_at", "submitted_at", "started_at", "finished_at", "settled_at")
_RESOURCES = {"run": 1.0, "cpu": 2.0, "memory": 8.0, "gpu": 0.1}


def furnish(database: Database, home: Path) -> None:
    """Add all of it, if it is not there; the runs of today as often as a day has gone by."""
    if not database.read(_is_furnished):
        database.transact(_specs)
        for first in range(0, database.read(_last_run) + 1, _PIECE):
            database.transact(lambda session, first=first: _events(session, first))  # type: ignore[misc]
            database.transact(lambda session, first=first: _usage(session, first))  # type: ignore[misc]
        database.transact(_totals)
        database.transact(lambda session: _big_run(session, home))
    database.transact(_today)


def _is_furnished(session: Session) -> bool:
    return session.scalars(select(SPECS.c.id).limit(1)).first() is not None


def _last_run(session: Session) -> int:
    return session.scalars(select(func.max(RUNS.c.id))).one() or 0


def _specs(session: Session) -> None:
    """A text of its own for each pipeline, so that none is known because another was looked at."""
    content = _SPEC.read_text()
    keys = {(row.project, row.name): row.id for row in session.execute(select(PIPELINES))}
    made = database_now(session)
    for number in range(PIPELINE_COUNT):
        name, digest = pipeline_name(number), f"{number:064x}"
        for (project, known), key in keys.items():
            if known == name:
                belongs = {"backend": "", "project": project, "digest": digest, "created_at": made}
                text_of = f"# {project} {name}\n{content}"
                session.execute(insert(SPECS).values(**belongs, name=name, content=text_of))
                session.execute(insert(PIPELINE_VERSIONS).values(**belongs, pipeline=key))


def _events(session: Session, first: int) -> None:
    """Three of each run."""
    session.execute(
        text(
            "INSERT INTO outbox (backend, project, number, type, time, run_id, data)"
            " SELECT backend, project, 3 * id + n, kind, created_at, run_id, '{}' FROM runs,"
            " (SELECT 0 AS n, 'run.created' AS kind UNION ALL SELECT 1, 'run.changed'"
            " UNION ALL SELECT 2, 'run.settled') AS told WHERE id >= :first AND id < :end ORDER BY id, n"
        ),
        {"first": first, "end": first + _PIECE},
    )


def _usage(session: Session, first: int) -> None:
    resources = " UNION ALL ".join(
        f"SELECT '{name}' AS resource, {share} AS share" for name, share in _RESOURCES.items()
    )
    session.execute(
        text(
            "INSERT INTO run_usage (backend, project, run, resource, month, pipeline, team, hours)"
            " SELECT backend, project, id, resource, substr(CAST(finished_at AS text), 1, 7), pipeline_name,"
            f" substr(experiment, 1, 4), 0.5 * share FROM runs, ({resources}) AS used"
            " WHERE finished_at IS NOT NULL AND id >= :first AND id < :end"
        ),
        {"first": first, "end": first + _PIECE},
    )


def _totals(session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO usage_totals (backend, project, month, pipeline, team, resource, runs, hours)"
            " SELECT backend, project, month, pipeline, team, resource, count(*), sum(hours) FROM run_usage"
            " GROUP BY backend, project, month, pipeline, team, resource"
        )
    )
    last = 3 * _last_run(session) + 2
    session.execute(
        text("INSERT INTO counters (backend, project, name, value) VALUES ('', '', 'outbox', :last)"),
        {"last": last},
    )


def _big_run(session: Session, home: Path) -> None:
    """A run of a thousand tasks, an artifact and a metric each; one of these is a file."""
    newest = select(RUNS).where(RUNS.c.shown_state == "FAILED").order_by(RUNS.c.created_at.desc()).limit(1)
    run = _copied(dict(session.execute(newest).mappings().one()), timedelta())
    key = _add_run(session, {**run, "display_name": BIG_RUN, "words": f" {BIG_RUN}"})
    belongs = {"backend": run["backend"], "project": run["project"]}
    made = {"created_at": run["created_at"]}
    root = {"run": key, "cached": False, "inputs": {}, "outputs": {}, "kind": "executor", **belongs, **made}
    tasks = [
        {**root, "task_id": f"big-{number}", "name": "work", "path": f"for-each[{number}].work"}
        for number in range(BIG_TASKS)
    ]
    ended = {"state": "SUCCEEDED", "started_at": run["created_at"], "finished_at": run["created_at"]}
    session.execute(insert(TASKS), [{**task, **ended} for task in tasks])
    session.execute(
        insert(METRICS),
        [
            {**belongs, **made, "run": key, "key": f"work.{number}", "task_path": "work", "name": str(number)}
            | {"value": number / 7, "step": 0}
            for number in range(BIG_METRICS)
        ],
    )
    file = home / "table.csv"
    file.write_text("day,carrier,late\n" * 10_000)
    rows = [
        {**belongs, **made, "artifact_id": uuid4(), "backend_artifact_id": f"big-{number}", "meta": {}}
        | {"type": "system.Dataset", "name": f"part-{number}", "digest": f"{number:064x}"}
        | {"uri": file.as_uri() if number == 0 else f"s3://parts/{number}", "uri_key": f"s3://parts/{number}"}
        for number in range(BIG_TASKS)
    ]
    session.execute(insert(ARTIFACTS), rows)
    _uses(session, key, belongs)


def _uses(session: Session, run: int, belongs: Mapping[str, Any]) -> None:
    tasks = session.scalars(select(TASKS.c.id).where(TASKS.c.run == run).order_by(TASKS.c.id)).all()
    artifacts = session.scalars(
        select(ARTIFACTS.c.id).where(ARTIFACTS.c.backend_artifact_id.like("big-%")).order_by(ARTIFACTS.c.id)
    ).all()
    session.execute(
        insert(ARTIFACT_USES),
        [
            {**belongs, "run": run, "task": task, "artifact": artifact, "direction": "OUTPUT", "key": "part"}
            for task, artifact in zip(tasks, artifacts, strict=True)
        ],
    )


def _today(session: Session) -> None:
    """The newest runs once more, as runs of the last day."""
    newest = select(RUNS).where(RUNS.c.display_name != BIG_RUN).order_by(RUNS.c.created_at.desc())
    rows = session.execute(newest.limit(RUNS_TODAY)).mappings().all()
    moment = database_now(session)
    if not rows or moment - rows[0]["created_at"] < timedelta(days=1):
        return
    later = moment - timedelta(minutes=1) - max(row["finished_at"] or row["created_at"] for row in rows)
    for row in rows:
        _add_run(session, _copied(dict(row), later))


def _copied(row: Mapping[str, Any], later: timedelta) -> dict[str, Any]:
    def moved(value: Any) -> Any:
        return value + later if isinstance(value, datetime) else value

    fresh: dict[str, UUID] = {name: uuid4() for name in ("run_id", "kfp_run_id", "submission_key")}
    times = {name: moved(row[name]) for name in _TIMES}
    return {**{name: value for name, value in row.items() if name != "id"}, **times, **fresh}


def _add_run(session: Session, row: Mapping[str, Any]) -> int:
    key: int = session.execute(insert(RUNS).values(**row).returning(RUNS.c.id)).scalar_one()
    return key
