"""The few calls of Airflow's REST API that the demo and the end-to-end tests need."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from deploy.laptop.processes import wait_for

_TERMINAL = frozenset({"success", "failed"})
# How long what may be asked twice is asked again while Airflow answers with a fault of its own. With SQLite
# it does so when its database stays locked for longer than one of its requests waits for that.
_FAULTY_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


class AirflowApi:
    """An Airflow whose users are all admins, by its address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60)

    def ensure_alive(self) -> None:
        """Raises if there is no sense in waiting for this Airflow any longer."""

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def wait_healthy(self, *, seconds: float = 600) -> None:
        """Waits until every component reports healthy and a token was given."""

        def healthy() -> bool:
            self.ensure_alive()
            try:
                health = self._http.get("/api/v2/monitor/health").json()
            except (httpx.TransportError, json.JSONDecodeError):
                return False
            parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            return all(health.get(part, {}).get("status") == "healthy" for part in parts)

        wait_for(healthy, seconds=seconds, what=f"Airflow at {self.url} to be healthy", pause=0.25)
        token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer of ``GET /api/v2<path>``."""
        answer, _ = self._ask_again("GET", path, params=params)
        return answer.raise_for_status().json()

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer of ``PATCH /api/v2<path>``, which does the same if it is done twice."""
        answer, _ = self._ask_again("PATCH", path, json=dict(body))
        return answer.raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer of ``POST /api/v2<path>``."""
        return self._http.post(f"/api/v2{path}", json=dict(body)).raise_for_status().json()

    def delete(self, path: str) -> None:
        """``DELETE /api/v2<path>``."""
        self._http.delete(f"/api/v2{path}").raise_for_status()

    def _ask_again(self, method: str, path: str, **more: Any) -> tuple[httpx.Response, bool]:
        """Airflow's answer, asked for again while it is a fault of its own; whether it was asked again."""
        until, again = time.monotonic() + _FAULTY_SECONDS, False
        while True:
            try:
                answer = self._http.request(method, f"/api/v2{path}", **more)
                if not answer.is_server_error or time.monotonic() > until:
                    return answer, again
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
            self.ensure_alive()
            time.sleep(_PAUSE_SECONDS)
            again = True

    def wait_dag(self, dag_id: str, *, seconds: float = 120) -> None:
        """Waits until the DAG was parsed; import errors of any DAG file are raised as they are."""

        def known() -> bool:
            self.ensure_alive()
            errors = self.get("/importErrors")["import_errors"]
            if errors:
                raise RuntimeError("\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in errors))
            return self._http.get(f"/api/v2/dags/{dag_id}").status_code == httpx.codes.OK

        wait_for(known, seconds=seconds, what=f"Airflow to have parsed the DAG {dag_id}", pause=0.25)

    def unpause(self, dag_id: str) -> None:
        """Lets the DAG's schedule run."""
        self.patch(f"/dags/{dag_id}", {"is_paused": False})

    def trigger(
        self,
        dag_id: str,
        *,
        dag_run_id: str | None = None,
        logical_date: str | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> str:
        """Triggers a DagRun and returns its id. The id is known before Airflow is asked, so that asking again
        after a fault makes no second DagRun; one that was there already is ``httpx.HTTPStatusError``."""
        dag_run_id = dag_run_id or f"manual__{datetime.now(UTC).isoformat()}_{uuid4().hex[:8]}"
        body = {"dag_run_id": dag_run_id, "logical_date": logical_date, "conf": dict(conf or {})}
        answer, again = self._ask_again("POST", f"/dags/{dag_id}/dagRuns", json=body)
        if again and answer.status_code == httpx.codes.CONFLICT:
            # One of the requests that were answered with a fault made it.
            return str(self.dag_run(dag_id, dag_run_id)["dag_run_id"])
        return str(answer.raise_for_status().json()["dag_run_id"])

    def dag_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The newest hundred DagRuns of a DAG, newest first."""
        answer = self.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=100)
        return list(answer["dag_runs"])

    def dag_run(self, dag_id: str, dag_run_id: str) -> dict[str, Any]:
        """One DagRun."""
        return dict(self.get(f"/dags/{dag_id}/dagRuns/{dag_run_id}"))

    def wait_dag_run(self, dag_id: str, dag_run_id: str, *, seconds: float = 180) -> str:
        """Waits for a DagRun's end and returns its state."""

        def ended() -> str | None:
            self.ensure_alive()
            state = str(self.dag_run(dag_id, dag_run_id)["state"])
            return state if state in _TERMINAL else None

        return wait_for(ended, seconds=seconds, what=f"DagRun {dag_id}/{dag_run_id} to end", pause=0.3)

    def task_instances(self, dag_id: str, dag_run_id: str) -> list[dict[str, Any]]:
        """The task instances of a DagRun."""
        return list(self.get(f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances")["task_instances"])

    def xcom(self, dag_id: str, dag_run_id: str, task_id: str, key: str = "return_value") -> Any:
        """An XCom of an unmapped task."""
        path = f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.get(path)["value"]

    def task_log(self, dag_id: str, dag_run_id: str, task_id: str, try_number: int = 1) -> str:
        """The log of one try of an unmapped task, one event a line, each followed by its exceptions."""
        path = f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.get(path, full_content="true")["content"]
        return "\n".join(line for event in content for line in _log_lines(event))


def _log_lines(event: Any) -> list[str]:
    if isinstance(event, str):
        return [event]
    errors = event.get("error_detail") or []
    return [str(event.get("event", "")), *(f"{e['exc_type']}: {e['exc_value']}" for e in errors)]
