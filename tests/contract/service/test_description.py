"""The service's API against its own description: every operation, whatever is sent to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.service.calls import items, submit, wait_until
from tests.integration.service.pipelines import trains
from tests.support.bridge_service import BridgeService
from tests.support.fuzzing import CHECKS, fuzz

API = "/api/v1"
# It has no end by design, and what is sent of it is no JSON.
_ENDLESS = f"{API}/events"


def description(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{API}/openapi.json").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def run(client: httpx.Client) -> dict[str, Any]:
    """A run that has ended, so that there is something of everything."""
    uri = "file:///data/flights/day=1"
    inputs = [{"name": "flights", "uri": uri, "version": "v1"}]
    return wait_until(client, submit(client, trains(), arguments={"epochs": 2}, inputs=inputs), over=True)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_nothing_that_is_sent_breaks_it(
    bridge: BridgeService, client: httpx.Client, run: dict[str, Any], tmp_path: Path
) -> None:
    document = description(client)
    del document["paths"][_ENDLESS]
    hook = client.post(f"{API}/webhooks", json={"url": "http://127.0.0.1:9/hook"}).json()
    known = {
        "run_id": [run["run_id"]],
        "artifact_id": [one["artifact_id"] for one in items(client, run, "artifacts")],
        "name": [run["pipeline"]["name"]],
        "webhook_id": [hook["webhook_id"]],
        "node": [f"run:{run['run_id']}"],
        # A long-poll is meant to take its time.
        "wait": ["10ms"],
    }
    checks = (*CHECKS, "status_code_conformance")
    found = fuzz(document, bridge.url, tmp_path, known=known, checks=checks, max_examples=6, max_seconds=30)
    assert found.passed, found.said
    assert client.get("/readyz").status_code == 200
    assert "Traceback" not in bridge.log.read_text()
