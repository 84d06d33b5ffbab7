"""OpenLineage events: ids as Airflow's provider derives them, bodies valid by the specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.client.models import InputModel
from bridge.domain.openlineage import dataset_name, static_run_id
from bridge.provider.openlineage import (
    dag_run_id,
    lineage_parent,
    outputs_event,
    task_run_id,
)
from bridge.provider.origin import build_origin
from tests.support.openlineage_spec import check_event, needs_specification
from tests.unit.provider.support import a_context


@pytest.mark.parametrize(
    ("instant", "data", "expected"),
    [
        # Made with openlineage-python's generate_static_uuid.
        (
            datetime(2026, 3, 1, 2, tzinfo=UTC),
            "default.training.train.1.-1",
            "019ca71f-b900-7c4d-b093-9edf2c465792",
        ),
        (
            datetime(2026, 3, 1, 2, 0, 0, 123456, tzinfo=UTC),
            "prod.training.0",
            "019ca71f-b97b-754f-abe2-dfb7a5183955",
        ),
    ],
)
def test_run_ids_are_those_of_openlineages_client(instant: datetime, data: str, expected: str) -> None:
    assert str(static_run_id(instant, data)) == expected
    elsewhere = instant.astimezone(timezone(timedelta(hours=5)))
    assert str(static_run_id(elsewhere, data)) == expected


def test_a_try_is_a_run_of_its_own_and_the_dagrun_another() -> None:
    first, second = a_context(), a_context(try_number=2)
    assert str(task_run_id(first)) == "019ca71f-b900-7c4d-b093-9edf2c465792"
    assert task_run_id(first) != task_run_id(second)
    assert dag_run_id(first) == dag_run_id(second)


class AnyTask(SimpleNamespace):
    """A task instance as the macros of Airflow's OpenLineage provider ask it."""

    def get_template_context(self) -> dict[str, Any]:
        return {"dag_run": self.dag_run}


def told_by_airflow(context: Any) -> dict[str, str]:
    from airflow.providers.openlineage.plugins import macros

    ti = AnyTask(**vars(context["ti"]), dag_run=context["dag_run"])
    return {
        "run_id": macros.lineage_run_id(ti),
        "namespace": macros.lineage_job_namespace(),
        "job": macros.lineage_job_name(ti),
        "root_run_id": macros.lineage_root_run_id(ti),
        "root_namespace": macros.lineage_root_job_namespace(ti),
        "root_job": macros.lineage_root_job_name(ti),
    }


ROOT = {
    "rootParentRunId": "019ca71f-b97b-754f-abe2-dfb7a5183955",
    "rootParentJobNamespace": "prod/emea",
    "rootParentJobName": "nightly",
}
PARENT = {
    "parentRunId": "019ca71f-b900-7c4d-b093-9edf2c465792",
    "parentJobNamespace": "prod",
    "parentJobName": "nightly.trigger",
}


@pytest.mark.parametrize(
    "conf",
    [
        None,
        {},
        {"openlineage": {**ROOT, **PARENT}},
        {"openlineage": PARENT},
        {"openlineage": {**PARENT, "rootParentRunId": ROOT["rootParentRunId"]}},
        {"openlineage": {"parentRunId": PARENT["parentRunId"]}},
    ],
)
@pytest.mark.parametrize("ti", [{}, {"try_number": 3, "map_index": 7}])
def test_the_parent_is_the_one_that_airflows_own_provider_tells(conf: Any, ti: dict[str, int]) -> None:
    context = a_context(**ti)
    context["dag_run"].conf = conf
    parent = build_origin(context, deployment=None).lineage
    assert parent is not None
    assert parent.model_dump(mode="json") == told_by_airflow(context)


def test_a_broken_root_costs_the_run_nothing() -> None:
    context = a_context()
    context["dag_run"].conf = {"openlineage": {**ROOT, "rootParentRunId": "nightly-7"}}
    assert lineage_parent(context).root_job == "training"


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("/data/flights/day=1", ("file", "/data/flights/day=1")),
        ("file:///data/a b", ("file", "/data/a b")),
        ("s3a://lake/flights/day=1", ("s3://lake", "flights/day=1")),
        ("s3://lake", ("s3", "s3://lake")),
        ("https://h:8080/x?version=2", ("https", "https://h:8080/x?version=2")),
        ("urn:table:flights", ("urn", "urn:table:flights")),
    ],
)
def test_datasets_are_named_by_openlineages_rules(uri: str, named: tuple[str, str]) -> None:
    assert dataset_name(uri) == named


def an_event() -> dict[str, Any]:
    context = a_context()
    outputs = [
        InputModel(name="o", uri="file:///data/day=1", version="abc", version_kind="sha256", rows=3, bytes=9),
        InputModel(name="o", uri="s3://lake/day=2"),
    ]
    return outputs_event(context, build_origin(context, deployment="prod"), outputs)


@needs_specification
def test_the_event_and_its_facets_are_valid() -> None:
    facets = {"kfbridge_origin", "parent", "nominalTime", "jobType", "version", "outputStatistics"}
    assert check_event(an_event()) == facets


def test_the_event_says_on_whose_behalf() -> None:
    event = an_event()
    origin = event["run"]["facets"]["kfbridge_origin"]
    assert (origin["dag_id"], origin["task_id"], origin["deployment"]) == ("training", "train", "prod")
    assert "asset_events" not in origin
    assert event["run"]["facets"]["parent"]["root"]["job"]["name"] == "training"
    assert event["outputs"][1]["facets"] == {}
    assert event["outputs"][1]["outputFacets"] == {}
