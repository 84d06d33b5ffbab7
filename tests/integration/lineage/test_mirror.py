"""A mirror is stored by natural keys: repeating it changes nothing, a later reading updates."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import StatementError
from sqlmodel import Session

from bridge.domain.graph import NodeKind
from bridge.domain.lineage import Artifact, Direction, Metric, MetricBlob, Run, RunError, RunMirror
from bridge.domain.states import RuntimeState
from bridge.lineage.artifacts import ArtifactFilter, list_artifacts
from bridge.lineage.database import Database
from bridge.lineage.errors import NotStored
from bridge.lineage.graph import lineage_of
from bridge.lineage.mirror import (
    artifacts_of,
    blobs_of,
    get_artifact,
    metrics_of,
    set_task_error,
    store_mirror,
    store_mirrors,
    tasks_of,
)
from bridge.lineage.records import MirrorCounts
from bridge.lineage.runs import lock_runs
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, METRIC_BLOBS, METRICS, TASKS
from tests.support.lineage_samples import (
    T0,
    a_mirror,
    a_submission,
    a_task,
    some_uuid,
    submit,
    use,
    without_ids,
)

DATA = "file:///data/flights/day=05/flights.parquet"


def sizes(database: Database) -> list[int]:
    """How many rows the mirror's tables hold."""
    tables = (TASKS, ARTIFACTS, ARTIFACT_USES, METRICS, METRIC_BLOBS)
    return database.read(
        lambda session: [session.scalars(select(func.count()).select_from(table)).one() for table in tables]
    )


def test_what_was_mirrored_comes_back(database: Database) -> None:
    run = database.transact(submit)
    mirror = a_mirror(data_uri=DATA)
    counts = database.transact(lambda session: store_mirror(session, run.run_id, mirror))
    assert counts == MirrorCounts(tasks=3, artifacts=2, uses=4, metrics=2, blobs=1)
    assert sorted(
        database.read(lambda session: tasks_of(session, run.run_id)), key=lambda task: task.path
    ) == sorted(mirror.tasks, key=lambda task: task.path)
    artifacts = database.read(lambda session: artifacts_of(session, run.run_id))
    assert without_ids(artifacts) == list(mirror.artifacts)
    assert all(artifact.artifact_id is not None for artifact in artifacts)
    metrics = database.read(lambda session: metrics_of(session, run.run_id))
    assert metrics == sorted(mirror.metrics, key=lambda metric: metric.key)
    assert database.read(lambda session: blobs_of(session, run.run_id)) == list(mirror.blobs)


def test_the_same_mirror_again_changes_nothing(database: Database) -> None:
    run = database.transact(submit)
    mirror = a_mirror(data_uri=DATA)
    database.transact(lambda session: store_mirror(session, run.run_id, mirror))
    before = sizes(database), database.read(lambda session: artifacts_of(session, run.run_id))
    again = database.transact(lambda session: store_mirror(session, run.run_id, mirror))
    assert again == MirrorCounts()
    assert (sizes(database), database.read(lambda session: artifacts_of(session, run.run_id))) == before


def test_a_later_reading_updates_and_keeps_what_it_lacks(database: Database) -> None:
    run = database.transact(submit)
    early = RunMirror(
        tasks=(
            a_task("train", state=RuntimeState.RUNNING, finished_at=None, pod_name="pod-1"),
            a_task("gone"),
        ),
        metrics=(Metric(task_path="evaluate", name="auc", value=0.5),),
    )
    database.transact(lambda session: store_mirror(session, run.run_id, early))
    late = a_mirror(auc=0.7)
    counts = database.transact(lambda session: store_mirror(session, run.run_id, late))
    assert (counts.tasks, counts.metrics) == (2, 2)
    tasks = {task.path: task for task in database.read(lambda session: tasks_of(session, run.run_id))}
    assert set(tasks) == {"train", "gone", "evaluate"}
    assert tasks["train"].state is RuntimeState.SUCCEEDED
    assert tasks["train"].pod_name == "pod-1"
    assert tasks["train"].finished_at == T0 + timedelta(seconds=9)
    metrics = database.read(lambda session: metrics_of(session, run.run_id))
    assert {metric.key: metric.value for metric in metrics}["evaluate.auc"] == 0.7


def test_the_reason_of_a_failure_survives_the_next_reading(database: Database) -> None:
    run = database.transact(submit)
    failed = RunMirror(tasks=(a_task("train", state=RuntimeState.FAILED),))
    error = RunError(message="ValueError: no rows", task="train", log_tail=("line 1", "line 2"))
    database.transact(lambda session: store_mirror(session, run.run_id, failed))
    database.transact(lambda session: set_task_error(session, run.run_id, "id-train", error))
    database.transact(lambda session: store_mirror(session, run.run_id, failed))
    (task,) = database.read(lambda session: tasks_of(session, run.run_id))
    assert task.error == error
    with pytest.raises(NotStored):
        database.transact(lambda session: set_task_error(session, run.run_id, "nobody", error))


def test_a_task_that_runs_again_has_neither_its_old_end_nor_its_old_error(database: Database) -> None:
    run = database.transact(submit)
    error = RunError(message="boom")
    failed = a_task("train", state=RuntimeState.FAILED, error=error)
    again = replace(failed, state=RuntimeState.RUNNING, error=None, finished_at=None)
    for task in (failed, again):
        database.transact(
            lambda session, task=task: store_mirror(session, run.run_id, RunMirror(tasks=(task,)))
        )
    assert database.read(lambda session: tasks_of(session, run.run_id)) == [again]


def test_an_artifact_that_two_runs_use_is_one_row(database: Database) -> None:
    first, second = database.transact(lambda session: (submit(session), submit(session)))
    mirror = a_mirror()
    for run in (first, second):
        database.transact(lambda session, run=run: store_mirror(session, run.run_id, mirror))
    assert sizes(database)[1] == 1
    (artifact,) = database.read(lambda session: artifacts_of(session, second.run_id))
    assert artifact.artifact_id is not None
    stored = database.read(lambda session: get_artifact(session, artifact.artifact_id))
    assert stored is not None
    assert (stored.backend, stored.project) == ("local", "default")
    assert {run_id for run_id, _ in stored.uses} == {first.run_id, second.run_id}
    assert {use.direction for _, use in stored.uses} == {Direction.INPUT, Direction.OUTPUT}
    assert database.read(lambda session: get_artifact(session, some_uuid(1))) is None


def test_an_artifact_is_of_every_project_whose_runs_use_it(database: Database) -> None:
    submissions = [a_submission(project=project) for project in ("first", "second")]
    runs = database.transact(lambda session: [submit(session, one) for one in submissions])
    for run in runs:
        database.transact(lambda session, run=run: store_mirror(session, run.run_id, a_mirror()))
    (artifact,) = database.read(lambda session: artifacts_of(session, runs[1].run_id))
    assert artifact.artifact_id is not None
    node = f"artifact:{artifact.artifact_id}"

    def seen(session: Session, *projects: str) -> tuple[tuple[str, ...] | None, set[UUID], int, set[str]]:
        stored = get_artifact(session, artifact.artifact_id or some_uuid(1), projects)
        listed, _ = list_artifacts(session, ArtifactFilter(projects=projects))
        graph = lineage_of(session, node, projects=projects)
        told = {one.project for one in graph.nodes if one.kind is not NodeKind.ARTIFACT} if graph else set()
        uses = {run_id for run_id, _ in stored.uses} if stored else set()
        return stored.projects if stored else None, uses, len(listed), told

    for run in runs:
        found = database.read(lambda session, run=run: seen(session, run.project))
        assert found == ((run.project,), {run.run_id}, 1, {run.project})
    assert database.read(lambda session: seen(session, "third")) == (None, set(), 0, set())
    every = database.read(seen)
    assert every == (("first", "second"), {run.run_id for run in runs}, 1, {"first", "second"})


def test_a_metadata_store_that_starts_again_does_not_overwrite_the_old_artifacts(database: Database) -> None:
    first, second = database.transact(lambda session: (submit(session), submit(session)))
    old = a_mirror()
    new = replace(
        old,
        artifacts=tuple(
            replace(artifact, uri="file:///elsewhere", created_at=T0 + timedelta(days=1))
            for artifact in old.artifacts
        ),
    )
    database.transact(lambda session: store_mirror(session, first.run_id, old))
    database.transact(lambda session: store_mirror(session, second.run_id, new))
    (kept,) = database.read(lambda session: artifacts_of(session, first.run_id))
    (other,) = database.read(lambda session: artifacts_of(session, second.run_id))
    assert kept.uri == "file:///artifacts/1/train/model"
    assert other.uri == "file:///elsewhere"
    assert kept.artifact_id != other.artifact_id


def test_an_edge_to_a_task_nobody_described_is_kept(database: Database) -> None:
    run = database.transact(submit)
    artifact = Artifact(
        backend_artifact_id="7", type="system.Artifact", uri=None, uses=(use("outer.inner", "x"),)
    )
    database.transact(lambda session: store_mirror(session, run.run_id, RunMirror(artifacts=(artifact,))))
    (task,) = database.read(lambda session: tasks_of(session, run.run_id))
    assert (task.path, task.name, task.state) == ("outer.inner", "inner", RuntimeState.UNSPECIFIED)
    described = RunMirror(tasks=(a_task("outer.inner"),))
    database.transact(lambda session: store_mirror(session, run.run_id, described))
    # The artifact alone again: what is known of the task stays.
    database.transact(lambda session: store_mirror(session, run.run_id, RunMirror(artifacts=(artifact,))))
    assert database.read(lambda session: tasks_of(session, run.run_id)) == list(described.tasks)
    assert without_ids(database.read(lambda session: artifacts_of(session, run.run_id))) == [artifact]


def test_poison_is_stored_as_far_as_it_can_be(database: Database) -> None:
    run = database.transact(submit)
    mirror = RunMirror(
        tasks=(a_task("train\x00", outputs={"nul": "\x00", "nan": float("nan")}),),
        artifacts=(
            Artifact(
                backend_artifact_id="1",
                type="system.Model",
                uri="s3://bucket/" + "x" * 20_000,
                name="\ud800",
                metadata={"deep": {"nul\x00": ["\x00"]}},
                uses=(use("train\x00", "k" * 5000),),
            ),
        ),
        metrics=(
            Metric(task_path="train\x00", name="inf", value=float("inf")),
            Metric(task_path="train\x00", name="n" * 5000, value=1.0),
        ),
        blobs=(MetricBlob(task_path="train", name="roc", kind="roc", content=["\x00", float("nan")]),),
    )
    for _ in range(2):
        database.transact(lambda session: store_mirror(session, run.run_id, mirror))
    assert sizes(database) == [1, 1, 1, 1, 1]
    (task,) = database.read(lambda session: tasks_of(session, run.run_id))
    assert task.outputs == {"nul": "\ufffd", "nan": "nan"}
    (artifact,) = database.read(lambda session: artifacts_of(session, run.run_id))
    assert artifact.uri == "s3://bucket/" + "x" * 20_000


def test_an_unknown_run_is_refused(database: Database) -> None:
    with pytest.raises(NotStored):
        database.transact(lambda session: store_mirror(session, some_uuid(1), a_mirror()))


def a_wide_mirror(width: int) -> RunMirror:
    """A loop of that many iterations, each with an artifact and a metric."""
    paths = [f"loop.train[{number}]" for number in range(width)]
    return RunMirror(
        tasks=tuple(a_task(path) for path in paths),
        artifacts=tuple(
            Artifact(
                backend_artifact_id=str(number),
                type="system.Model",
                uri=f"file:///a/{number}",
                created_at=T0,
                uses=(use(path, "model"),),
            )
            for number, path in enumerate(paths)
        ),
        metrics=tuple(Metric(task_path=path, name="auc", value=0.5) for path in paths),
    )


def test_ten_thousand_tasks_take_ten_times_as_long_as_a_thousand(database: Database) -> None:
    small, large = database.transact(
        lambda session: (submit(session), submit(session, a_submission(backend="other")))
    )
    seconds = []
    for run, width in ((small, 1_000), (large, 10_000)):
        mirror = a_wide_mirror(width)
        began = time.perf_counter()
        counts = database.transact(
            lambda session, run=run, mirror=mirror: store_mirror(session, run.run_id, mirror)
        )
        seconds.append(time.perf_counter() - began)
        assert counts == MirrorCounts(tasks=width, artifacts=width, uses=width, metrics=width)
    assert len(database.read(lambda session: tasks_of(session, large.run_id))) == 10_000
    # Linear is a factor of ten; quadratic would be a hundred. The machine may be busy.
    assert seconds[1] < 35 * max(seconds[0], 0.05)


def _store(database: Database, run: Run, mirror: RunMirror) -> None:
    database.transact(lambda session: store_mirror(session, run.run_id, mirror))


def test_mirrors_stored_together_are_as_if_each_were_stored_alone(database: Database) -> None:
    stored = [database.transact(submit) for _ in range(3)]
    shared = a_mirror(number=3, data_uri=DATA)
    odd = replace(
        a_task("train"),
        name='emoji \U0001f680, nul \x00, half \ud83d, quote " and \\u0000',
        inputs={"none": None, "nested": {"nul": "\x00", "list": [1, 2.5, "é", True]}},
        execution_id=2**62,
        error=RunError(message="went wrong", log_tail=("a", "b")),
        finished_at=None,
    )
    mirrors = [
        replace(a_mirror(number=1, data_uri=DATA), tasks=(odd, *a_mirror().tasks[1:])),
        replace(shared, tasks=(), blobs=(), metrics=()),
        shared,
    ]
    readings = list(zip(stored, mirrors, strict=True))

    def together(session: Session) -> list[MirrorCounts]:
        rows = lock_runs(session, [run.run_id for run in stored])
        counts = store_mirrors(session, [(rows[run.run_id], mirror) for run, mirror in readings])
        return [counts[rows[run.run_id]["id"]] for run in stored]

    def everything(session: Session) -> list[object]:
        return [
            [read(session, run.run_id) for read in (tasks_of, artifacts_of, metrics_of, blobs_of)]
            for run in stored
        ]

    counts = database.transact(together)
    assert [count.metrics for count in counts] == [2, 0, 2]
    # The artifacts that two of them used are counted for both.
    assert [count.artifacts for count in counts] == [2, 2, 2 if database.dialect == "postgresql" else 0]
    assert [count.uses for count in counts] == [4, 4, 4]
    before = database.read(everything)
    for run, mirror in readings:
        _store(database, run, mirror)
    assert database.read(everything) == before
    assert database.transact(together) == [MirrorCounts()] * 3
    train = next(
        task for task in database.read(lambda s: tasks_of(s, stored[0].run_id)) if task.path == "train"
    )
    assert train.name == 'emoji \U0001f680, nul \ufffd, half \ufffd\ufffd\ufffd, quote " and \\u0000'
    assert train.inputs == {"none": None, "nested": {"nul": "\ufffd", "list": [1, 2.5, "é", True]}}
    assert (train.execution_id, train.error) == (odd.execution_id, odd.error)


def test_an_artifact_told_of_twice_at_once_keeps_what_the_first_said(database: Database) -> None:
    runs = [
        database.transact(lambda s, p=project: submit(s, a_submission(project=p)))
        for project in ("default", "risk")
    ]
    whole = replace(a_mirror(), metrics=(), blobs=())
    (model,) = whole.artifacts
    bare = replace(model, uri=None, name=None, digest=None, type="system.Other")
    # Once by another run of the same batch, once within one reading.
    mirrors = [replace(whole, artifacts=(model, bare)), replace(whole, artifacts=(bare,))]

    def together(session: Session) -> None:
        rows = lock_runs(session, [run.run_id for run in runs])
        store_mirrors(session, [(rows[run.run_id], m) for run, m in zip(runs, mirrors, strict=True)])

    for _ in range(2):
        database.transact(together)
        (row,) = database.read(lambda s: s.execute(select(ARTIFACTS)).mappings().all())
        assert (row["project"], row["uri"], row["name"], row["digest"], row["type"]) == (
            "default",
            model.uri,
            model.name,
            model.digest,
            "system.Other",
        )


@pytest.mark.parametrize("state", [RuntimeState.SUCCEEDED, RuntimeState.RUNNING])
def test_a_task_told_of_twice_in_one_reading(database: Database, state: RuntimeState) -> None:
    run = database.transact(submit)
    full = a_task("train", pod_name="pod-1")
    later = replace(full, state=state, pod_name=None, started_at=None, finished_at=None)
    _store(database, run, RunMirror(tasks=(full, later)))
    (task,) = database.read(lambda s: tasks_of(s, run.run_id))
    # It keeps its end as long as it has not begun anew.
    ended = full.finished_at if state is full.state else None
    assert task == replace(full, state=state, finished_at=ended)


def test_a_moment_without_a_zone_is_refused_however_many_rows_there_are(database: Database) -> None:
    run = database.transact(submit)
    naive = T0.replace(tzinfo=None)
    for count in (1, 3):
        tasks = tuple(a_task(f"step-{number}", started_at=naive) for number in range(count))
        with pytest.raises((ValueError, StatementError), match="without a time zone"):
            _store(database, run, RunMirror(tasks=tasks))
    assert sizes(database) == [0, 0, 0, 0, 0]
