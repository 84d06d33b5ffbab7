"""The processes: services that come and go, and the backend that stays."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from deploy.laptop.processes import clean_environment, free_port, wait_for
from tests.support.timed_kfp import FACTS

# What a service imports until it serves, some of it only by name and late.
_IMPORTED = (
    "bridge.service.main",
    "alembic.ddl.postgresql",
    "anyio._backends._asyncio",
    "httpcore",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    __name__,
)


class Serving(Protocol):
    """A process of the service, forked or started cold."""

    @property
    def pid(self) -> int | None: ...

    def kill(self) -> None: ...

    def is_alive(self) -> bool: ...

    def end(self) -> None: ...


class _Forked:
    """A service in a fork of a process that has the imports behind it, so that a start costs little."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(_IMPORTED))
        self._process = context.Process(target=serve_forked, args=(dict(env), str(log)), daemon=True)
        self._process.start()
        self.kill = self._process.kill
        self.is_alive = self._process.is_alive

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def end(self) -> None:
        self._process.join()
        self._process.close()


class _Cold:
    """``kfbridge serve``, started from nothing."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        command = [sys.executable, "-m", "bridge.cli", "serve"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env={**clean_environment(), **env}, stdout=output, stderr=output
            )
        self.kill = self._process.kill

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.wait()


def serve_forked(env: Mapping[str, str], log: str) -> None:
    """What a forked service does: what ``kfbridge serve`` does after its imports."""
    from bridge.service.main import serve
    from bridge.service.settings_sources import load_settings

    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    serve(load_settings(env))


@dataclass
class Replica:
    """One place of a service: its port stays, its processes come and go."""

    number: int
    folder: Path
    env: Mapping[str, str]
    cold: bool
    port: int = field(default_factory=free_port)
    process: Serving | None = None
    _log_size: int = 0

    @property
    def url(self) -> str:
        """Where clients find whichever process is there."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What all its processes have logged."""
        return self.folder / f"serve-{self.number}.log"

    def start(self) -> None:
        """Start a process; it serves a moment later."""
        env = {**self.env, "KFBRIDGE_PORT": str(self.port)}
        self.log.touch()
        self._log_size = self.log.stat().st_size
        self.process = _Cold(env, self.log) if self.cold else _Forked(env, self.log)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns. Raises if it had ended before."""
        process = self.process
        assert process is not None
        if not process.is_alive():
            raise RuntimeError(f"a service ended by itself:\n{self.log.read_text(errors='replace')[-3000:]}")
        process.kill()
        process.end()
        self.process = None

    def serves(self) -> bool:
        """Whether its process has come so far as to serve."""
        with self.log.open("rb") as log:
            log.seek(self._log_size)
            return b"serve ready on" in log.read()


@dataclass
class Backend:
    """The backend's process, asked past the bridge."""

    url: str

    def facts(self) -> dict[str, Any]:
        """What it was really asked."""
        told: dict[str, Any] = httpx.get(self.url + FACTS, timeout=30, trust_env=False).json()
        return told

    def runs(self) -> list[dict[str, Any]]:
        """Its rows."""
        rows: list[dict[str, Any]] = []
        params = {"page_size": "200"}
        while True:
            answer = httpx.get(f"{self.url}/apis/v2beta1/runs", params=params, timeout=30, trust_env=False)
            page = answer.raise_for_status().json()
            rows += page.get("runs", [])
            if "next_page_token" not in page:
                return rows
            params["page_token"] = page["next_page_token"]


@contextmanager
def timed_backend(folder: Path) -> Iterator[Backend]:
    """A backend whose runs end by themselves after one to four seconds."""
    port = free_port()
    command = [sys.executable, "-m", "tests.support.timed_kfp", "--port", str(port)]
    with (folder / "backend.log").open("wb") as log:
        process = subprocess.Popen(command, env=clean_environment(), stdout=log, stderr=log)
    backend = Backend(f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: _answers(f"{backend.url}/apis/v2beta1/healthz"), seconds=60, what="the backend")
        yield backend
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False
