"""The flight-delay pipeline with each of its tasks shown as an Airflow task, from one submission.

Run it by hand once the ETL has written data. Clear a task that failed, with what is downstream of it,
and the failed tasks of the same KFP run are tried again.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from flights import settings
from flights.assets import FLIGHTS

from bridge.provider.taskgroup import KubeflowPipelineTaskGroup


@dag(
    dag_id="flights_as_tasks",
    schedule=None,
    params={"window_days": Param(7, type="integer", minimum=1, description="How many of the newest days.")},
    tags=["flights", "training", "example"],
    doc_md=__doc__,
)
def flights_as_tasks() -> None:
    """Pick the data, train task by task, say what came out."""

    @task(multiple_outputs=True)
    def pick_window() -> dict[str, Any]:
        """The newest partitions that are there, each in the version it has now."""
        from airflow.sdk.exceptions import AirflowSkipException
        from flights.storage import newest_partitions

        partitions = newest_partitions(FLIGHTS.uri, int(get_current_context()["params"]["window_days"]))
        if not partitions:
            raise AirflowSkipException(f"there are no flights at {FLIGHTS.uri} yet: run flights_etl first")
        return {
            "flights": [partition.as_input() for partition in partitions],
            "versions": [partition.version for partition in partitions],
        }

    @task
    def tell(reference: dict[str, Any]) -> dict[str, Any]:
        """What the run's metrics are; ``training.finish`` has returned the reference of the whole run."""
        print(f"run {reference['run_id']} {reference['state']}: {reference['metrics']}")
        return dict(reference["metrics"])

    window = pick_window()
    training = KubeflowPipelineTaskGroup(
        "training",
        pipeline=settings.compiled_pipeline("flight_delay"),
        inputs={"flights": window["flights"]},
        arguments={"versions": window["versions"]},
        experiment="flight-delay",
        display_name="flight-delay as tasks {{ run_id }}",
    )
    tell(training.output)


flights_as_tasks()
