"""Read-only views for people and BI tools: runs, metrics, models with their data.

Revision: 0002, after 0001.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The two databases spell only these differently.
_SPELLINGS = {
    "sqlite": {
        "seconds": "ROUND((julianday(r.finished_at) - julianday(r.started_at)) * 86400.0, 3)",
        "error": "json_extract(r.error, '$.message')",
        "gate_passed": "json_extract(r.gate, '$.passed')",
    },
    "postgresql": {
        "seconds": "ROUND(EXTRACT(EPOCH FROM (r.finished_at - r.started_at)), 3)",
        "error": "r.error ->> 'message'",
        "gate_passed": "CAST(r.gate ->> 'passed' AS boolean)",
    },
}

_RUNS = """
CREATE VIEW kfbridge_runs AS
SELECT r.run_id, r.kfp_run_id, r.backend, r.project, r.namespace,
       r.pipeline_name AS pipeline, r.pipeline_digest, r.display_name, r.experiment,
       r.shown_state AS state, r.phase, r.good, {gate_passed} AS gate_passed,
       r.mirror, r.attempt, r.revivals,
       r.created_at, r.submitted_at, r.started_at, r.finished_at, {seconds} AS seconds,
       {error} AS error, r.arguments AS parameters, r.scheduler,
       r.dag_id, r.dag_run_id, r.task_id AS airflow_task_id, r.map_index
FROM runs AS r
"""

_METRICS = """
CREATE VIEW kfbridge_metrics AS
SELECT r.run_id, r.backend, r.project, r.pipeline_name AS pipeline, r.created_at,
       r.shown_state AS state, r.good, r.dag_id, r.dag_run_id,
       m.key AS metric, m.task_path, m.name, m.step, m.value
FROM metrics AS m
JOIN runs AS r ON r.id = m.run
"""

# One line for each model and each dataset version its run read; a model without known data has one line.
_MODELS = """
CREATE VIEW kfbridge_models AS
SELECT a.artifact_id, a.uri AS model_uri, a.digest AS model_digest, a.name AS model_name,
       t.path AS task_path, u.key AS output_key,
       r.run_id, r.backend, r.project, r.pipeline_name AS pipeline, r.pipeline_digest, r.created_at,
       r.shown_state AS state, r.good, r.dag_id, r.dag_run_id,
       e.name AS input, d.uri AS data_uri, NULLIF(v.version, '') AS data_version,
       w.dag_id AS data_dag_id, w.dag_run_id AS data_dag_run_id, w.task_id AS data_task_id
FROM artifacts AS a
JOIN artifact_uses AS u ON u.artifact = a.id AND u.direction = 'OUTPUT'
JOIN tasks AS t ON t.id = u.task AND COALESCE(t.kind, '') NOT IN ('dag', 'importer')
JOIN runs AS r ON r.id = u.run
LEFT JOIN dataset_uses AS e ON e.run = r.id AND e.direction = 'INPUT'
LEFT JOIN dataset_versions AS v ON v.id = e.version
LEFT JOIN datasets AS d ON d.id = v.dataset
LEFT JOIN job_runs AS w ON w.id = v.producer
WHERE a.type = 'system.Model'
"""


def upgrade() -> None:
    """Create the views."""
    spelling = _SPELLINGS[op.get_bind().dialect.name]
    for view in (_RUNS, _METRICS, _MODELS):
        op.execute(view.format(**spelling))
