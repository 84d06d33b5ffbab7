"""What these tests share: contexts with real task instances' attributes, and test pipelines."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PIPELINES = Path(__file__).parents[2] / "support" / "pipelines"
TRAINING = PIPELINES / "training.yaml"
START = datetime(2026, 3, 1, 2, 0, 5, tzinfo=UTC)


def asset_event(uri: str, *, extra: dict[str, Any] | None = None, minute: int = 0, **source: Any) -> Any:
    """An asset event as the DagRun that it triggered sees it."""
    return SimpleNamespace(
        asset=SimpleNamespace(name=uri, uri=uri, extra={}),
        extra=extra or {},
        timestamp=START.replace(minute=minute),
        source_dag_id=source.get("dag_id", "etl"),
        source_run_id=source.get("run_id", "scheduled__1"),
        source_task_id=source.get("task_id", "load"),
        source_map_index=source.get("map_index", -1),
    )


def a_context(*, events: tuple[Any, ...] = (), **ti: Any) -> Any:
    """A context with what the provider reads of one."""
    dag_run = SimpleNamespace(
        dag_id="training",
        run_id="scheduled__2",
        start_date=START,
        logical_date=START.replace(second=0),
        run_after=START,
        data_interval_start=START.replace(day=1),
        data_interval_end=START.replace(day=2),
        partition_key=None,
        clear_number=0,
        triggering_user_name=None,
        team_name=None,
        consumed_asset_events=list(events),
    )
    columns = {
        "dag_id": "training",
        "run_id": "scheduled__2",
        "task_id": "train",
        "map_index": -1,
        "try_number": 1,
        "max_tries": 2,
        "log_url": "http://airflow.example/dags/training",
    }
    return {
        "dag_run": dag_run,
        "ti": SimpleNamespace(**{**columns, **ti}),
        "inlet_events": {},
        "outlets": [],
    }
