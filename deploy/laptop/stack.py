"""Local backend, bridge service and Airflow, started together on loopback and stopped together."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx

from bridge.client.sync import BridgeClient
from deploy.laptop.airflow import AirflowPlace, AirflowStandalone
from deploy.laptop.processes import ManagedProcess, clean_environment, free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
_SERVICE = "kfbridge serve"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a stack on 127.0.0.1; 0 is any free one."""

    local: int = 0
    service: int = 0
    airflow: int = 0


class Stack:
    """One laptop's worth of the bridge. Everything it writes lies under ``home``.

    ``database_url`` is SQLite under ``home`` unless given; ``local_options`` and ``local_env`` are more
    options and variables of ``kfbridge local``. Use as a context manager: leaving it ends every process that
    was started, however it is left.
    """

    def __init__(
        self,
        home: Path,
        *,
        ports: Ports | None = None,
        database_url: str | None = None,
        dags_folder: Path | None = None,
        airflow_env: Mapping[str, str] | None = None,
        service_env: Mapping[str, str] | None = None,
        local_options: Sequence[str] = (),
        local_env: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        ports = ports or Ports()
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self.data = self.home / "data"
        self._say = say
        self._local_port = ports.local or free_port()
        self._service_port = ports.service or free_port()
        self.kfp_url = f"http://127.0.0.1:{self._local_port}"
        self.bridge_url = f"http://127.0.0.1:{self._service_port}"
        self.database_url = database_url or f"sqlite:///{self.home / 'lineage.db'}"
        self._service_env = dict(service_env or {})
        self._local_options = list(local_options)
        self._local_env = dict(local_env or {})
        place = AirflowPlace(
            self.home / "airflow", dags_folder or ROOT / "airflow_dags", ROOT / ".venv-airflow"
        )
        self.airflow = AirflowStandalone(
            place, extra_env={**self._airflow_env(), **(airflow_env or {})}, port=ports.airflow
        )
        self._running: list[ManagedProcess] = []

    def start(self) -> None:
        """Starts everything and waits until all of it serves."""
        self.airflow.start()  # the slowest first
        self.start_local()
        self.start_service()
        self._say("local backend and bridge are serving; Airflow is starting")
        self.airflow.wait_healthy()

    def start_local(self) -> ManagedProcess:
        """Starts the local backend and waits until it answers."""
        options = ["--port", str(self._local_port), "--data-dir", str(self.home / "kfp")]
        process = self._kfbridge("local", [*options, *self._local_options], env=self._local_env)
        self._wait_http(process, f"{self.kfp_url}/apis/v2beta1/healthz")
        return process

    def start_service(self) -> ManagedProcess:
        """Starts the bridge service with its workers and waits until it is ready."""
        options = ["--port", str(self._service_port), "--migrate", "--database-url", self.database_url]
        # The same address twice: the second lets the pages clear tasks, as everybody may in this Airflow.
        airflow = {"KFBRIDGE_AIRFLOW_URL": self.airflow.url, "KFBRIDGE_AIRFLOW_API_URL": self.airflow.url}
        env = {**airflow, **self._service_env}
        process = self._kfbridge("serve", [*options, "--kfp-url", self.kfp_url], env=env)
        self._wait_http(process, f"{self.bridge_url}/readyz")
        return process

    def client(self) -> BridgeClient:
        """A client of the bridge."""
        return BridgeClient(self.bridge_url)

    def stop_service(self) -> None:
        """Ends the bridge service; ``start_service`` brings it back at the same address."""
        for process in [process for process in self._running if process.name == _SERVICE]:
            process.stop()
            self._running.remove(process)

    def stop(self) -> None:
        """Ends every process, Airflow first so that no task sees the bridge go away."""
        self.airflow.stop()
        for process in reversed(self._running):
            process.stop()
        self._running.clear()

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _kfbridge(self, command: str, options: list[str], *, env: Mapping[str, str]) -> ManagedProcess:
        process = ManagedProcess(
            f"kfbridge {command}",
            [sys.executable, "-m", "bridge.cli", command, *options],
            env={**clean_environment(), **env},
            log=self.home / "logs" / f"{command}.log",
            stop_signal=signal.SIGTERM,
        )
        self._running.append(process)
        return process

    def _wait_http(self, process: ManagedProcess, url: str) -> None:
        def answers() -> bool:
            process.ensure_alive()
            try:
                return httpx.get(url, timeout=5).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_for(answers, seconds=60, what=f"{process.name} to answer at {url}")

    def _airflow_env(self) -> dict[str, str]:
        connection = {"conn_type": "kfbridge", "host": self.bridge_url}
        return {
            "AIRFLOW_CONN_KFBRIDGE_DEFAULT": json.dumps(connection),
            "AIRFLOW__KFBRIDGE__PUBLIC_URL": self.bridge_url,
            "KFBRIDGE_DATA_URI": self.data.as_uri(),
        }
