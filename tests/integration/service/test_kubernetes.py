"""A real service between a KFP and a Kubernetes that speak HTTP: quick ends, causes, and a dead watch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.bridge_service import BridgeService, start_service
from tests.support.fake_kfp import FakeKfp
from tests.support.fake_kubernetes import MINIMAL_ROLE, FakeKubernetes, serve_kubernetes
from tests.support.served_kfp import serve_kfp

SPEC = (Path(__file__).parents[2] / "support" / "pipelines" / "training.yaml").read_text(encoding="utf-8")
# Slow enough that nothing which is seen within a few seconds was found by a sweep.
_WATCHED_TICK_SECONDS = 120
_CONFIG = """
[[backends]]
name = "default"
url = "http://127.0.0.1:1"
tick_seconds = 0.2
idle_tick_seconds = 0.5
slow_sweep_seconds = 0.2
[backends.kubernetes]
enabled = true
kubeconfig = "{kubeconfig}"
watched_tick_seconds = {tick}
watched_slow_sweep_seconds = {tick}
waiting_check_seconds = 0.2
"""


@dataclass
class World:
    """The service and both of its neighbours."""

    service: BridgeService
    client: httpx.Client
    kfp: FakeKfp
    cluster: FakeKubernetes

    def watch(self) -> dict[str, Any]:
        """What ``/status`` tells of the watch."""
        found: dict[str, Any] = self.client.get("/api/v1/status").json()["backends"][0]["watch"]
        return found

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/v1/runs/{run_id}").json()
        return found

    def until(self, look: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := look()):
            told = self.service.log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{told}"
            time.sleep(0.02)
        return found

    def running(self) -> dict[str, Any]:
        """A run that KFP, the cluster and the bridge know to be running."""
        headers = {"Idempotency-Key": uuid4().hex}
        body = {"spec": SPEC, "arguments": {"epochs": 3}}
        answer = self.client.post("/api/v1/runs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        run: dict[str, Any] = answer.json()
        kfp_run_id = run["kfp_run_id"]
        self.until(lambda: kfp_run_id in self.kfp.runs, "the run is submitted")
        self.kfp.start(kfp_run_id)
        self.cluster.add_workflow(kfp_run_id)
        self.until(lambda: self.run(run["run_id"])["state"] == "RUNNING", "the run is seen to run")
        return run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("kube")
    kfp = FakeKfp()
    with serve_kubernetes() as cluster, serve_kfp(kfp) as kfp_url:
        kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig")
        config = folder / "bridge.toml"
        config.write_text(_CONFIG.format(kubeconfig=kubeconfig, tick=_WATCHED_TICK_SECONDS))
        env = {"KFBRIDGE_CONFIG": str(config), "KFBRIDGE_MIRROR_PATIENCE_SECONDS": "0.5"}
        with (
            start_service(folder, kfp_url, env=env) as service,
            httpx.Client(base_url=service.url, timeout=30) as client,
        ):
            made = World(service, client, kfp, cluster)
            made.until(lambda: made.watch()["state"] == "healthy", "the watch is up", 60)
            yield made


def test_with_the_watch_an_end_is_known_long_before_the_next_sweep(world: World) -> None:
    run = world.running()
    began = time.monotonic()
    world.kfp.finish(run["kfp_run_id"])
    world.cluster.set_phase(run["kfp_run_id"], "Succeeded")
    world.until(lambda: world.run(run["run_id"])["phase"] == "ENDED", "the end is known", 10)
    assert time.monotonic() - began < _WATCHED_TICK_SECONDS / 10
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
