"""Starts a real bridge service as a process of its own, for tests that need one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

_READY = "kfbridge serve ready on "
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0


class ServiceProcess(Protocol):
    """What is used of ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


Launch = Callable[[Mapping[str, str], IO[bytes]], ServiceProcess]


def launch_python(environment: Mapping[str, str], errors: IO[bytes]) -> ServiceProcess:
    """The service in an interpreter of its own; what it logs goes to the file ``errors``."""
    return subprocess.Popen(
        [sys.executable, "-m", "bridge.service"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=dict(environment),
    )


@dataclass
class BridgeService:
    """A service that serves. What it logged is in ``log``."""

    url: str
    log: Path
    process: ServiceProcess = field(repr=False)

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self.process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the process to end and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def start_service(
    tmp_dir: Path,
    kfp_url: str,
    *,
    database_url: str | None = None,
    env: Mapping[str, str] | None = None,
    launch: Launch = launch_python,
) -> Iterator[BridgeService]:
    """A service with its workers on a free port, stopped at the end of the block.

    ``database_url`` defaults to a SQLite file in ``tmp_dir``; ``env`` holds more ``KFBRIDGE_…``
    settings; ``launch`` starts the process. Its log goes to ``tmp_dir/service.log`` and is shown if it does
    not start.
    """
    tmp_dir.mkdir(parents=True, exist_ok=True)
    settings = {
        "KFBRIDGE_KFP_URL": kfp_url,
        "KFBRIDGE_DATABASE_URL": database_url or f"sqlite:///{tmp_dir / 'bridge.db'}",
        "KFBRIDGE_PORT": "0",
        "KFBRIDGE_MIGRATE": "1",
        # What earlier tests left at a backend that they share is nobody's history.
        "KFBRIDGE_KFP_IMPORT_DAYS": "0",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KFBRIDGE_")}
    log = tmp_dir / "service.log"
    with log.open("ab") as log_file:
        process = launch({**inherited, **settings, **(env or {})}, log_file)
    assert process.stdout is not None
    try:
        service = BridgeService(_until_ready(process, log), log, process)
        try:
            yield service
        finally:
            service.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def _until_ready(process: ServiceProcess, log: Path) -> str:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + _START_SECONDS
    text = b""
    while time.monotonic() < deadline:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(descriptor, 4096) if readable else b""
        if not chunk:
            break
        text += chunk
        for line in text.decode().splitlines(keepends=True):
            if line.startswith(_READY) and line.endswith("\n"):
                return line.removeprefix(_READY).strip()
    told = log.read_text(errors="replace")
    raise RuntimeError(f"the service did not start (exit code {process.poll()}):\n{text.decode()}{told}")
