"""Which OpenLineage events are owed of a run, and that each is valid by the specification."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from bridge.domain.emission import RUN, EventType, Owed, RunFacts, Told, Wording, task_run_id
from bridge.domain.emission_facets import MOST_DATASETS
from bridge.domain.explain import ExplainedInput
from bridge.domain.identity import LineageParent, Origin
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, Metric, Run, RunError, Task
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from tests.support.openlineage_spec import check_event, needs_specification
from tests.unit.domain.builders import NOON, RUN_ID, a_run

WORDS = Wording(
    producer="urn:kfbridge:service", namespace="kfp.{project}", version="1.2", url="https://bridge.example/"
)
PARENT = LineageParent(
    run_id=UUID(int=7),
    namespace="prod/emea",
    job="training.train",
    root_run_id=UUID(int=8),
    root_namespace="prod/emea",
    root_job="training",
)
ASKED = Origin(scheduler="airflow", dag_id="training", logical_date=NOON, lineage=PARENT)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def running(**fields: Any) -> Run:
    told = {"phase": RunPhase.ACTIVE, "state": RuntimeState.RUNNING, "started_at": at(1), "origin": ASKED}
    return a_run(**{**told, "observed_at": at(2), **fields})


def ended(state: str = "SUCCEEDED", **fields: Any) -> Run:
    told = {"phase": RunPhase.ENDED, "state": RuntimeState(state), "mirror": MirrorState.COMPLETE}
    return running(**{**told, "finished_at": at(90), "settled_at": at(95), **fields})


def task(path: str, state: str = "SUCCEEDED", **fields: Any) -> Task:
    over = RuntimeState(state).is_terminal
    told = {"task_id": f"id-{path}", "name": path, "path": path, "parent_task_id": None, "kind": "container"}
    times = {"started_at": at(10), "finished_at": at(20) if over else None}
    return Task(**{**told, "state": RuntimeState(state), **times, **fields})


def use(path: str, key: str, direction: Direction = Direction.OUTPUT) -> ArtifactUse:
    return ArtifactUse(task_id=f"id-{path}", task_path=path, key=key, direction=direction)


def whole_run() -> RunFacts:
    artifacts = (
        Artifact(
            backend_artifact_id="1",
            type="system.Dataset",
            uri="s3://lake/tables/1",
            metadata={"rows": 3.0, "schema": [{"name": "late", "type": "BOOLEAN"}, "carrier"]},
            uses=(use("prepare", "table"), use("train", "table", Direction.INPUT)),
        ),
        Artifact(
            backend_artifact_id="2",
            type="system.Model",
            uri="s3://lake/models/1",
            digest="sha256:abc",
            metadata={"size_bytes": 12},
            uses=(use("train", "model"), use("loop[1].evaluate", "model", Direction.INPUT)),
        ),
        Artifact(
            backend_artifact_id="3",
            type="system.Metrics",
            uri="s3://lake/metrics/1",
            uses=(use("loop[1].evaluate", "scores"),),
        ),
        Artifact(
            backend_artifact_id="4",
            type="system.Dataset",
            uri="file:///data/flights/day=1",
            uses=(use("importer", "artifact"), use("prepare", "raw", Direction.INPUT)),
        ),
        Artifact(backend_artifact_id="5", type="system.Artifact", uri="relative", uses=(use("train", "x"),)),
        Artifact(backend_artifact_id="6", type="system.Artifact", uri=None, uses=(use("train", "y"),)),
    )
    return RunFacts(
        run=ended(arguments={"epochs": 3, "target": "late"}, labels={"team": "ops"}),
        tasks=(
            task("", kind="dag"),
            task("importer", kind="importer"),
            task("prepare", cached=True),
            task("train"),
            task("loop", kind="dag"),
            task("loop[1].evaluate", iteration=1, pod_name="pod-1"),
            task("notify", "SKIPPED"),
        ),
        artifacts=artifacts,
        metrics=(Metric(task_path="loop[1].evaluate", name="auc", value=0.7),),
        inputs=(
            ExplainedInput(
                dataset_id=UUID(int=9), name="flights", uri="file:///data/flights/day=1", version="v1", rows=9
            ),
        ),
    )


def owed(facts: RunFacts, told: dict[str, Told] | None = None) -> list[Owed]:
    return list(WORDS.owed(facts, told or {}))


def after(events: list[Owed], told: dict[str, Told] | None = None) -> dict[str, Told]:
    return {**(told or {}), **{one.subject: one.told for one in events}}


def types(events: list[Owed], subject: str = RUN) -> list[str]:
    return [one.told.event.value for one in events if one.subject == subject]


@needs_specification
def test_every_event_and_facet_of_a_run_is_valid() -> None:
    facets = {name for one in owed(whole_run()) for name in check_event(one.event)}
    failed = replace(whole_run(), run=ended("FAILED", error=RunError(message="boom")))
    facets |= {name for one in owed(failed) for name in check_event(one.event)}
    assert facets == {
        *("parent", "nominalTime", "processing_engine", "externalQuery", "executionParameters", "tags"),
        *("jobType", "errorMessage", "version", "datasetType", "schema", "inputStatistics"),
        *("outputStatistics", "kfbridge_run", "kfbridge_task", "kfbridge_metrics"),
    }


def test_the_run_comes_before_its_tasks_and_ends_after_them() -> None:
    events = owed(whole_run())
    assert [one.subject for one in events[:1]] == [one.subject for one in events[-1:]] == [RUN]
    assert types(events) == ["START", "COMPLETE"]
    for subject in ("id-importer", "id-prepare", "id-train", "id-loop", "id-loop[1].evaluate"):
        assert types(events, subject) == ["START", "COMPLETE"]
    assert not types(events, "id-notify"), "it never ran"
    assert not types(events, "id-"), "the root DAG is the run itself"


def test_dag_task_run_and_kfp_tasks_are_one_hierarchy() -> None:
    facts = whole_run()
    events = {one.subject: one.event for one in owed(facts)}
    run, child = events[RUN], events["id-train"]
    assert run["run"]["runId"] == str(facts.run.kfp_run_id)
    asked = run["run"]["facets"]["parent"]
    assert asked["run"]["runId"] == str(PARENT.run_id)
    assert asked["job"] == {"namespace": "prod/emea", "name": "training.train"}
    parent = child["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == run["run"]["runId"]
    assert parent["job"] == {name: run["job"][name] for name in ("namespace", "name")}
    assert parent["root"] == asked["root"]
    assert parent["root"]["run"]["runId"] == str(PARENT.root_run_id)
    assert (run["job"]["namespace"], run["job"]["name"]) == ("kfp.default", "flight-delay")
    assert events["id-loop[1].evaluate"]["job"]["name"] == "flight-delay.loop.evaluate"
    assert child["run"]["runId"] == str(task_run_id(facts.run, "id-train", 1))
    assert events["id-loop"]["job"]["facets"]["jobType"]["jobType"] == "DAG"


def test_datasets_have_version_schema_statistics_and_metrics() -> None:
    events = {one.subject: one.event for one in owed(whole_run())}
    (given,) = events[RUN]["inputs"]
    assert (given["namespace"], given["name"]) == ("file", "/data/flights/day=1")
    assert given["facets"]["version"]["datasetVersion"] == "v1"
    assert given["inputFacets"]["inputStatistics"]["rowCount"] == 9
    made = events[RUN]["outputs"]
    assert [one["name"] for one in made] == ["models/1", "tables/1", "metrics/1"], "models first"
    model = events["id-train"]["outputs"][0]
    assert model["facets"]["version"]["datasetVersion"] == "sha256:abc"
    assert model["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert model["facets"]["kfbridge_metrics"]["metrics"] == {"loop[1].evaluate.auc": 0.7}
    assert model["outputFacets"]["outputStatistics"]["size"] == 12
    table = events["id-prepare"]["outputs"][0]
    assert table["facets"]["schema"]["fields"] == [{"name": "late", "type": "BOOLEAN"}, {"name": "carrier"}]
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == 3
    read = events["id-train"]["inputs"][0]
    assert (read["name"], read["inputFacets"]["inputStatistics"]["rowCount"]) == ("tables/1", 3)
    importer = events["id-importer"]
    assert (len(importer["inputs"]), importer["outputs"]) == (1, [])
    assert events["id-prepare"]["run"]["facets"]["kfbridge_task"]["cached"] is True


@pytest.mark.parametrize("phase", [RunPhase.QUEUED, RunPhase.SUBMITTING, RunPhase.ABANDONED])
def test_a_run_that_may_not_exist_is_not_told_of(phase: RunPhase) -> None:
    assert owed(RunFacts(run=a_run(phase=phase))) == []


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (running(state=RuntimeState.PENDING), ["START"]),
        (running(), ["START", "RUNNING"]),
        (ended(settled_at=None), ["START"]),
        (ended(), ["START", "COMPLETE"]),
        (ended("SKIPPED"), ["START", "COMPLETE"]),
        (ended("FAILED"), ["START", "FAIL"]),
        (ended("CANCELED"), ["START", "ABORT"]),
        (a_run(phase=RunPhase.REJECTED, error=RunError(message="no such namespace")), ["START", "FAIL"]),
        (running(phase=RunPhase.LOST), ["START", "FAIL"]),
        (ended(phase=RunPhase.LOST), ["START", "COMPLETE"]),
    ],
)
def test_what_a_state_is_told_as(run: Run, told: list[str]) -> None:
    events = owed(RunFacts(run=run))
    assert types(events) == told
    assert owed(RunFacts(run=run), after(events)) == [], "nothing is told twice"


def test_a_submission_that_was_given_up_is_told_once_it_was_told_of() -> None:
    known = after(owed(RunFacts(run=running())))
    assert types(owed(RunFacts(run=running(phase=RunPhase.ABANDONED)), known)) == ["ABORT"]


def test_what_was_told_is_not_told_again_and_what_is_new_is() -> None:
    early = RunFacts(run=running(), tasks=(task("train", "RUNNING"), task("evaluate", "PENDING")))
    first = owed(early)
    assert [(one.subject, one.told.event.value) for one in first] == [
        (RUN, "START"),
        (RUN, "RUNNING"),
        ("id-train", "START"),
    ]
    late = RunFacts(run=ended(), tasks=(task("train"), task("evaluate", "FAILED")))
    second = owed(late, after(first))
    assert [(one.subject, one.told.event.value) for one in second] == [
        ("id-train", "COMPLETE"),
        ("id-evaluate", "START"),
        ("id-evaluate", "FAIL"),
        (RUN, "COMPLETE"),
    ]
    assert owed(late, after(second, after(first))) == []


@pytest.mark.parametrize("over", [running(phase=RunPhase.LOST), ended("CANCELED")])
def test_a_task_whose_end_nobody_knows_is_over_with_its_run(over: Run) -> None:
    begun = RunFacts(run=running(), tasks=(task("train", "RUNNING"), task("evaluate", "PENDING")))
    told = after(owed(begun))
    lost = RunFacts(run=over, tasks=begun.tasks)
    events = owed(lost, told)
    assert types(events, "id-train") == ["ABORT"]
    assert types(events, "id-evaluate") == [], "what never began does not end"
    told = after(events, told)
    assert owed(lost, told) == [], "nothing is told twice"
    known = RunFacts(run=over, tasks=(task("train", "FAILED"),))
    assert types(owed(known, told), "id-train") == ["FAIL"], "its end became known after all"


def test_a_revived_run_goes_on_under_its_id_and_its_retried_tasks_get_new_ones() -> None:
    failed = RunFacts(run=ended("FAILED"), tasks=(task("train", "FAILED"), task("prepare")))
    told = after(owed(failed))
    again = RunFacts(
        run=running(revivals=1), tasks=(task("train", "RUNNING", started_at=at(100)), task("prepare"))
    )
    events = owed(again, told)
    assert [(one.subject, one.told.event.value) for one in events] == [
        (RUN, "RUNNING"),
        ("id-train", "START"),
    ]
    told = after(events, told)
    assert events[1].event["run"]["runId"] == str(task_run_id(again.run, "id-train", 2))
    assert events[1].event["run"]["runId"] != str(task_run_id(again.run, "id-train", 1))
    well = RunFacts(
        run=ended(revivals=1, finished_at=at(120)),
        tasks=(task("train", started_at=at(100), finished_at=at(110)), task("prepare")),
    )
    events = owed(well, told)
    assert types(events) == types(events, "id-train") == ["COMPLETE"]
    assert events[0].event["run"]["facets"]["kfbridge_task"]["attempt"] == 2


def test_a_retry_that_was_over_before_anybody_looked_is_a_try_of_its_own() -> None:
    told = after(owed(RunFacts(run=ended("FAILED"), tasks=(task("train", "FAILED"),))))
    again = task("train", started_at=at(100), finished_at=at(110))
    events = owed(RunFacts(run=ended(finished_at=at(120)), tasks=(again,)), told)
    assert [(one.subject, one.told.event.value, one.told.attempt) for one in events] == [
        ("id-train", "START", 2),
        ("id-train", "COMPLETE", 2),
        (RUN, "COMPLETE", 1),
    ]


def test_an_end_that_is_told_later_is_no_try_of_its_own() -> None:
    unsure = RunFacts(run=running(), tasks=(task("train", finished_at=None),))
    told = after(owed(unsure))
    assert types(owed(RunFacts(run=running(), tasks=(task("train"),)), told), "id-train") == []


def test_what_is_mirrored_after_the_end_is_told_as_other() -> None:
    early = RunFacts(run=ended(mirror=MirrorState.PARTIAL))
    told = after(owed(early))
    events = owed(replace(whole_run(), run=ended()), told)
    assert types(events) == ["OTHER"]
    assert events[-1].event["outputs"]
    assert owed(replace(whole_run(), run=ended()), after(events, told)) == []


def test_a_failure_says_why() -> None:
    tail = ("Traceback (most recent call last):", "ValueError: boom")
    error = RunError(message="train failed: boom", log_tail=tail)
    facts = RunFacts(run=ended("FAILED", error=error), tasks=(task("train", "FAILED", error=error),))
    for one in owed(facts):
        why = one.event["run"]["facets"].get("errorMessage")
        assert (why is not None) == (one.told.event is EventType.FAIL)
        if why is not None:
            assert why["message"] == "train failed: boom"
            assert (why["programmingLanguage"], why["stackTrace"]) == ("PYTHON", "\n".join(tail))


def test_an_event_lists_a_bounded_number_of_datasets_and_says_how_many_it_leaves_out() -> None:
    many = [
        Artifact(
            backend_artifact_id=str(number),
            type="system.Dataset",
            uri=f"s3://b/{number}",
            uses=(use("a", "o"),),
        )
        for number in range(MOST_DATASETS + 7)
    ]
    (*_, last) = owed(RunFacts(run=ended(), tasks=(task("a"),), artifacts=many))
    assert len(last.event["outputs"]) == MOST_DATASETS
    assert last.event["run"]["facets"]["kfbridge_run"]["datasets_left_out"] == 7


def test_the_run_is_found_again_from_its_event() -> None:
    facets = owed(whole_run())[-1].event["run"]["facets"]
    assert facets["kfbridge_run"]["url"] == f"https://bridge.example/runs/{RUN_ID}"
    assert facets["kfbridge_metrics"]["metrics"] == {"loop[1].evaluate.auc": 0.7}
    assert {"key": "epochs", "value": "3"} in facets["executionParameters"]["parameters"]
    assert facets["nominalTime"]["nominalStartTime"] == "2026-01-02T12:00:00.000000+00:00"
