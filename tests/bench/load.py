"""How many requests a minute the backend gets while runs are active and nothing changes."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

from bridge.client.models import SubmitRequest
from bridge.client.sync import BridgeClient
from deploy.laptop.processes import wait_for
from tests.bench.pipelines import step_pipeline
from tests.bench.servers import bridge_service, counting_proxy, local_backend, proxy_counts

ACTIVE = (10, 100)
SECONDS = 60.0


def measure(home: Path) -> dict[int, dict[str, float]]:
    """By number of active runs: requests a minute to the backend by kind."""
    return {count: _with_active(home / str(count), count) for count in ACTIVE}


def _with_active(home: Path, count: int) -> dict[str, float]:
    home.mkdir(parents=True)
    database = f"sqlite:///{home / 'load.db'}"
    with (
        local_backend(home, max_parallel=1) as kfp_url,
        counting_proxy(home, kfp_url) as proxy_url,
        bridge_service(home, proxy_url, database) as url,
        BridgeClient(url) as bridge,
    ):
        request = SubmitRequest(spec=step_pipeline(), arguments={"seconds": "600"})
        for _ in range(count):
            bridge.submit(request, idempotency_key=str(uuid4()))

        def all_active() -> bool:
            page = bridge.list_runs(limit=200)
            return sum(run.phase == "ACTIVE" for run in page.items) == count

        wait_for(all_active, seconds=120, what=f"{count} runs to be active", pause=0.5)
        before = proxy_counts(proxy_url)
        began = time.monotonic()
        time.sleep(SECONDS)
        minutes = (time.monotonic() - began) / 60
        after = proxy_counts(proxy_url)
    kinds = {kind: (after[kind] - before.get(kind, 0)) / minutes for kind in after}
    return {kind: rate for kind, rate in kinds.items() if rate}
