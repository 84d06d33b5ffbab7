"""A real service between a KFP and a Kubernetes that speak HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.support.bridge_service import BridgeService, start_service
from tests.support.fake_kfp import FakeKfp
from tests.support.fake_kubernetes import FakeKubernetes, serve_kubernetes
from tests.support.served_kfp import serve_kfp

SPEC = (Path(__file__).parents[2] / "support" / "pipelines" / "training.yaml").read_text(encoding="utf-8")
# Slow enough that nothing which is seen within a few seconds was found by a sweep.
WATCHED_TICK_SECONDS = 120
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


@contextmanager
def kube_world(folder: Path) -> Iterator[World]:
    """The three of them, once the watch is up."""
    kfp = FakeKfp()
    with serve_kubernetes() as cluster, serve_kfp(kfp) as kfp_url:
        kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig")
        config = folder / "bridge.toml"
        config.write_text(_CONFIG.format(kubeconfig=kubeconfig, tick=WATCHED_TICK_SECONDS))
        env = {"KFBRIDGE_CONFIG": str(config), "KFBRIDGE_MIRROR_PATIENCE_SECONDS": "0.5"}
        with (
            start_service(folder, kfp_url, env=env) as service,
            httpx.Client(base_url=service.url, timeout=30) as client,
        ):
            made = World(service, client, kfp, cluster)
            made.until(lambda: made.watch()["state"] == "healthy", "the watch is up", 60)
            yield made
