"""A real service between a KFP and a Kubernetes that speak HTTP: quick ends, causes, and a dead watch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.integration.service.kube_world import WATCHED_TICK_SECONDS, World, kube_world
from tests.support.fake_kubernetes import MINIMAL_ROLE


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with kube_world(tmp_path_factory.mktemp("kube")) as made:
        yield made


def test_with_the_watch_an_end_is_known_long_before_the_next_sweep(world: World) -> None:
    run = world.running()
    began = time.monotonic()
    world.kfp.finish(run["kfp_run_id"])
    world.cluster.set_phase(run["kfp_run_id"], "Succeeded")
    world.until(lambda: world.run(run["run_id"])["phase"] == "ENDED", "the end is known", 10)
    assert time.monotonic() - began < WATCHED_TICK_SECONDS / 10
    watch = world.watch()
    assert watch["state"] == "healthy"
    assert watch["events"] >= 2
    assert 0 <= watch["lag_seconds"] < 10


def test_an_end_that_kfp_tells_later_than_the_cluster_is_known_soon_after(world: World) -> None:
    run = world.running()
    world.cluster.set_phase(run["kfp_run_id"], "Failed")
    path = ("GET", f"/apis/v2beta1/runs/{run['kfp_run_id']}")
    asked = world.kfp.requests.count(path)
    world.until(lambda: world.kfp.requests.count(path) >= asked + 2, "KFP is asked again")
    assert world.run(run["run_id"])["phase"] == "ACTIVE"
    world.kfp.finish(run["kfp_run_id"], "FAILED")
    world.until(lambda: world.run(run["run_id"])["phase"] == "ENDED", "the end is known", 10)


def test_a_run_says_what_it_waits_for_and_why_it_failed(world: World) -> None:
    run = world.running()
    kfp_run_id, node = run["kfp_run_id"], "flow.root.train.executor"
    message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    world.cluster.add_pod("train-1", kfp_run_id, {"phase": "Pending", "conditions": [condition]}, node=node)
    (waiting,) = world.until(lambda: world.run(run["run_id"])["causes"], "what it waits for is shown")
    assert (waiting["kind"], waiting["waiting"]) == ("unschedulable", True)
    killed = {"name": "main", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    world.cluster.add_pod(
        "train-1", kfp_run_id, {"phase": "Failed", "containerStatuses": [killed]}, node=node
    )
    world.cluster.add_event("train-1", "FailedScheduling", message)
    world.cluster.logs["train-1"] = "epoch 1\n"
    world.kfp.finish(kfp_run_id, "FAILED")
    world.cluster.set_phase(kfp_run_id, "Failed")
    world.until(lambda: world.run(run["run_id"])["over"], "the run is over")
    found = world.run(run["run_id"])
    assert found["error"]["kind"] == "out_of_memory"
    assert found["error"]["message"] == "out of memory (OOMKilled, exit code 137)"
    assert found["causes"][0]["evidence"][0]["pod"] == "train-1"
    assert not any(cause["waiting"] for cause in found["causes"])
    command = [sys.executable, "-m", "bridge.cli", "show", run["run_id"], "--url", world.service.url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "out of memory (OOMKilled, exit code 137)" in shown
    assert "out_of_memory" in shown
    refused = [one for one in world.cluster.asked if (one.verb, one.resource) not in MINIMAL_ROLE]
    assert refused == []


def test_without_the_watch_ends_are_found_as_ever(world: World) -> None:
    run = world.running()
    world.cluster.allowed = frozenset()
    try:
        world.cluster.drop_watches()
        off = world.until(
            lambda: world.watch() if world.watch()["state"] == "off" else None, "the watch is off"
        )
        assert "cannot" in off["off_because"]
        world.kfp.finish(run["kfp_run_id"])
        # The pause that was chosen while the watch was well does not hold any longer.
        world.until(lambda: world.run(run["run_id"])["phase"] == "ENDED", "a sweep finds the end", 20)
    finally:
        world.cluster.allowed = MINIMAL_ROLE
