"""What a scenario is played on: a real backend, the fault proxy before it, a database, and services that a
test starts, crashes and starts again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest

from bridge.domain.identity import caller_key
from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient
from tests.support.bridge_service import BridgeService, Launch, launch_python, start_service
from tests.support.fault_proxy import FaultProxy
from tests.support.local_backend import LocalBackend
from tests.support.postgres import PostgresServer
from tests.support.prefork import CLOCK_SECONDS

T = TypeVar("T")

PATIENCE_SECONDS = 90.0
CRASHED = 70
LIVE_STATES = frozenset({"", "PENDING", "RUNNING", "PAUSED", "CANCELING"})

# Minutes in production; everything else about them is the same.
_QUICK = {
    "KFBRIDGE_LEASE_SECONDS": "2",
    "KFBRIDGE_DATABASE_PATIENCE_SECONDS": "1",
    "KFBRIDGE_WORKER_POLL_SECONDS": "0.2",
    "KFBRIDGE_CHANGE_POLL_SECONDS": "0.1",
    "KFBRIDGE_MIRROR_INTERVAL_SECONDS": "0.5",
    "KFBRIDGE_KFP_TIMEOUT_SECONDS": "4",
}
_BACKEND = """
[[backends]]
name = "default"
url = "http://127.0.0.1:1"
tick_seconds = 0.2
idle_tick_seconds = 0.4
slow_sweep_seconds = 0.4
lookup_interval_seconds = 0.3
breaker_seconds = 0.3
breaker_longest_seconds = 1
"""
# With these a POST that left no trace is given up after two seconds; KFP's own are eight minutes.
SHORT_GRACE = {
    "KFBRIDGE_KFP_ORPHAN_GRACE_SECONDS": "1",
    "KFBRIDGE_KFP_AGENT_BACKOFF_SECONDS": "1",
}


def eventually(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """What ``look`` gives once it is neither ``None`` nor ``False``; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class Service:
    """A running service, as a caller meets it."""

    process: BridgeService
    client: httpx.Client = field(repr=False)
    # The backend outlives a test; the same key would give a run of the same id there again.
    tag: str

    @property
    def log(self) -> str:
        """Everything that services of this folder have logged so far."""
        return self.process.log.read_text(errors="replace")

    def post(self, spec: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """``POST /runs``, whatever the answer."""
        headers = {"Idempotency-Key": self.key(key or uuid4().hex)}
        return self.client.post("/api/v1/runs", json={"spec": spec, **body}, headers=headers)

    def key(self, name: str) -> str:
        """The whole of a key that this test calls so."""
        return f"{self.tag}-{name}"

    def submit(self, spec: str, *, key: str | None = None, **body: Any) -> dict[str, Any]:
        """The accepted run."""
        answer = self.post(spec, key=key, **body)
        assert answer.status_code == 202, answer.text
        run: dict[str, Any] = answer.json()
        return run

    def run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The run as it is now."""
        answer = self.client.get(f"/api/v1/runs/{run['run_id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait(self, run: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
        """The run once it has these values, by long-polls."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        found = self.run(run)
        while any(found[name] != value for name, value in wanted.items()):
            assert time.monotonic() < deadline, f"the run never had {wanted}: {found}\n{self.log[-4000:]}"
            params = {"wait": "2s", "version": found["version"]}
            found = self.client.get(f"/api/v1/runs/{run['run_id']}", params=params).json()
        return found

    def current(self, key: str) -> dict[str, Any]:
        """The newest attempt of a caller's key."""
        return self.attempts(key)[-1]

    def attempts(self, key: str) -> list[dict[str, Any]]:
        """Every run of a caller's key, the first attempt first."""
        params = {"submission_key": str(caller_key("default", self.key(key)))}
        found: list[dict[str, Any]] = self.client.get("/api/v1/runs", params=params).json()["items"]
        return sorted(found, key=lambda run: int(run["attempt"]))

    def succeeds(self, key: str) -> dict[str, Any]:
        """The run that ends well for a caller's key, whichever attempt it is."""

        def look() -> dict[str, Any] | None:
            run = self.current(key)
            assert run["state"] != "FAILED", run
            return run if run["over"] and run["state"] == "SUCCEEDED" else None

        return eventually(look, f"a success for {key}: {self.attempts(key)}")

    def status(self) -> dict[str, Any]:
        """The one backend's part of ``GET /status``."""
        backend: dict[str, Any] = self.client.get("/api/v1/status").json()["backends"][0]
        return backend

    def items(self, run: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
        """``GET /runs/{id}/<what>``."""
        answer = self.client.get(f"/api/v1/runs/{run['run_id']}/{what}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


@dataclass
class Stage:
    """See the module. ``folder`` is the test's own."""

    folder: Path
    database_url: str
    backend: LocalBackend
    proxy: FaultProxy
    launch: Launch = launch_python
    postgres: PostgresServer | None = None
    tag: str = field(default_factory=lambda: uuid4().hex[:12])

    @contextmanager
    def serving(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        crash_at: str | None = None,
        name: str = "bridge",
        clock_seconds: float = 0.0,
    ) -> Iterator[Service]:
        """A service of this stage's database behind the proxy, stopped at the end if it still runs.

        ``clock_seconds`` is by how much its process's clock is wrong.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        config = folder / "bridge.toml"
        config.write_text(_BACKEND)
        env = {**_QUICK, "KFBRIDGE_CONFIG": str(config), **(settings or {})}
        if crash_at is not None:
            env["KFBRIDGE_CRASH_AT"] = crash_at
        if clock_seconds:
            env[CLOCK_SECONDS] = str(clock_seconds)
        with (
            start_service(
                folder, self.proxy.url, database_url=self.database_url, env=env, launch=self.launch
            ) as process,
            httpx.Client(base_url=process.url, timeout=30, trust_env=False) as client,
        ):
            yield Service(process, client, self.tag)

    def posted_runs(self) -> dict[str, int]:
        """How often each run_id was posted to the backend."""
        return self.proxy.posted_runs()

    def backend_client(self) -> KfpClient:
        """A client of the backend itself, past the proxy."""
        token = self.proxy.backend_token
        return KfpClient(self.backend.url, token=TokenSource.from_value(token) if token else None)

    def backend_runs(self) -> list[dict[str, Any]]:
        """What the backend itself holds."""
        rows: list[dict[str, Any]] = []
        params: dict[str, str] = {"page_size": "200"}
        while True:
            page = self._ask("GET", "/runs", params=params).json()
            rows += page.get("runs", [])
            if not page.get("next_page_token"):
                return rows
            params["page_token"] = page["next_page_token"]

    def backend_run(self, run: Mapping[str, Any]) -> dict[str, Any] | None:
        """One run at the backend itself, ``None`` if it has none of that id."""
        return next((row for row in self.backend_runs() if row["run_id"] == run["kfp_run_id"]), None)

    def backend_ends(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The backend's row once the run has ended there."""

        def look() -> dict[str, Any] | None:
            row = self.backend_run(run)
            return row if row is not None and row.get("state", "") not in LIVE_STATES else None

        return eventually(look, f"an end of {run['kfp_run_id']} at the backend")

    def retry_at_backend(self, run: Mapping[str, Any]) -> None:
        """KFP's ``:retry``, past the bridge."""
        self._ask("POST", f"/runs/{run['kfp_run_id']}:retry")

    def delete_at_backend(self, run: Mapping[str, Any]) -> None:
        """Delete the run behind the bridge's back."""
        self._ask("DELETE", f"/runs/{run['kfp_run_id']}")

    def clear_backend(self) -> None:
        """Delete every run, so that the next scenario finds none."""
        for row in self.backend_runs():
            self._ask("DELETE", f"/runs/{row['run_id']}")

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        token = self.proxy.backend_token
        answer = httpx.request(
            method,
            f"{self.backend.url}/apis/v2beta1{path}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=30,
            trust_env=False,
            **more,
        )
        assert answer.is_success, answer.text
        return answer


def wait_for_crash(service: Service) -> None:
    """Return when the service died at its crash point."""
    code = service.process.process.wait(PATIENCE_SECONDS)
    assert code == CRASHED, f"exit code {code}\n{service.log[-4000:]}"


_SQLITE, _POSTGRESQL = "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)
on_both = pytest.mark.parametrize("stage", [_SQLITE, _POSTGRESQL], indirect=True)
on_postgresql = pytest.mark.parametrize("stage", [_POSTGRESQL], indirect=True)
empty_on_both = pytest.mark.parametrize("empty_stage", [_SQLITE, _POSTGRESQL], indirect=True)
