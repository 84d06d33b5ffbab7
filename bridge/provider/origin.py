"""Who asks for a run: an Airflow context as the origin that the bridge derives its keys from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.client.models import OriginModel
from bridge.provider.openlineage import lineage_parent

if TYPE_CHECKING:
    from airflow.sdk import Context

# A DagRun can consume a year of events at once; an origin is a note of who asked, not a table.
MAX_ASSET_EVENTS = 500
MAX_EVENT_EXTRA_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKey:
    """One task instance of one DagRun, as Airflow's API names it."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int = -1

    @classmethod
    def from_context(cls, context: Context) -> TaskKey:
        """The task instance that is executing."""
        ti = context["ti"]
        return cls(
            dag_id=ti.dag_id,
            dag_run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
        )


def build_origin(context: Context, *, deployment: str | None) -> OriginModel:
    """The origin of a submission made in this context, its consumed asset events included."""
    ti = context["ti"]
    dag_run = context["dag_run"]
    return OriginModel(
        scheduler="airflow",
        deployment=deployment,
        team=getattr(dag_run, "team_name", None),
        user=dag_run.triggering_user_name,
        dag_id=ti.dag_id,
        dag_run_id=ti.run_id,
        dag_run_start=dag_run.start_date,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        max_tries=ti.max_tries,
        logical_date=dag_run.logical_date,
        # Airflow 3.1 has none.
        partition_key=getattr(dag_run, "partition_key", None),
        url=ti.log_url,
        asset_events=[_noted(event) for event in list(consumed_events(context))[-MAX_ASSET_EVENTS:]],
        lineage=lineage_parent(context),
    )


def consumed_events(context: Context) -> Iterator[Any]:
    """The asset events that this DagRun consumed, oldest first, each once."""
    yield from sorted(context["dag_run"].consumed_asset_events, key=lambda event: event.timestamp)


def event_producer(event: Any) -> OriginModel | None:
    """The task instance that emitted an asset event; ``None`` for one that came from outside."""
    if not event.source_dag_id or not event.source_task_id:
        return None
    try_number = (event.extra or {}).get("try_number")
    return OriginModel(
        scheduler="airflow",
        dag_id=event.source_dag_id,
        dag_run_id=event.source_run_id,
        task_id=event.source_task_id,
        map_index=-1 if event.source_map_index is None else event.source_map_index,
        # Airflow's event does not say in which try it was emitted; ``publish_dataset`` notes it.
        try_number=try_number if isinstance(try_number, int) else 1,
    )


def _noted(event: Any) -> dict[str, Any]:
    return {
        "uri": event.asset.uri,
        "name": event.asset.name,
        "timestamp": event.timestamp.isoformat(),
        "source_dag_id": event.source_dag_id,
        "source_run_id": event.source_run_id,
        "source_task_id": event.source_task_id,
        "source_map_index": event.source_map_index,
        "extra": _short(event.extra or {}),
    }


def _short(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The extra itself if it is small, else its small values and the lengths of its long lists."""
    if len(json.dumps(extra, default=str)) <= MAX_EVENT_EXTRA_BYTES:
        return dict(extra)
    kept: dict[str, Any] = {"shortened": True}
    for name, value in extra.items():
        if isinstance(value, list):
            kept[f"{name}_count"] = len(value)
        elif len(json.dumps(value, default=str)) <= 256:
            kept[name] = value
    return kept
