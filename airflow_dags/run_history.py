"""Which runs failed since yesterday: how a task of one's own asks the bridge. Run it by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from bridge.provider.hooks import KubeflowBridgeHook


@dag(
    dag_id="run_history",
    schedule=None,
    params={"state": Param("FAILED", enum=["SUCCEEDED", "FAILED", "CANCELED"], description="Which runs.")},
    tags=["example"],
    doc_md=__doc__,
)
def run_history() -> None:
    """One task; its XCom lists the runs."""

    @task
    def list_runs() -> list[dict[str, Any]]:
        """The newest runs in that state, of whatever DAG or notebook, with the component that failed."""
        state = get_current_context()["params"]["state"]
        with KubeflowBridgeHook().get_conn() as bridge:
            since = datetime.now(UTC) - timedelta(days=1)
            page = bridge.list_runs(state=state, created_after=since.isoformat(), limit=50)
        for run in page.items:
            print(f"{run.pipeline.name} {run.state}: {run.error.message if run.error else 'no error'}")
        return [{"run_id": str(run.run_id), "pipeline": run.pipeline.name} for run in page.items]

    list_runs()


run_history()
