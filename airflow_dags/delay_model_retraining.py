"""Retraining of the delay model: every night at 02:00 UTC, and whenever the ETL has written new data.

Airflow picks the data and says when; the pipeline runs in Kubeflow; the bridge judges the gate against
the last good model; the last task acts on the verdict. What travels between them are references.

The Variable ``flights_window_days`` (30) says how many of the newest days to train on, the Variable
``kfbridge_notification_conn_id`` names the connection that hears of failures.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, get_current_context, task
from flights import settings
from flights.assets import DELAY_MODEL, FLIGHTS

from bridge.provider.notifiers import BridgeRunNotifier
from bridge.provider.operators import KubeflowPipelineOperator

# Without a start date and with no tolerance at all, so that unpausing the DAG waits for the next 02:00;
# ``False`` would still start a run at once during the tenth of a day after it (Airflow 3.3.2).
_NIGHTLY = CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta(0))


@dag(
    dag_id="delay_model_retraining",
    schedule=AssetOrTimeSchedule(timetable=_NIGHTLY, assets=[FLIGHTS]),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": settings.retry_delay(),
        "on_failure_callback": BridgeRunNotifier(),
    },
    params={
        "window_days": Param(
            None, type=["null", "integer"], minimum=1, description="Days to train on; empty: the Variable."
        ),
        "target": Param("arrival", enum=["arrival", "departure"], description="Whose delay is predicted."),
    },
    tags=["flights", "training"],
    doc_md=__doc__,
)
def delay_model_retraining() -> None:
    """Pick the data, train, act on the verdict."""

    @task(multiple_outputs=True)
    def pick_window() -> dict[str, Any]:
        """The newest partitions that are there, each in the version it has now."""
        from airflow.sdk import Variable
        from airflow.sdk.exceptions import AirflowSkipException
        from flights.storage import newest_partitions

        asked = get_current_context()["params"]["window_days"]
        days = int(asked or Variable.get(settings.WINDOW_VARIABLE, default=settings.DEFAULT_WINDOW_DAYS))
        partitions = newest_partitions(FLIGHTS.uri, days)
        if not partitions:
            raise AirflowSkipException(f"there are no flights at {FLIGHTS.uri} yet: run flights_etl first")
        print(f"{len(partitions)} of at most {days} days, {sum(p.rows for p in partitions)} flights")
        return {
            "flights": [partition.as_input() for partition in partitions],
            "versions": [partition.version for partition in partitions],
        }

    @task
    def act_on_gate(reference: dict[str, Any]) -> dict[str, Any]:
        """Promotes the model, or keeps the one in production, as the gate said."""
        from flights import registry

        pointer = registry.pointer_uri(settings.registry_uri(), settings.MODEL_NAME)
        return registry.as_xcom(registry.act(reference, pointer, datetime.now(UTC)))

    window = pick_window()
    retrain = KubeflowPipelineOperator(
        task_id="retrain",
        pipeline=settings.compiled_pipeline("flight_delay"),
        inputs={"flights": window["flights"]},
        arguments={
            "versions": window["versions"],
            "target": "{{ params.target }}",
            "register_to": settings.registry_folder(),
        },
        experiment="flight-delay",
        display_name="flight-delay {{ run_id }}",
        gate="evaluate.auc >= last_good - 0.01",
        # A worse model is no failure: the next task keeps the old one.
        gate_action="continue",
        outlets=[DELAY_MODEL],
    )
    act_on_gate(retrain.output)


delay_model_retraining()
