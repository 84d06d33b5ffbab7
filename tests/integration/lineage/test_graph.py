"""The lineage's graph: across runs, Airflow's jobs and datasets, within its limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import Session

import bridge.lineage.graph as graph_module
from bridge.client.lineage import LineageGraphModel, LineageNodeModel
from bridge.domain.graph import LineageGraph, NodeKind
from bridge.domain.lineage import DatasetWrite, Direction, InputVersion, JobRunEvent, Run
from bridge.domain.redaction import redact_uri
from bridge.lineage.database import Database
from bridge.lineage.datasets import record_job_event
from bridge.lineage.graph import lineage_of, walk
from bridge.lineage.mirror import store_mirror
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, JOB_RUNS, RUNS
from bridge.service.graphs import graph_json
from tests.bench.seeding import seed
from tests.bench.seeding_rows import History
from tests.support.lineage_samples import ETL, T0, a_mirror, a_submission, partition, some_uuid, submit

RAW, PARTITION = "file:///data/raw.csv", partition(5).uri


def graph(database: Database, node: str, **limits: Any) -> LineageGraph:
    """The graph around a node that is there."""
    found = database.read(lambda session: lineage_of(session, node, **limits))
    assert found is not None
    return found


def names(found: LineageGraph, kind: NodeKind) -> list[str]:
    """The names of the nodes of a kind."""
    return sorted(node.name for node in found.nodes if node.kind is kind)


def etl(number: int, *datasets: tuple[Direction, str]) -> JobRunEvent:
    """The end of an Airflow task that read and wrote datasets."""
    return JobRunEvent(
        event_type="COMPLETE",
        event_time=T0,
        namespace="airflow",
        job=f"etl.{number}",
        ol_run_id=some_uuid(900 + number),
        origin=replace(ETL, task_id=f"task-{number}"),
        datasets=tuple(
            DatasetWrite(direction=direction, uri=uri, version="v1") for direction, uri in datasets
        ),
    )


@pytest.fixture
def story(database: Database) -> list[Run]:
    """An ETL task makes a partition of raw data; one run trains on it, another one on the model it made."""
    event = etl(1, (Direction.INPUT, RAW), (Direction.OUTPUT, PARTITION))
    database.transact(lambda session: record_job_event(session, "default", etl(0, (Direction.OUTPUT, RAW))))
    database.transact(lambda session: record_job_event(session, "default", event))
    given = a_submission(inputs=(InputVersion(name="flights", uri=PARTITION, version="v1"),))
    first = database.transact(lambda session: submit(session, given))
    database.transact(lambda session: store_mirror(session, first.run_id, a_mirror(1)))
    second = database.transact(submit)
    model = "file:///artifacts/1/train/model"
    database.transact(lambda session: store_mirror(session, second.run_id, a_mirror(2, data_uri=model)))
    return [first, second]


def artifact(database: Database, uri: str) -> str:
    """The node of the artifact that was made at a URI."""
    key = database.read(
        lambda session: session.scalars(
            select(ARTIFACTS.c.artifact_id)
            .where(ARTIFACTS.c.uri == uri, ARTIFACTS.c.type == "system.Model")
            .order_by(ARTIFACTS.c.id)
        ).first()
    )
    return f"artifact:{key}"


def test_a_model_leads_back_to_the_etl_of_its_data(database: Database, story: list[Run]) -> None:
    found = graph(database, artifact(database, "file:///artifacts/2/train/model"), direction="up")
    assert found.nodes[0].uri == "file:///artifacts/2/train/model"
    assert names(found, NodeKind.DATASET) == sorted([RAW, PARTITION, "file:///artifacts/1/train/model"])
    assert names(found, NodeKind.JOB_RUN) == ["etl.0", "etl.1"]
    assert {node.uid for node in found.nodes if node.kind is NodeKind.RUN} == {
        str(run.run_id) for run in story
    }
    by_id = {node.id: node for node in found.nodes}
    assert {edge.source for edge in found.edges} | {edge.target for edge in found.edges} == set(by_id)
    (read,) = [edge for edge in found.edges if by_id[edge.source].name == PARTITION]
    assert (by_id[read.target].uid, read.name) == (str(story[0].run_id), "flights")
    assert not found.truncated
    assert found.frontier == ()


def test_a_partition_leads_forward_to_every_model_made_of_it(database: Database, story: list[Run]) -> None:
    up = graph(database, f"run:{story[0].run_id}", direction="up")
    (raw,) = [node for node in up.nodes if node.name == RAW]
    found = graph(database, raw.id, direction="down")
    models = {node.uri for node in found.nodes if node.type == "system.Model"}
    assert models == {"file:///artifacts/1/train/model", "file:///artifacts/2/train/model"}
    assert {node.depth for node in found.nodes if node.name == PARTITION} == {2}


def test_an_importer_is_not_taken_for_who_made_what_it_read(database: Database, story: list[Run]) -> None:
    """Two runs that read the same data did not make something of each other."""
    other = database.transact(submit)
    uri = "file:///data/shared.csv"
    for number, run in ((7, story[0]), (8, other)):
        database.transact(
            lambda session, number=number, run=run: store_mirror(
                session, run.run_id, a_mirror(number, data_uri=uri)
            )
        )
    found = graph(database, artifact(database, "file:///artifacts/7/train/model"))
    assert str(other.run_id) not in {node.uid for node in found.nodes}


@pytest.mark.parametrize("limits", [{}, {"nodes": 4}, {"projects": ("default",)}])
def test_the_graph_is_written_down_as_it_is_told(
    database: Database, story: list[Run], limits: dict[str, Any]
) -> None:
    name = 'a "name" with \\ and \n, ü\u2028 and ?token=abcdefgh'
    given = a_submission(display_name=name, inputs=(InputVersion(name="flights", uri=PARTITION),))
    odd = database.transact(lambda session: submit(session, given))
    moments = (T0, T0 + timedelta(microseconds=1500))
    for run, moment in zip((odd, story[0]), moments, strict=True):
        moved = RUNS.update().where(RUNS.c.run_id == run.run_id).values(created_at=moment)
        database.transact(lambda session, moved=moved: session.execute(moved))
    node, around = f"run:{odd.run_id}", {"direction": "both", "depth": 20, "nodes": 1000} | limits
    told = graph(database, node, **around)

    def write(session: Session) -> bytes:
        walked = walk(session, node, **around)
        assert walked is not None
        return graph_json(walked, "https://airflow.example/", limits.get("projects", ()))

    written = LineageGraphModel.model_validate_json(database.read(write))
    uids = {NodeKind.ARTIFACT: "artifact_id", NodeKind.DATASET: "dataset_id"}
    assert [one.model_dump(exclude={"link"}) for one in written.nodes] == [
        LineageNodeModel.model_validate(
            {
                **{field: value for field, value in one._asdict().items() if field != "uid"},
                "name": redact_uri(one.name),
                "uri": one.uri and redact_uri(one.uri),
                uids.get(one.kind, "run_id"): one.uid,
            }
        ).model_dump(exclude={"link"})
        for one in told.nodes
    ]
    assert [(edge.source, edge.target, edge.name) for edge in written.edges] == list(told.edges)
    assert (written.truncated, tuple(written.frontier)) == (told.truncated, told.frontier)
    assert written.nodes[0].at == T0
    links = {one.link for one in written.nodes if one.kind == "job_run"}
    assert all(link and link.startswith("https://airflow.example/dags/") for link in links)
    assert {one.link for one in written.nodes if one.kind != "job_run"} == {None}


def test_limits_are_told_and_one_can_go_on_from_the_frontier(database: Database, story: list[Run]) -> None:
    node = artifact(database, "file:///artifacts/2/train/model")
    whole = graph(database, node, direction="up")
    for limits in ({"depth": 2}, {"nodes": 4}):
        part = graph(database, node, direction="up", **limits)
        assert part.truncated
        known, waiting = {one.id for one in part.nodes}, list(part.frontier)
        assert waiting
        assert set(waiting) <= known
        while waiting:
            more = graph(database, waiting.pop(), direction="up", nodes=4)
            waiting += [one for one in more.frontier if one not in known or len(more.nodes) < 4]
            known |= {one.id for one in more.nodes}
        assert known == {one.id for one in whole.nodes}
    assert len(graph(database, node, direction="up", nodes=4).nodes) == 4
    assert {one.depth for one in graph(database, node, direction="up", depth=2).nodes} == {0, 1, 2}


def test_the_whole_of_a_large_component(empty_url: str) -> None:
    seed(empty_url, History(runs=10, layers=6, width=10))
    database = Database(empty_url)
    uses = database.read(
        lambda session: session.execute(
            select(
                ARTIFACTS.c.artifact_id,
                ARTIFACT_USES.c.task,
                ARTIFACT_USES.c.direction,
            ).join(ARTIFACTS, ARTIFACTS.c.id == ARTIFACT_USES.c.artifact)
        ).all()
    )
    made = {uid: task for uid, task, direction in uses if direction == "OUTPUT"}
    last = max(made, key=lambda uid: made[uid])
    expected, waiting = {last}, [last]
    while waiting:
        task = made[waiting.pop()]
        read = {uid for uid, by, direction in uses if by == task and direction == "INPUT"} - expected
        expected |= read
        waiting += read
    found = graph(database, f"artifact:{last}", direction="up", depth=100)
    assert {node.uid for node in found.nodes if node.kind is NodeKind.ARTIFACT} == {
        str(uid) for uid in expected
    }
    assert max(node.depth for node in found.nodes) == 12
    database.close()


def test_however_far_is_looked_ahead_the_graph_is_the_same(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(empty_url, History(runs=20, detail_every=2, layers=8, width=10))
    database = Database(empty_url)
    keys = database.read(
        lambda session: session.scalars(select(ARTIFACTS.c.artifact_id).order_by(ARTIFACTS.c.id)).all()
    )
    starts = [f"artifact:{key}" for key in (keys[-1], keys[-45])]
    asked = [
        (start, {"direction": direction, "depth": depth, "nodes": nodes})
        for start in starts
        for direction in ("up", "down", "both")
        for depth, nodes in ((3, 1000), (100, 1000), (100, 40))
    ]

    def found() -> list[tuple[Any, ...]]:
        graphs = [graph(database, start, **limits) for start, limits in asked]
        return [(set(one.nodes), set(one.edges), one.truncated, set(one.frontier)) for one in graphs]

    whole = [place for place, (_, limits) in enumerate(asked) if limits["nodes"] == 1000]
    expected = found()
    for ahead, first, most in ((4, 1, 1), (4, 2, 64), (1, 64, 64)):
        monkeypatch.setattr(graph_module, "_AHEAD_PER_NODE", ahead)
        monkeypatch.setattr(graph_module, "_FIRST_LEVELS", first)
        monkeypatch.setattr(graph_module, "_MOST_LEVELS", most)
        seen = found()
        assert [seen[place] for place in whole] == [expected[place] for place in whole]
        # Which of the nodes of one distance are told when not all of them can be is not promised.
        assert [len(one[0]) for one in seen] == [len(one[0]) for one in expected]
        assert [one[2] for one in seen] == [one[2] for one in expected]
    database.close()


def test_data_that_is_read_and_written_in_a_circle(database: Database) -> None:
    """Each task reads what the one before it wrote, the first what the last wrote."""
    places = [f"file:///data/{name}" for name in "abcde"]
    for number, (read, written) in enumerate(zip(places, [*places[1:], places[0]], strict=True)):
        event = etl(10 + number, (Direction.INPUT, read), (Direction.OUTPUT, written))
        database.transact(lambda session, event=event: record_job_event(session, "default", event))
    (start,) = database.read(
        lambda session: session.scalars(select(JOB_RUNS.c.id).order_by(JOB_RUNS.c.id).limit(1)).all()
    )
    for direction in ("up", "down", "both"):
        found = graph(database, f"job_run:{start}", direction=direction, depth=1000)
        assert len(found.nodes) == len(found.edges) == 10
        assert not found.truncated


def test_nodes_that_are_none(database: Database) -> None:
    run = database.transact(submit)
    assert len(graph(database, f"run:{run.run_id}").nodes) >= 1
    assert database.read(lambda session: session.scalars(select(RUNS.c.id)).all())
    for node in ("", "run", "run:7", "moon:7", "task:x", "job_run:0"):
        with pytest.raises(ValueError, match=r".+"):
            database.read(lambda session, node=node: lineage_of(session, node))
    assert database.read(lambda session: lineage_of(session, "task:77")) is None
