"""A report on the newest model, once it is there: how to wait for a run that another DAG started.

The sensor waits for the newest run of the pipeline since this DagRun's day began, in the triggerer, and
returns the same reference as the operator that started it. Run it by hand, or let it run daily.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from bridge.provider.sensors import KubeflowPipelineSensor


@dag(
    dag_id="model_report",
    schedule=None,
    params={"since": Param(None, type=["null", "string"], format="date-time", description="Runs since.")},
    tags=["flights", "example"],
    doc_md=__doc__,
)
def model_report() -> None:
    """Wait for a good model, then say how good."""

    @task
    def report(reference: dict[str, Any]) -> dict[str, float]:
        """The run's metrics, in the log and as the task's result."""
        metrics: dict[str, float] = reference["metrics"]
        for name, value in metrics.items():
            print(f"{name}: {value:.4f}")
        return metrics

    newest = KubeflowPipelineSensor(
        task_id="newest_model",
        pipeline="flight-delay",
        created_after="{{ params.since or ds }}",
        expect="good",
        poke_interval=30,
        timeout=timedelta(hours=12),
    )
    report(newest.output)


model_report()
