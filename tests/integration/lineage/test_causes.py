"""Causes are stored by run, replaced as a whole, and come back in their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from bridge.domain.causes import Cause, CauseKind, Evidence, Witness
from bridge.lineage.causes import causes_by_run, causes_of, store_causes
from bridge.lineage.database import Database
from bridge.lineage.errors import NotStored
from bridge.lineage.runs import get_run, touch_run
from bridge.lineage.tables import TASK_CAUSES
from tests.support.lineage_samples import T0, many_runs, some_uuid, submit

SEEN = Evidence(
    witness=Witness.CONTAINER,
    message="killed",
    reason="OOMKilled",
    exit_code=137,
    task="train",
    pod="train-1",
    container="main",
    step="flow.root.train.executor",
    at=T0,
)
MEMORY = Cause(
    kind=CauseKind.OUT_OF_MEMORY, message="out of memory", task="train", weight=99, evidence=(SEEN,)
)
CODE = Cause(kind=CauseKind.CODE, message="an error", weight=25)
WAITING = replace(MEMORY, kind=CauseKind.UNSCHEDULABLE, message="no node", waiting=True)


def test_causes_come_back_in_their_order(database: Database) -> None:
    run = database.transact(submit)
    assert database.read(lambda s: causes_of(s, run.run_id)) == []
    assert database.transact(lambda s: store_causes(s, run.run_id, [MEMORY, CODE], waiting=False, now=T0))
    assert database.read(lambda s: causes_of(s, run.run_id)) == [MEMORY, CODE]
    assert not database.transact(lambda s: store_causes(s, run.run_id, [MEMORY, CODE], waiting=False, now=T0))
    assert database.transact(lambda s: store_causes(s, run.run_id, [CODE, MEMORY], waiting=False, now=T0))
    assert [one.kind for one in database.read(lambda s: causes_of(s, run.run_id))] == [
        CauseKind.CODE,
        CauseKind.OUT_OF_MEMORY,
    ]


def test_why_it_failed_replaces_what_it_waited_for(database: Database) -> None:
    run = database.transact(submit)
    later = T0 + timedelta(minutes=5)

    def store(causes: list[Cause], *, waiting: bool) -> bool:
        return database.transact(
            lambda s: store_causes(s, run.run_id, causes, waiting=waiting, now=later if waiting else T0)
        )

    assert store([WAITING], waiting=True)
    assert not store([WAITING], waiting=True)
    assert store([MEMORY], waiting=False)
    assert database.read(lambda s: causes_of(s, run.run_id)) == [MEMORY]
    assert store([], waiting=False)
    assert not store([], waiting=False)


def test_the_first_time_a_cause_was_seen_is_kept(database: Database) -> None:
    run = database.transact(submit)
    for minutes in (0, 5):
        told = replace(WAITING, message=f"no node, after {minutes} minutes")
        moment = T0 + timedelta(minutes=minutes)
        database.transact(
            lambda s, told=told, moment=moment: store_causes(  # type: ignore[misc]
                s, run.run_id, [told], waiting=True, now=moment
            )
        )
    (row,) = database.read(lambda s: s.execute(select(TASK_CAUSES)).mappings().all())
    assert (row["first_seen_at"], row["seen_at"]) == (T0, T0 + timedelta(minutes=5))
    assert row["project"] == run.project


def test_several_runs_at_once_and_what_a_database_cannot_hold(database: Database) -> None:
    first, second, third = database.transact(lambda s: many_runs(s, 3))
    strange = replace(CODE, message="a\x00b", evidence=(replace(SEEN, message="c\x00d", reason="e\x00f"),))
    for run, cause in ((first, MEMORY), (second, strange)):
        database.transact(
            lambda s, run=run, cause=cause: store_causes(  # type: ignore[misc]
                s, run.run_id, [cause], waiting=False, now=T0
            )
        )
    found = database.read(lambda s: causes_by_run(s, [first.run_id, second.run_id, third.run_id]))
    assert set(found) == {first.run_id, second.run_id}
    (stored,) = found[second.run_id]
    assert "\x00" not in stored.message + stored.evidence[0].message


def test_a_run_that_is_not_there_has_none(database: Database) -> None:
    with pytest.raises(NotStored):
        database.transact(lambda s: store_causes(s, some_uuid(9), [CODE], waiting=False, now=T0))
    with pytest.raises(NotStored):
        database.transact(lambda s: touch_run(s, some_uuid(9), event="run.waiting"))


def test_touching_a_run_raises_its_version_alone(database: Database) -> None:
    run = database.transact(submit)
    touched = database.transact(lambda s: touch_run(s, run.run_id, event="run.waiting"))
    assert touched == replace(run, version=run.version + 1)
    assert database.read(lambda s: get_run(s, run.run_id)) == touched
