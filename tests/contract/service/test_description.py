"""The service's API against its own description: every operation, whatever is sent to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.domain.access import Role
from bridge.lineage.database import Database
from bridge.lineage.tokens import create_token
from tests.integration.service.calls import items, submit, wait_until
from tests.integration.service.pipelines import trains
from tests.support.bridge_service import BridgeService
from tests.support.fuzzing import CHECKS, fuzz

API = "/api/v1"
# It has no end by design, and what is sent of it is no JSON.
_ENDLESS = f"{API}/events"
# Stands in everything of the project, and in nothing that is sent.
HIDDEN, MARK = "hidden", "hidden-mark-4711"


def description(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{API}/openapi.json").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def run(client: httpx.Client) -> dict[str, Any]:
    """A run that has ended, so that there is something of everything."""
    inputs = [{"name": "flights", "uri": f"file:///data/{MARK}/day=1", "version": "v1"}]
    body = {"project": HIDDEN, "display_name": MARK, "experiment": MARK, "labels": {"team": MARK}}
    made = submit(client, trains(), arguments={"epochs": 2}, inputs=inputs, **body)
    return wait_until(client, made, over=True)


@pytest.fixture(scope="module")
def known(client: httpx.Client, run: dict[str, Any]) -> dict[str, list[str]]:
    """Under what values something is found."""
    hook = client.post(f"{API}/webhooks", json={"url": f"http://127.0.0.1:9/{MARK}", "project": HIDDEN})
    datasets = client.get(f"{API}/datasets").raise_for_status().json()["items"]
    return {
        "run_id": [run["run_id"]],
        "artifact_id": [one["artifact_id"] for one in items(client, run, "artifacts")],
        "dataset_id": [str(one["dataset_id"]) for one in datasets],
        "name": [run["pipeline"]["name"]],
        "project": [HIDDEN],
        "webhook_id": [hook.raise_for_status().json()["webhook_id"]],
        "node": [f"run:{run['run_id']}"],
        "run": [run["run_id"]],
        # A long-poll is meant to take its time.
        "wait": ["10ms"],
    }


def without_stream(client: httpx.Client) -> dict[str, Any]:
    document = description(client)
    del document["paths"][_ENDLESS]
    return document


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_nothing_that_is_sent_breaks_it(
    bridge: BridgeService, client: httpx.Client, known: dict[str, list[str]], tmp_path: Path
) -> None:
    asking = {"headers": dict(client.headers), "known": known}
    checks = (*CHECKS, "status_code_conformance")
    document = without_stream(client)
    found = fuzz(document, bridge.url, tmp_path, **asking, checks=checks, max_examples=6, max_seconds=30)
    assert found.passed, found.said
    assert any(status == httpx.codes.OK and MARK in body for _, status, body in found.answers)
    assert client.get("/readyz").status_code == 200
    assert "Traceback" not in bridge.log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("stranger", [False, True], ids=["nobody", "of another project"])
def test_nothing_that_is_sent_tells_others_of_it(
    stranger: bool,
    bridge: BridgeService,
    client: httpx.Client,
    known: dict[str, list[str]],
    tmp_path: Path,
) -> None:
    headers = {}
    if stranger:
        database = Database(f"sqlite:///{bridge.log.parent / 'bridge.db'}")
        grant = {"role": Role.ADMIN, "projects": ["another"]}
        _, text = database.transact(lambda s: create_token(s, name="stranger", **grant))
        database.close()
        headers["Authorization"] = f"Bearer {text}"
    document = without_stream(client)
    found = fuzz(document, bridge.url, tmp_path, known=known, headers=headers, max_examples=2, max_seconds=5)
    assert found.passed, found.said
    assert len(found.answers) > 100
    told = [(path, status, body) for path, status, body in found.answers if MARK in body]
    assert told == []
    if not stranger:
        let_in = {path for path, status, _ in found.answers if status < 300}
        assert let_in <= {"/livez", "/readyz"}
    assert "Traceback" not in bridge.log.read_text()
