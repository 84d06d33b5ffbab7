"""What a trigger carries through Airflow's database, and when a killed task's run is cancelled."""

from __future__ import annotations

import asyncio
import json
import time
from pkgutil import resolve_name
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from bridge.provider import triggers
from bridge.provider.killing import Unknown, ended_for_good, read_state
from bridge.provider.origin import TaskKey
from bridge.provider.triggers import BridgeReadyTrigger, BridgeRunTrigger
from tests.support.airflow_version import through_airflow

TASK = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": 2}
TRIGGERS = [
    BridgeRunTrigger(
        run_id="0a", kfbridge_conn_id="c", task=TASK, submission_key="k", try_number=3, deadline=12.5
    ),
    BridgeRunTrigger(
        run_id="0a",
        kfbridge_conn_id="c",
        task=TASK,
        submission_key=None,
        try_number=1,
        patience_seconds=7,
        kill_policy="detach",
        deferred_at=1.5,
    ),
    BridgeReadyTrigger(kfbridge_conn_id="c", give_up_at=99.5, deadline=None),
]


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_trigger_comes_back_as_it_went(trigger: BaseTrigger) -> None:
    path, kwargs = trigger.serialize()
    assert json.loads(json.dumps(kwargs)) == kwargs
    again = resolve_name(path)(**through_airflow(kwargs))
    assert type(again) is type(trigger)
    assert again.serialize() == (path, kwargs)


@pytest.mark.parametrize(("late_seconds", "factor"), [(0.5, 1.0), (2.5, 2.5), (3600.0, 11.0)])
def test_a_trigger_that_begins_late_fires_later(
    monkeypatch: pytest.MonkeyPatch, late_seconds: float, factor: float
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(triggers.asyncio, "sleep", sleep)
    asyncio.run(triggers.not_too_soon(time.monotonic(), time.time() - late_seconds))
    assert slept == [pytest.approx(triggers.shortest_deferral_seconds() * factor, abs=1.0)]


@pytest.mark.parametrize(
    ("state", "cancelled"),
    [
        ("failed", True),
        ("success", True),
        ("skipped", True),
        ("removed", True),
        ("upstream_failed", True),
        (Unknown.GONE, True),
        (None, False),
        ("scheduled", False),
        ("queued", False),
        ("running", False),
        ("deferred", False),
        ("restarting", False),
        ("up_for_retry", False),
        ("up_for_reschedule", False),
        ("a state of a later Airflow", False),
        (Unknown.UNASKED, False),
    ],
)
def test_only_a_task_that_ended_for_good_takes_its_run_along(state: Any, cancelled: bool) -> None:
    assert ended_for_good(state) is cancelled


@pytest.mark.parametrize(
    ("map_index", "states", "state"),
    [
        (-1, {"r": {"t": "failed"}}, "failed"),
        (-1, {"r": {"t": None}}, None),
        (-1, {"r": {}}, Unknown.GONE),
        (-1, {}, Unknown.GONE),
        (-1, {"other": {"t": "failed"}}, Unknown.GONE),
        (2, {"r": {"t_1": "success", "t_2": "running"}}, "running"),
        (2, {"r": {"t": "running"}}, Unknown.GONE),
    ],
)
def test_airflows_answer_is_read(map_index: int, states: Any, state: Any) -> None:
    key = TaskKey(dag_id="d", dag_run_id="r", task_id="t", map_index=map_index)
    assert read_state(states, key) == state
