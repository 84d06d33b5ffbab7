"""A DAG that runs when a good model is there, whoever trained it: Airflow, a notebook, KFP's own UI.

The watcher hears of every run that the bridge saw end; no DAG has to name the asset as its outlet.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher, dag, get_current_context, task

from bridge.provider.events import KubeflowEventTrigger

NEWEST_MODEL = Asset(
    "newest_flight_delay_model",
    watchers=[
        AssetWatcher(name="good_runs", trigger=KubeflowEventTrigger(pipeline="flight-delay", good=True)),
    ],
)


@dag(
    dag_id="on_any_model", schedule=[NEWEST_MODEL], catchup=False, tags=["flights", "example"], doc_md=__doc__
)
def on_any_model() -> None:
    """Say which models have come."""

    @task
    def tell() -> list[dict[str, Any]]:
        """What the events tell of the runs: a DagRun may have consumed several."""
        runs = []
        for event in get_current_context()["triggering_asset_events"].get(NEWEST_MODEL, []):
            run = event.extra["payload"]
            print(f"{run['pipeline']}: run {run['run_id']}, {run.get('metrics')}")
            runs.append({"run_id": run["run_id"], "models": run.get("models", [])})
        return runs

    tell()


on_any_model()
