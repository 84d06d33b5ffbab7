"""Small finished runs recorded a second: the bridge's mirror worker, and MLflow 3's REST server, in turn.

A run has five parameters and five metrics. The bridge records it from its observed end, through its real
worker (``mirroring``). MLflow is asked as its clients ask it, three requests a run: create, log-batch with
all ten values, update; over HTTP with keep-alive, by the light client, with so many connections as serve it
best. Its server is started with its default number of workers, on a database of the same kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from bridge.local.environments import find_uv
from deploy.laptop.processes import free_port
from tests.bench.instant_backend import SMALL
from tests.bench.light_client import Connection, Rate, drive, request_bytes
from tests.bench.mirroring import Mirrored, mirrored
from tests.bench.servers import serving
from tests.support.postgres import running_postgres

_LOCK = Path(__file__).with_name("mlflow.txt")
_ROUTE = "/api/2.0/mlflow/runs"
_CONNECTIONS = (1, 4, 8, 16)
_WARM_UP = 20
_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """Both sides on one kind of database; MLflow's best, and with how many connections that was."""

    bridge: Mirrored
    mlflow: Rate
    connections: int

    @property
    def times(self) -> float:
        """How many times as many runs a second the bridge recorded."""
        return self.bridge.runs_per_second / self.mlflow.per_second


def measure(home: Path) -> dict[str, Recorded]:
    """By database."""
    command = _install(home / "mlflow")
    found = {}
    with running_postgres(durable=True) as server:
        ours, theirs = (server.url(server.create_database()) for _ in range(2))
        found["PostgreSQL"] = _recorded(
            home / "postgresql", command, ours, theirs.replace("postgresql:", "postgresql+psycopg:", 1)
        )
    place = home / "sqlite"
    found["SQLite"] = _recorded(
        place, command, f"sqlite:///{place / 'bridge.db'}", f"sqlite:///{place / 'mlflow.db'}"
    )
    return found


def _recorded(home: Path, command: Path, ours: str, theirs: str) -> Recorded:
    home.mkdir(parents=True)
    bridge = mirrored(home, SMALL, ours)
    rates = _mlflow_rates(home, command, theirs)
    connections = max(rates, key=lambda count: rates[count].per_second)
    return Recorded(bridge, rates[connections], connections)


def _install(folder: Path) -> Path:
    """MLflow in an environment of its own, as the lock file has it; its command."""
    uv = find_uv() or "uv"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    python = folder / "bin" / "python"
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "sync", "--quiet", "--python", str(python), str(_LOCK)],
    ):
        subprocess.run([uv, *arguments], check=True, env=environment)
    return folder / "bin" / "mlflow"


def _mlflow_rates(home: Path, command: Path, database_url: str) -> dict[int, Rate]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    path = f"{command.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    line = [str(command), "server", "--host", "127.0.0.1", "--port", str(port)]
    line += ["--backend-store-uri", database_url, "--default-artifact-root", str(home / "artifacts")]
    # So that its server neither closes a connection nor kills a worker on a machine that is busy.
    line += ["--uvicorn-opts", "--timeout-keep-alive 60 --timeout-worker-healthcheck 60"]
    quiet = {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with serving("mlflow", line, f"{url}/health", home / "mlflow.log", quiet, seconds=300):
        guess = drive(url, _jobs(url), count=_WARM_UP, concurrent=max(_CONNECTIONS)).per_second
        runs = max(_WARM_UP, int(guess * _SECONDS))
        return {count: drive(url, _jobs(url), count=runs, concurrent=count) for count in _CONNECTIONS}


def _jobs(url: str) -> Iterator[Callable[[Connection], Awaitable[None]]]:
    now = int(time.time() * 1000)
    create = request_bytes(url, f"{_ROUTE}/create", {"experiment_id": "0", "start_time": now})
    params = [{"key": f"parameter_{index}", "value": str(index / 7)} for index in range(SMALL.parameters)]
    metrics = [
        {"key": f"metric_{index}", "value": index / 7, "timestamp": now, "step": 0}
        for index in range(SMALL.metrics)
    ]

    async def record(connection: Connection) -> None:
        run_id = json.loads(await connection.ask(create))["run"]["info"]["run_id"]
        values = {"run_id": run_id, "params": params, "metrics": metrics}
        await connection.ask(request_bytes(url, f"{_ROUTE}/log-batch", values))
        end = {"run_id": run_id, "status": "FINISHED", "end_time": now}
        await connection.ask(request_bytes(url, f"{_ROUTE}/update", end))

    return repeat(record)
