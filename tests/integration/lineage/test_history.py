"""A pipeline over time, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlmodel import Session

from bridge.domain.lineage import Metric, Run
from bridge.lineage import history
from bridge.lineage.database import Database
from bridge.lineage.mirror import store_mirror
from bridge.lineage.runs import change_run, last_good_run
from bridge.lineage.specs import store_spec
from tests.support.lineage_samples import PIPELINE, T0, a_mirror, end, many_runs


def _history(session: Session) -> list[Run]:
    """Five runs, of which all but the fourth are good, and one of another pipeline."""
    made = many_runs(session, 5)
    many_runs(session, 1, pipeline=replace(PIPELINE, name="other"))
    for number, run in enumerate(made):
        mirror = a_mirror(number, auc=0.7 + number / 100)
        steps = tuple(
            Metric(task_path="train", name="loss", value=float(step), step=step) for step in range(3)
        )
        store_mirror(session, run.run_id, replace(mirror, metrics=(*mirror.metrics, *steps)))
        if number != 3:
            change_run(session, run.run_id, **end(run))
    return made


def test_the_good_runs_before_a_moment_newest_first(database: Database) -> None:
    made = [run.run_id for run in database.transact(_history)]
    found = database.read(lambda s: history.good_runs(s, "default", PIPELINE.name, limit=3))
    assert [run.run_id for run in found] == [made[4], made[2], made[1]]
    before = T0 + timedelta(seconds=2)
    found = database.read(lambda s: history.good_runs(s, "default", PIPELINE.name, before=before, limit=3))
    assert [run.run_id for run in found] == [made[1], made[0]]
    assert database.read(lambda s: history.good_runs(s, "elsewhere", PIPELINE.name, limit=3)) == []
    newest = database.read(lambda s: last_good_run(s, "default", PIPELINE.name, excluding=made[4]))
    assert newest is not None
    assert newest[0].run_id == made[2]


def test_values_are_those_of_the_last_step(database: Database) -> None:
    made = [run.run_id for run in database.transact(_history)]
    found = database.read(lambda s: history.values_of(s, made[:2], ["train.loss", "evaluate.auc", "no.such"]))
    assert found[made[0]] == {"train.loss": 2.0, "evaluate.auc": 0.7}
    assert set(found) == set(made[:2])
    assert database.read(lambda s: history.keys_of(s, made)) == [
        "evaluate.accuracy",
        "evaluate.auc",
        "train.loss",
    ]


def test_the_grid_has_the_tasks_below_the_root_in_their_order(database: Database) -> None:
    made = [run.run_id for run in database.transact(_history)]
    grid, truncated = database.read(lambda s: history.grid_of(s, made))
    assert not truncated
    assert set(grid) == set(made)
    assert [task.path for task in grid[made[0]]] == ["evaluate", "train"]


def test_a_page_of_runs_is_of_one_pipeline_and_project(database: Database) -> None:
    made = [run.run_id for run in database.transact(_history)]
    page, cursor = database.read(lambda s: history.runs_of_pipeline(s, "default", PIPELINE.name, limit=3))
    rest, last = database.read(
        lambda s: history.runs_of_pipeline(s, "default", PIPELINE.name, cursor=cursor, limit=3)
    )
    assert [run.run_id for run in [*page, *rest]] == made[::-1]
    assert last is None


def test_a_pipeline_may_be_registered_before_anything_runs(database: Database) -> None:
    database.transact(
        lambda s: store_spec(s, "default", "flight", "d" * 64, "text", at=T0, version_name="v1")
    )
    assert database.read(lambda s: history.is_registered(s, "default", "flight"))
    assert not database.read(lambda s: history.is_registered(s, "other", "flight"))
    (version,) = database.read(lambda s: history.versions_of(s, "default", "flight"))
    assert (version.digest, version.version_name, version.created_at) == ("d" * 64, "v1", T0)
