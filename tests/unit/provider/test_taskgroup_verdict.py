"""What a run and its tasks mean for one mirrored task, as a table."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from bridge.client.models import ErrorModel, RunModel, TaskModel
from bridge.provider.taskgroup_verdict import RunTasks, Verdict, Wanted, judge
from tests.support.fake_bridge import a_task
from tests.unit.provider.support import START

ID = UUID("0a0a0a0a-0000-4000-8000-000000000001")


def a_run(state: str = "RUNNING", **columns: Any) -> RunModel:
    given: dict[str, Any] = {
        "run_id": ID,
        "kfp_run_id": ID,
        "backend": "default",
        "project": "default",
        "pipeline": {"name": "demo", "digest": "d"},
        "display_name": "demo",
        "state": state,
        "phase": "ACTIVE" if state == "RUNNING" else "ENDED",
        "mirror": "PARTIAL",
        "over": state != "RUNNING",
        "good": False,
        "version": 3,
        "created_at": START,
    }
    return RunModel(**{**given, **columns})


RUNNING, SUCCEEDED, FAILED = a_run(), a_run("SUCCEEDED"), a_run("FAILED")
REVIVED = a_run(revivals=1)


def old_and_new(old: str, new: str) -> list[TaskModel]:
    return [a_task("a.b", old), a_task("a.b", new).model_copy(update={"task_id": "newer"})]


@pytest.mark.parametrize(
    ("run", "tasks", "wanted", "verdict"),
    [
        (RUNNING, [], {}, "wait"),
        (RUNNING, [a_task("a.b", "PENDING")], {}, "wait"),
        (RUNNING, [a_task("a.b", "RUNNING")], {}, "wait"),
        (RUNNING, [a_task("a.b", "a word of a later KFP")], {}, "wait"),
        (RUNNING, [a_task("a.b")], {}, "success"),
        (RUNNING, [a_task("a.b", "SKIPPED", cached=True)], {}, "success"),
        (RUNNING, [a_task("a.b", "SKIPPED")], {}, "skip"),
        (RUNNING, [a_task("a.b", "FAILED")], {}, "fail"),
        (RUNNING, [a_task("a.b", "CANCELED")], {}, "fail"),
        # Its branch was not taken: no task, but what is above it has ended.
        (RUNNING, [a_task("a", "RUNNING")], {}, "wait"),
        (RUNNING, [a_task("a", "SKIPPED")], {}, "skip"),
        (RUNNING, [a_task("a")], {}, "skip"),
        (RUNNING, [a_task("a", "FAILED")], {}, "wait"),
        (FAILED, [a_task("a", "FAILED")], {}, "fail"),
        (SUCCEEDED, [], {}, "skip"),
        (FAILED, [], {}, "fail"),
        # Another task's path begins with the same letters.
        (RUNNING, [a_task("a.bc"), a_task("aa")], {}, "wait"),
        # KFP itself tries it again.
        (RUNNING, [a_task("a.b", "FAILED")], {"retries": 1}, "wait"),
        (RUNNING, old_and_new("FAILED", "FAILED"), {"retries": 1}, "fail"),
        (RUNNING, old_and_new("FAILED", "SUCCEEDED"), {"retries": 1}, "success"),
        (FAILED, [a_task("a.b", "FAILED")], {"retries": 1}, "fail"),
        # What is left from the life before does not count while the run goes on.
        (RUNNING, [a_task("a.b", "FAILED")], {"again": True}, "wait"),
        (REVIVED, [a_task("a.b", "FAILED")], {}, "wait"),
        (REVIVED, [a_task("a.b", "SKIPPED")], {}, "wait"),
        (REVIVED, [a_task("a", "SKIPPED")], {}, "wait"),
        (REVIVED, old_and_new("FAILED", "RUNNING"), {}, "wait"),
        (REVIVED, old_and_new("FAILED", "SUCCEEDED"), {}, "success"),
        (FAILED, old_and_new("FAILED", "FAILED"), {"again": True}, "fail"),
        (SUCCEEDED, [a_task("a.b", "SKIPPED")], {"again": True}, "skip"),
        # Published releases leave some tasks RUNNING for ever.
        (SUCCEEDED, [a_task("a.b", "RUNNING")], {}, "success"),
        (FAILED, [a_task("a.b", "RUNNING")], {}, "fail"),
    ],
)
def test_the_verdict(run: RunModel, tasks: list[TaskModel], wanted: dict[str, Any], verdict: str) -> None:
    assert judge(run, RunTasks(tasks), Wanted(path="a.b", **wanted)).verdict == verdict


def test_a_failure_says_why() -> None:
    task = a_task("a.b", "FAILED", error=ErrorModel(message="exit code 1"))
    judged = judge(RUNNING, RunTasks([task]), Wanted(path="a.b"))
    assert judged.verdict is Verdict.FAIL
    assert judged.reason == "KFP task 'a.b' ended FAILED: exit code 1"
    assert judged.task is task


def test_a_loop_has_its_iterations_in_order_and_all_below_it() -> None:
    items = [a_task(f"loop[{n}]", iteration=n) for n in (10, 2, 0)]
    inner = [a_task("loop[0].train"), a_task("loop[0].inner[1]", iteration=1)]
    tasks = RunTasks([a_task("loop"), *items, *inner, a_task("looping"), a_task("loop-2[0]", iteration=0)])
    assert [task.iteration for task in tasks.iterations("loop")] == [0, 2, 10]
    assert len(tasks.of(Wanted(path="loop", loop=True))) == 6
    assert [task.path for task in tasks.of(Wanted(path="loop"))] == ["loop"]
