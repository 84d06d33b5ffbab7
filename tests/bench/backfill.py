"""500 runs backfilled at once, while another project submits two runs a second: how long the backfill takes
through the bridge, how long the backend alone needs for as many runs, and how soon the other project's runs
begin. PostgreSQL that waits for its disk."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import httpx

from bridge.client.models import SubmitRequest
from bridge.client.sync import BridgeClient
from deploy.laptop.processes import wait_for
from tests.bench.pipelines import step_pipeline
from tests.bench.servers import bridge_service
from tests.support.busy_kfp import Busy, busy_kfp
from tests.support.postgres import running_postgres

RUNS = 500
SLOTS = 25
# No run of a real KFP is as short as this: its pods alone take longer to start.
RUN_SECONDS = 5.0
# What all projects may have at the backend: what runs there, and what takes the place of those that end until
# the bridge has heard of them. Whose turn it is at a free place the bridge decides, not the backend's queue.
CAP = SLOTS + 10
_CALLERS = 16
_PATIENCE_SECONDS = 300.0
_OTHER_EVERY_SECONDS = 0.5
_API = "/apis/v2beta1"


def measure(home: Path) -> dict[str, float]:
    """Seconds, by what took them, and the share of the bridge."""
    with (
        busy_kfp(home / "bridged.log", slots=SLOTS, seconds=RUN_SECONDS) as busy,
        running_postgres(durable=True) as server,
        bridge_service(
            home,
            busy.url,
            server.url(server.create_database()),
            env={"KFBRIDGE_KFP_MAX_ACTIVE_RUNS": str(CAP), "KFBRIDGE_KFP_METADATA": "native"},
        ) as url,
    ):
        bridged, starts, beside = _bridged(busy, url)
        most = busy.most_open()["backfill"]
    with busy_kfp(home / "alone.log", slots=SLOTS, seconds=RUN_SECONDS) as busy:
        alone = _alone(busy, RUNS + beside)
    centiles = quantiles(starts, n=100, method="inclusive")
    return {
        "alone_seconds": alone,
        "bridged_seconds": bridged,
        "ratio": bridged / alone,
        "most_runs_at_the_backend": most,
        "other_submissions": len(starts),
        "other_runs_meanwhile": beside,
        "other_start_p50_seconds": centiles[49],
        "other_start_p99_seconds": centiles[98],
    }


def _alone(busy: Busy, count: int) -> float:
    """Seconds that the backend needs for so many runs that it has at once."""
    with (
        httpx.Client(base_url=busy.url, timeout=60, trust_env=False) as kfp,
        ThreadPoolExecutor(_CALLERS) as threads,
    ):
        kfp.post(f"{_API}/pipelines/upload", params={"name": "alone"}).raise_for_status()
        pipeline = kfp.get(f"{_API}/pipelines/names/alone").json()["pipeline_id"]
        versions = kfp.get(f"{_API}/pipelines/{pipeline}/versions").json()["pipeline_versions"]
        reference = {"pipeline_id": pipeline, "pipeline_version_id": versions[0]["pipeline_version_id"]}

        def post(number: int) -> None:
            body = {"display_name": f"backfill {number}", "pipeline_version_reference": reference}
            kfp.post(f"{_API}/runs", json={**body, "run_id": str(uuid4())}).raise_for_status()

        began = time.time()
        list(threads.map(post, range(count)))
        return _last_end(busy, count) - began


def _bridged(busy: Busy, url: str) -> tuple[float, list[float], int]:
    """Seconds that the backfill took, those from each other submission to its run's first step, and how
    many of those runs had their slot while the backfill went on."""
    done = threading.Event()
    asked: dict[str, float] = {}
    with BridgeClient(url) as bridge, ThreadPoolExecutor(_CALLERS + 1) as threads:

        def submit(name: str, project: str) -> None:
            request = SubmitRequest(
                spec=step_pipeline(), arguments={"seconds": "1"}, display_name=name, project=project
            )
            bridge.submit(request, idempotency_key=name)

        def keep_asking() -> None:
            while not done.wait(_OTHER_EVERY_SECONDS):
                name = f"other {len(asked)}"
                asked[name] = time.time()
                submit(name, "other")

        others = threads.submit(keep_asking)
        began = time.time()
        try:
            list(threads.map(lambda number: submit(f"backfill {number}", "backfill"), range(RUNS)))
            ended = _last_end(busy, RUNS)
        finally:
            done.set()
        others.result()
        wait_for(lambda: set(asked) <= _begun(busy), seconds=60, what="the other runs to begin")
    times = busy.runs()
    beside = sum(1 for name in asked if len(times[name]) == 3 and times[name][2] <= ended)
    return ended - began, [times[name][1] - at for name, at in asked.items()], beside


def _begun(busy: Busy) -> set[str]:
    return {name for name, times in busy.runs().items() if len(times) > 1}


def _last_end(busy: Busy, count: int) -> float:
    def ends() -> list[float]:
        found = busy.runs().items()
        return [times[2] for name, times in found if name.startswith("backfill ") and len(times) == 3]

    wait_for(lambda: len(ends()) == count, seconds=_PATIENCE_SECONDS, what=f"{count} runs to end", pause=0.5)
    return max(ends())
