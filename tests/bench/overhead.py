"""What the bridge adds, from submission to known end, over calling the backend directly."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import yaml

from bridge.client.models import SubmitRequest
from bridge.client.sync import BridgeClient
from tests.bench.pipelines import step_pipeline
from tests.bench.servers import bridge_service, local_backend

PAIRS = 15
TASK_SECONDS = "1"
_DIRECT_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Overhead:
    """Medians in seconds, from the submission to the moment at which the caller knows the end."""

    direct_seconds: float
    bridge_seconds: float

    @property
    def added_seconds(self) -> float:
        """What the bridge adds: following by sweeps, mirroring, settling."""
        return self.bridge_seconds - self.direct_seconds


def measure(home: Path) -> Overhead:
    """Runs of one task of one second, directly and through the bridge in turn."""
    direct: list[float] = []
    bridged: list[float] = []
    with (
        local_backend(home) as kfp_url,
        bridge_service(home, kfp_url, f"sqlite:///{home / 'overhead.db'}") as url,
        httpx.Client(base_url=kfp_url, timeout=60) as kfp,
        BridgeClient(url) as bridge,
    ):
        for number in range(PAIRS + 1):
            pair = (_direct(kfp), _bridged(bridge))
            if number:  # the first pair warms both up
                direct.append(pair[0])
                bridged.append(pair[1])
    return Overhead(statistics.median(direct), statistics.median(bridged))


def _direct(kfp: httpx.Client) -> float:
    body = {
        "display_name": "direct",
        "pipeline_spec": yaml.safe_load(step_pipeline()),
        "runtime_config": {"parameters": {"seconds": TASK_SECONDS}},
    }
    began = time.perf_counter()
    run_id = kfp.post("/apis/v2beta1/runs", json=body).raise_for_status().json()["run_id"]
    while True:
        state = kfp.get(f"/apis/v2beta1/runs/{run_id}").raise_for_status().json().get("state")
        if state in ("SUCCEEDED", "FAILED"):
            assert state == "SUCCEEDED", state
            return time.perf_counter() - began
        time.sleep(_DIRECT_POLL_SECONDS)


def _bridged(bridge: BridgeClient) -> float:
    request = SubmitRequest(spec=step_pipeline(), arguments={"seconds": TASK_SECONDS})
    began = time.perf_counter()
    run = bridge.submit(request, idempotency_key=str(uuid4()))
    run = bridge.wait_run(run.run_id, timeout_seconds=120)
    assert run.state == "SUCCEEDED", run.error
    return time.perf_counter() - began
