"""A context as an origin, and its assets as inputs."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset

from bridge.client.errors import InputError
from bridge.provider.inputs import resolve_inputs
from bridge.provider.origin import MAX_ASSET_EVENTS, build_origin
from tests.unit.provider.support import START, a_context, asset_event

FLIGHTS = Asset("flights", uri="s3://lake/flights")


class NewestFirst:
    """An inlet's events as Airflow hands them over."""

    def __init__(self, *events: Any) -> None:
        self.events = list(events)

    def ascending(self, up: bool) -> NewestFirst:
        return NewestFirst(*sorted(self.events, key=lambda e: e.timestamp, reverse=not up))

    def limit(self, most: int) -> NewestFirst:
        return NewestFirst(*self.events[:most])

    def __iter__(self) -> Any:
        return iter(self.events)


class ByAsset:
    """Airflow's mapping of inlets to their events; an asset of Airflow 3.1 has no hash."""

    def __init__(self, asset: Asset, events: NewestFirst) -> None:
        self.asset, self.events = asset, events

    def __getitem__(self, asset: Asset) -> NewestFirst:
        if asset != self.asset:
            raise KeyError(asset)
        return self.events


def partition(day: int, version: str = "v1") -> dict[str, Any]:
    return {"uri": f"s3://lake/flights/day={day}", "version": version, "version_kind": "sha256", "rows": day}


def test_the_origin_is_the_task_instance() -> None:
    origin = build_origin(a_context(map_index=3, try_number=2), deployment="prod")
    assert (origin.scheduler, origin.deployment, origin.map_index) == ("airflow", "prod", 3)
    assert (origin.try_number, origin.max_tries, origin.dag_run_start) == (2, 2, START)
    assert origin.url == "http://airflow.example/dags/training"


def test_consumed_events_go_along_oldest_first() -> None:
    late = asset_event("s3://lake/a", minute=9, extra={"rows": 1})
    early = asset_event("s3://lake/b", minute=1, map_index=4)
    events = build_origin(a_context(events=(late, early)), deployment=None).asset_events
    assert [event["uri"] for event in events] == ["s3://lake/b", "s3://lake/a"]
    assert events[0]["source_map_index"] == 4
    assert (events[1]["source_dag_id"], events[1]["extra"]) == ("etl", {"rows": 1})


def test_long_extras_and_many_events_are_cut() -> None:
    extra = {"partitions": [partition(n) for n in range(500)], "rows": 7}
    (event,) = build_origin(
        a_context(events=(asset_event("s3://a", extra=extra),)), deployment=None
    ).asset_events
    assert event["extra"] == {"shortened": True, "partitions_count": 500, "rows": 7}
    many = tuple(asset_event(f"s3://a/{n}") for n in range(MAX_ASSET_EVENTS + 5))
    assert len(build_origin(a_context(events=many), deployment=None).asset_events) == MAX_ASSET_EVENTS


def test_an_asset_is_what_the_dagrun_consumed_of_it() -> None:
    events = (
        asset_event("s3://lake/flights", minute=1, extra={"partitions": [partition(1), partition(2)]}),
        asset_event("s3://lake/flights", minute=2, run_id="r2", extra={"partitions": [partition(2, "v2")]}),
        asset_event("s3://lake/other", minute=3),
    )
    found = resolve_inputs({"flights": FLIGHTS}, a_context(events=events))
    assert [(item.uri[-1], item.version, item.rows) for item in found] == [("1", "v1", 1), ("2", "v2", 2)]
    producers = [item.producer.dag_run_id if item.producer else None for item in found]
    assert producers == ["scheduled__1", "r2"]


def test_an_event_may_tell_the_version_of_the_asset_itself() -> None:
    event = asset_event(
        "s3://lake/flights", extra={"version": "17", "version_kind": "snapshot", "try_number": 2}
    )
    (found,) = resolve_inputs({"flights": FLIGHTS}, a_context(events=(event,)))
    assert (found.uri, found.version, found.version_kind) == ("s3://lake/flights", "17", "snapshot")
    assert found.producer is not None
    assert found.producer.try_number == 2


def test_an_event_from_outside_has_no_producer() -> None:
    event = asset_event("s3://lake/flights", dag_id=None, task_id=None)
    (found,) = resolve_inputs({"flights": FLIGHTS}, a_context(events=(event,)))
    assert (found.uri, found.version, found.producer) == ("s3://lake/flights", None, None)


def test_without_consumed_events_the_newest_one_counts() -> None:
    context = a_context()
    context["inlet_events"] = ByAsset(
        FLIGHTS,
        NewestFirst(
            asset_event("s3://lake/flights", minute=1, extra={"partitions": [partition(1)]}),
            asset_event("s3://lake/flights", minute=5, extra={"partitions": [partition(5)]}),
        ),
    )
    (found,) = resolve_inputs({"flights": FLIGHTS}, context)
    assert found.uri == "s3://lake/flights/day=5"


def test_an_xcom_of_partitions_and_a_reference_of_a_run() -> None:
    reference = {
        "run_id": "r",
        "artifacts": {
            "features.table": {
                "id": "0a0a0a0a-0000-4000-8000-000000000001",
                "type": "system.Dataset",
                "uri": "s3://root/table",
                "digest": "abc",
                "ref": "bridge://artifacts/0a0a0a0a-0000-4000-8000-000000000001",
            }
        },
    }
    found = resolve_inputs({"flights": {"partitions": [partition(1)]}, "table": [reference]}, a_context())
    assert [(item.name, item.uri, item.version) for item in found] == [
        ("flights", "s3://lake/flights/day=1", "v1"),
        ("table", "s3://root/table", "abc"),
    ]


@pytest.mark.parametrize("value", [7, "relative/path", {"version": "1"}])
def test_what_names_no_data_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="input flights"):
        resolve_inputs({"flights": value}, a_context())
