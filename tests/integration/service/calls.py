"""What tests ask a running service."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import httpx

PATIENCE_SECONDS = 60.0


def submit(client: httpx.Client, spec: str, *, key: str | None = None, **body: Any) -> dict[str, Any]:
    """Submit under a key of its own; the accepted run."""
    headers = {"Idempotency-Key": key or uuid4().hex}
    answer = client.post("/api/v1/runs", json={"spec": spec, **body}, headers=headers)
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    return run


def wait_until(client: httpx.Client, run: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """The run once it has these values, by long-polls."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    params: dict[str, Any] = {}
    while time.monotonic() < deadline:
        run = client.get(f"/api/v1/runs/{run['run_id']}", params=params).json()
        if all(run[name] == value for name, value in wanted.items()):
            return run
        params = {"wait": "5s", "version": run["version"]}
    raise AssertionError(f"the run never had {wanted}: {run}")


def items(client: httpx.Client, run: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """``GET /runs/{id}/<what>``."""
    answer = client.get(f"/api/v1/runs/{run['run_id']}/{what}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found
