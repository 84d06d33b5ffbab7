"""Of thirty injected faults of different kinds the first-ranked cause is the right one, as the API, the
terminal and Airflow's log tell it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.service.calls import submit, wait_until
from tests.integration.service.faults import CLUSTER, LOCAL, ClusterFault
from tests.integration.service.kube_world import World, kube_world
from tests.support.bridge_service import BridgeService

# Of thirty; the others are looked at when one of them begins to be wrong.
_RIGHT_AT_LEAST = 27


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with kube_world(tmp_path_factory.mktemp("kube")) as made:
        yield made


def _wrong(run: dict[str, Any], kind: str, says: str) -> str | None:
    causes = run["causes"]
    if not causes:
        return f"no cause; {run['error']}"
    first = causes[0]
    if (first["kind"], run["error"]["kind"]) == (kind, kind) and says in first["message"]:
        return None
    return f"{first['kind']} ({run['error']['kind']}), wanted {kind}: {first['message']!r}"


def _local_faults(client: httpx.Client) -> dict[str, tuple[dict[str, Any], str | None]]:
    submitted = {name: submit(client, fault.spec("faulty")) for name, fault in LOCAL.items()}
    ended = {name: wait_until(client, run, over=True) for name, run in submitted.items()}
    return {name: (run, _wrong(run, LOCAL[name].kind, LOCAL[name].says)) for name, run in ended.items()}


def _inject(world: World, number: int, fault: ClusterFault) -> dict[str, Any]:
    run = world.running()
    kfp_run_id, pod = run["kfp_run_id"], f"train-{number}"
    world.cluster.add_pod(pod, kfp_run_id, dict(fault.status), node="flow.root.train.executor")
    for reason, message in fault.events:
        world.cluster.add_event(pod, reason, message)
    if fault.log is not None:
        world.cluster.logs[pod] = fault.log
    world.kfp.finish(kfp_run_id, "FAILED")
    world.cluster.set_phase(kfp_run_id, "Failed")
    return run


def test_the_first_cause_of_thirty_faults_is_right(bridge: BridgeService, world: World) -> None:
    assert len(LOCAL) + len(CLUSTER) == 30
    with httpx.Client(base_url=bridge.url, timeout=60) as client:
        found = _local_faults(client)
    wrong = {name: told for name, (_, told) in found.items() if told}
    for number, (name, fault) in enumerate(CLUSTER.items()):
        run = _inject(world, number, fault)
        world.until(lambda run=run: world.run(run["run_id"])["over"], f"the end of {name}")  # type: ignore[misc]
        told = _wrong(world.run(run["run_id"]), fault.kind, fault.says)
        if told:
            wrong[name] = told
    assert 30 - len(wrong) >= _RIGHT_AT_LEAST, "\n".join(f"{name}: {told}" for name, told in wrong.items())
    run = found["an exception with its line"][0]
    command = [sys.executable, "-m", "bridge.cli", "show", run["run_id"], "--url", bridge.url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "ValueError: no rows (train.py:2 in fit)" in shown
    assert run["causes"][0]["task"] == "train"
