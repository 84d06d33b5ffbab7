"""Which DAG run, which data in which version and which parameters made a model.

``EXPLAIN_SQL`` is the answer as one statement for people with a database shell; it reads the same on
SQLite and on PostgreSQL. ``explain_run`` gives the same facts, and more, to programs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Text, bindparam, text
from sqlmodel import Session

from bridge.domain.explain import ExplainedInput, Explanation
from bridge.domain.lineage import Artifact, Direction, Run
from bridge.domain.redaction import redact_uri
from bridge.domain.states import MirrorState
from bridge.lineage.columns import Uid
from bridge.lineage.convert import uri_key
from bridge.lineage.datasets import inputs_of
from bridge.lineage.jobs import ancestors
from bridge.lineage.reading import artifacts_of, importers_of, metrics_of
from bridge.lineage.runs import get_run

MODEL_TYPE = "system.Model"

EXPLAIN_SQL = """\
WITH chosen AS (
  SELECT id FROM runs WHERE run_id = :run_id
  UNION
  SELECT u.run
  FROM artifacts AS a
  JOIN artifact_uses AS u ON u.artifact = a.id AND u.direction = 'OUTPUT'
  JOIN tasks AS t ON t.id = u.task AND COALESCE(t.kind, '') NOT IN ('dag', 'importer')
  WHERE a.uri_key = :model_uri
)
SELECT CAST(r.run_id AS text) AS run_id, 1 AS place, 'run' AS fact,
       r.pipeline_name AS name, r.shown_state AS value, r.pipeline_digest AS version,
       r.dag_id, r.dag_run_id, r.task_id
FROM runs AS r JOIN chosen AS c ON c.id = r.id
UNION ALL
SELECT CAST(r.run_id AS text), 2, 'parameters',
       'arguments', CAST(r.arguments AS text), NULL, NULL, NULL, NULL
FROM runs AS r JOIN chosen AS c ON c.id = r.id
UNION ALL
SELECT CAST(r.run_id AS text), 3, 'data',
       e.name, d.uri, NULLIF(v.version, ''), w.dag_id, w.dag_run_id, w.task_id
FROM runs AS r JOIN chosen AS c ON c.id = r.id
JOIN dataset_uses AS e ON e.run = r.id AND e.direction = 'INPUT'
JOIN dataset_versions AS v ON v.id = e.version
JOIN datasets AS d ON d.id = v.dataset
LEFT JOIN job_runs AS w ON w.id = v.producer
UNION ALL
SELECT CAST(r.run_id AS text), 4, 'model',
       MIN(t.path || '.' || u.key), a.uri, a.digest, NULL, NULL, NULL
FROM runs AS r JOIN chosen AS c ON c.id = r.id
JOIN artifact_uses AS u ON u.run = r.id AND u.direction = 'OUTPUT'
JOIN artifacts AS a ON a.id = u.artifact AND a.type = 'system.Model'
JOIN tasks AS t ON t.id = u.task AND COALESCE(t.kind, '') NOT IN ('dag', 'importer')
GROUP BY r.run_id, a.id, a.uri, a.digest
UNION ALL
SELECT CAST(r.run_id AS text), 5, 'metric',
       m.key, CAST(m.value AS text), NULL, NULL, NULL, NULL
FROM runs AS r JOIN chosen AS c ON c.id = r.id
JOIN metrics AS m ON m.run = r.id
ORDER BY run_id, place, name, value"""


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of ``EXPLAIN_SQL``. ``fact`` is ``run``, ``parameters``, ``data``, ``model`` or ``metric``;
    the DAG columns say who asked for the run, or who wrote the data."""

    run_id: str
    fact: str
    name: str
    value: str | None
    version: str | None
    dag_id: str | None
    dag_run_id: str | None
    task_id: str | None


def explain_facts(
    session: Session, *, run_id: UUID | None = None, model_uri: str | None = None
) -> list[Fact]:
    """The rows of ``EXPLAIN_SQL`` for a run, or for every run that put out the model at a URI."""
    statement = text(EXPLAIN_SQL).bindparams(
        bindparam("run_id", type_=Uid()), bindparam("model_uri", type_=Text())
    )
    rows = session.execute(statement, {"run_id": run_id, "model_uri": uri_key(model_uri)})
    return [Fact(**{name: row[name] for name in Fact.__slots__}) for row in rows.mappings()]


def explain_run(session: Session, run_id: UUID) -> Explanation | None:
    """Everything the database knows of how a run came to be and what came out of it; ``None`` if unknown."""
    run = get_run(session, run_id)
    if run is None:
        return None
    inputs = inputs_of(session, run_id)
    artifacts = artifacts_of(session, run_id)
    importers = importers_of(session, run_id)
    return Explanation(
        run=run,
        inputs=tuple(inputs),
        parameters=run.arguments,
        models=tuple(artifact for artifact in artifacts if _is_model_made(artifact, importers)),
        artifacts=tuple(artifacts),
        metrics=tuple(metrics_of(session, run_id)),
        unknown=tuple(_unknown(run, inputs)),
        ancestors=tuple(
            ancestors(session, run.project, run.origin.lineage.run_id) if run.origin.lineage else ()
        ),
    )


def _is_model_made(artifact: Artifact, importers: Collection[str]) -> bool:
    made = any(use.direction is Direction.OUTPUT and use.task_id not in importers for use in artifact.uses)
    return made and artifact.type == MODEL_TYPE


def _unknown(run: Run, inputs: Sequence[ExplainedInput]) -> list[str]:
    unknown = []
    if run.submission_key is None:
        unknown.append("who asked for the run: it was started on the backend, not through the bridge")
    elif run.origin.dag_id is None:
        unknown.append("the DAG run: the request named none")
    if not inputs:
        unknown.append("the data: the request named none and no importer read any")
    for item in inputs:
        if item.version is None:
            unknown.append(f"the version of {redact_uri(item.uri)}")
        if item.producer is None:
            unknown.append(f"who wrote {redact_uri(item.uri)}")
    if run.mirror is MirrorState.EXPIRED:
        unknown.append("artifacts and metrics the backend had deleted before they were read")
    elif run.mirror is not MirrorState.COMPLETE:
        unknown.append("artifacts and metrics the backend has not told yet")
    return unknown
