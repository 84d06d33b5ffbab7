"""A real ``airflow standalone`` on loopback."""

from __future__ import annotations

import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.laptop.airflow_api import AirflowApi
from deploy.laptop.processes import ManagedProcess, clean_environment, descendants, free_port


@dataclass(frozen=True, slots=True)
class AirflowPlace:
    """Where an Airflow lives: its home folder, its DAGs and the environment that holds ``airflow``."""

    home: Path
    dags_folder: Path
    venv: Path


class AirflowStandalone(AirflowApi):
    """``airflow standalone`` with the settings of a small machine, listening on 127.0.0.1 only."""

    def __init__(self, place: AirflowPlace, *, extra_env: Mapping[str, str], port: int = 0) -> None:
        self.place = place
        self.port = port or free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        place.home.mkdir(parents=True, exist_ok=True)
        self.env = {**clean_environment(), **_settings(place, self.port), **extra_env}
        self.env["PATH"] = f"{_shim(place)}:{place.venv / 'bin'}:{self.env['PATH']}"
        self._process: ManagedProcess | None = None
        self._more: list[ManagedProcess] = []

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

    def ensure_alive(self) -> None:
        """Raises ``ProcessEnded`` if Airflow has ended."""
        self.process.ensure_alive()

    def stop(self) -> None:
        """Ends every process of this Airflow."""
        self.close()
        for process in self._more:
            process.stop()
        if self._process is not None:
            self._process.stop(grace_seconds=30)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []  # ended meanwhile


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
