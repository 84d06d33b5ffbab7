"""What whoever is on call reads, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import Session

from bridge.domain.lineage import RunError
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import oncall
from bridge.lineage.database import Database
from bridge.lineage.history import runs_of_pipeline
from bridge.lineage.runs import change_run
from bridge.lineage.specs import ensure_pipeline
from tests.support.lineage_samples import PIPELINE, T0, a_submission, end, many_runs, submit

OTHER = replace(PIPELINE, name="other")


def _fill(session: Session) -> None:
    """Four good runs, two that failed an hour apart, one that goes on; two of another pipeline."""
    runs = many_runs(session, 7)
    for run in runs[:4]:
        change_run(session, run.run_id, **end(run))
    for number, run in enumerate(runs[4:6]):
        failed = {"state": RuntimeState.FAILED, "finished_at": T0 + timedelta(hours=number)}
        change_run(session, run.run_id, **end(run, **failed, error=RunError(message="x", kind="data")))
    going = {"phase": RunPhase.ACTIVE, "state": RuntimeState.RUNNING, "started_at": T0}
    change_run(session, runs[6].run_id, **going)
    elsewhere = submit(session, a_submission(project="fraud", pipeline=OTHER, created_at=T0))
    change_run(session, elsewhere.run_id, **going)
    submit(session, a_submission(project="fraud", pipeline=OTHER, created_at=T0))
    for project, name in (("default", PIPELINE.name), ("fraud", "other"), ("fraud", "never-run")):
        ensure_pipeline(session, project, name, at=T0)


def test_failures_of_a_window_newest_first(database: Database) -> None:
    database.transact(_fill)
    found, more = database.read(lambda s: oncall.failures_since(s, T0))
    assert (len(found), more) == (2, False)
    assert found[0].created_at > found[1].created_at
    recent, _ = database.read(lambda s: oncall.failures_since(s, T0 + timedelta(minutes=30), ["default"]))
    assert [run.run_id for run in recent] == [found[0].run_id]
    assert database.read(lambda s: oncall.failures_since(s, T0, ["fraud"])) == ([], False)


def test_what_was_sent_and_goes_on(database: Database) -> None:
    database.transact(_fill)
    found, more = database.read(oncall.open_runs)
    assert ({run.project for run in found}, len(found), more) == ({"default", "fraud"}, 2, False)
    assert [run.project for run in database.read(lambda s: oncall.open_runs(s, ["fraud"]))[0]] == ["fraud"]


def test_how_long_good_runs_took_and_when_runs_were_submitted(database: Database) -> None:
    database.transact(_fill)
    keys, more = database.read(lambda s: oncall.silent_pipelines(s, T0))
    assert set(keys) == {("default", PIPELINE.name), ("fraud", "other"), ("fraud", "never-run")}
    assert not more
    took = database.read(lambda s: oncall.good_seconds(s, keys))
    assert took == {("default", PIPELINE.name): [60.0] * 4}
    starts = database.read(lambda s: oncall.recent_starts(s, keys))
    assert set(starts) == {("default", PIPELINE.name), ("fraud", "other")}
    moments = [at for at, _ in starts["default", PIPELINE.name]]
    assert moments == [T0 + timedelta(seconds=number) for number in range(6, -1, -1)]
    assert {dag_run_id for _, dag_run_id in starts["fraud", "other"]} == {"scheduled__2013-01-06"}
    assert database.read(lambda s: oncall.good_seconds(s, [])) == {}
    assert database.read(lambda s: oncall.recent_starts(s, [])) == {}


def test_another_project_with_the_same_pipeline_does_not_hide_when_runs_were_submitted(
    database: Database,
) -> None:
    def fill(session: Session) -> None:
        many_runs(session, 2, project="fraud")
        for number in range(14):
            submit(session, a_submission(created_at=T0 + timedelta(hours=1 + number)))

    database.transact(fill)
    keys = [("fraud", PIPELINE.name), ("default", PIPELINE.name)]
    starts = database.read(lambda s: oncall.recent_starts(s, keys))
    assert [at for at, _ in starts[keys[0]]] == [T0 + timedelta(seconds=1), T0]
    assert [at for at, _ in starts[keys[1]]] == [T0 + timedelta(hours=number) for number in range(14, 2, -1)]


def test_the_newest_run_of_each_pipeline(database: Database) -> None:
    database.transact(_fill)
    keys = [("fraud", "other"), ("default", PIPELINE.name), ("fraud", "never-run")]
    found = database.read(lambda s: oncall.newest_runs(s, keys))
    newest = {key: database.read(lambda s, key=key: runs_of_pipeline(s, *key, limit=1)) for key in keys[:2]}
    # Two of the other pipeline were submitted at the same moment.
    assert set(found) == set(keys[:2])
    assert found[keys[0]].created_at == T0
    assert [found[keys[1]]] == newest[keys[1]][0]
    assert database.read(lambda s: oncall.newest_runs(s, [])) == {}


def test_pipelines_are_found_whatever_their_names_hold(database: Database) -> None:
    name = """it's a "pipeline" with \\ and ü, {} and [0] and :keys"""

    def fill(session: Session) -> None:
        run = submit(session, a_submission(pipeline=replace(PIPELINE, name=name), created_at=T0))
        change_run(session, run.run_id, **end(run))
        ensure_pipeline(session, "default", name, at=T0)

    database.transact(fill)
    keys, _ = database.read(lambda s: oncall.silent_pipelines(s, T0))
    assert keys == [("default", name)]
    assert database.read(lambda s: oncall.good_seconds(s, keys)) == {keys[0]: [60.0]}
    starts = database.read(lambda s: oncall.recent_starts(s, keys))
    assert starts == {keys[0]: [(T0, "scheduled__2013-01-06")]}


def test_of_many_pipelines_those_are_looked_at_whose_next_run_may_be_overdue(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oncall, "MAX_PIPELINES", 2)
    every = timedelta(days=1)

    def fill(session: Session) -> None:
        # Those that were registered last are in time, or were ended long ago.
        for name, last in (("late", 2.0), ("later", 4.0), ("in time", 0.3), ("ended", 60.0)):
            ensure_pipeline(session, "default", name, at=T0)
            for number in range(6):
                run = a_submission(
                    pipeline=replace(PIPELINE, name=name), created_at=T0 - every * (last + number)
                )
                stored = submit(session, run)
                change_run(session, stored.run_id, **end(stored))
        ensure_pipeline(session, "default", "never run", at=T0)

    database.transact(fill)
    keys, more = database.read(lambda s: oncall.silent_pipelines(s, T0))
    assert (keys, more) == ([("default", "late"), ("default", "later")], True)
    assert database.read(lambda s: oncall.silent_pipelines(s, T0, ["fraud"])) == ([], False)
