"""A real ``airflow standalone`` on loopback, and the few calls of its REST API that the demo needs."""

from __future__ import annotations

import json
import signal
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

from deploy.laptop.processes import ManagedProcess, clean_environment, descendants, free_port, wait_for

_TERMINAL = frozenset({"success", "failed"})
# How long what may be asked twice is asked again while Airflow answers with a fault of its own. With SQLite
# it does so when its database stays locked for longer than one of its requests waits for that.
_FAULTY_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class AirflowPlace:
    """Where an Airflow lives: its home folder, its DAGs and the environment that holds ``airflow``."""

    home: Path
    dags_folder: Path
    venv: Path


class AirflowStandalone:
    """``airflow standalone`` with the settings of a small machine, listening on 127.0.0.1 only."""

    def __init__(self, place: AirflowPlace, *, extra_env: Mapping[str, str], port: int = 0) -> None:
        self.place = place
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        place.home.mkdir(parents=True, exist_ok=True)
        self.env = {**clean_environment(), **_settings(place, self.port), **extra_env}
        self.env["PATH"] = f"{_shim(place)}:{place.venv / 'bin'}:{self.env['PATH']}"
        self._process: ManagedProcess | None = None
        self._more: list[ManagedProcess] = []
        self._http = httpx.Client(base_url=self.url, timeout=60)

    def start(self) -> None:
        """Starts the processes; returns at once."""
        self._process = ManagedProcess(
            "airflow standalone",
            [str(self.place.venv / "bin" / "airflow"), "standalone"],
            env=self.env,
            log=self.place.home / "standalone.log",
            # SIGTERM to the parent would orphan scheduler, triggerer and the rest.
            stop_signal=signal.SIGINT,
        )

    def start_triggerer(self) -> ManagedProcess:
        """Starts one more triggerer; ``airflow standalone`` does not restart its own."""
        process = ManagedProcess(
            "airflow triggerer",
            [str(_shim(self.place) / "airflow"), "triggerer"],
            env=self.env,
            log=self.place.home / "triggerer.log",
            stop_signal=signal.SIGINT,
        )
        self._more.append(process)
        return process

    def triggerer_processes(self) -> list[psutil.Process]:
        """The processes of all triggerers, and all that these have started."""
        family = [process for one in (self.process, *self._more) for process in one.family()]
        found = [process for process in family if "triggerer" in _command(process)]
        below = [child for process in found for child in descendants(process)]
        return list({process.pid: process for process in (*found, *below)}.values())

    @property
    def process(self) -> ManagedProcess:
        """The running ``airflow standalone``; ``RuntimeError`` before it was started."""
        if self._process is None:
            raise RuntimeError("this Airflow was not started")
        return self._process

    def wait_healthy(self, *, seconds: float = 600) -> None:
        """Waits until every component reports healthy and a token was given."""

        def healthy() -> bool:
            self.process.ensure_alive()
            try:
                health = self._http.get("/api/v2/monitor/health").json()
            except (httpx.TransportError, json.JSONDecodeError):
                return False
            parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            return all(health.get(part, {}).get("status") == "healthy" for part in parts)

        wait_for(healthy, seconds=seconds, what=f"Airflow at {self.url} to be healthy", pause=0.25)
        token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def stop(self) -> None:
        """Ends every process of this Airflow."""
        self._http.close()
        for process in self._more:
            process.stop()
        if self._process is not None:
            self._process.stop(grace_seconds=30)

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
            self.process.ensure_alive()
            time.sleep(_PAUSE_SECONDS)
            again = True

    def wait_dag(self, dag_id: str, *, seconds: float = 120) -> None:
        """Waits until the DAG was parsed; import errors of any DAG file are raised as they are."""

        def known() -> bool:
            self.process.ensure_alive()
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
            self.process.ensure_alive()
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


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []  # ended meanwhile


def _log_lines(event: Any) -> list[str]:
    if isinstance(event, str):
        return [event]
    errors = event.get("error_detail") or []
    return [str(event.get("event", "")), *(f"{e['exc_type']}: {e['exc_value']}" for e in errors)]


def _settings(place: AirflowPlace, port: int) -> dict[str, str]:
    database = place.home / "airflow.db"
    return {
        "AIRFLOW_HOME": str(place.home),
        # Who finds the database locked waits; after the 5 s that are usual, requests fail on a busy machine.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}?timeout=60",
        "AIRFLOW__CORE__DAGS_FOLDER": str(place.dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__EXPOSE_CONFIG": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": _secret(place.home / "jwt.secret"),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # A worker's supervisor may need so long to notice that its task has ended; the default is 5 s.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
    }


def _secret(path: Path) -> str:
    import secrets

    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text()


def _shim(place: AirflowPlace) -> Path:
    """A folder for PATH whose ``airflow`` starts scheduler and triggerer without their log servers.

    Airflow's log servers listen on every address and cannot be told otherwise; on one machine the
    API server reads the log files itself. ``airflow standalone`` offers no option to leave them out.
    """
    folder = place.home / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    shim = folder / "airflow"
    real = place.venv / "bin" / "airflow"
    shim.write_text(
        "#!/bin/sh\n"
        # By this name PostgreSQL tells whose a connection is, where Airflow's database is one.
        'export PGAPPNAME="airflow-$$"\n'
        'case "$1" in\n'
        f'  scheduler|triggerer) exec "{real}" "$@" --skip-serve-logs ;;\n'
        f'  *) exec "{real}" "$@" ;;\n'
        "esac\n"
    )
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    return folder
