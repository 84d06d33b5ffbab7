"""Starts a real local backend as a process of its own, for tests that need one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

_READY = "kfbridge local ready on "
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0


@dataclass
class LocalBackend:
    """A local backend that serves. ``output`` collects what it printed until it was ready."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    output: list[str] = field(default_factory=list, repr=False)

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self.process.pid

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask it with GET; ``more`` is as for ``httpx.get``."""
        return self._ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """Ask it with POST; ``more`` is as for ``httpx.post``."""
        return self._ask("POST", path, **more)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        # It speaks plain HTTP; certificates would be loaded for every request, which takes 30 ms.
        return httpx.request(method, f"{self.url}{path}", verify=False, timeout=30, **more)

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
def start_local_backend(
    data_dir: Path,
    *,
    token: str | None = None,
    max_parallel: int = 2,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[LocalBackend]:
    """``kfbridge local`` on a free port, stopped at the end of the block.

    ``options`` are further words of its command line. What it writes to standard error goes to
    ``<data_dir>/stderr.log``; it is shown if it does not start.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bridge.cli", "local", "--port", "0", "--data-dir", str(data_dir)]
    command += ["--max-parallel", str(max_parallel), *options]
    errors = data_dir / "stderr.log"
    with errors.open("ab") as error_file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=error_file,
            env={**os.environ, **({"KFBRIDGE_LOCAL_TOKEN": token} if token else {}), **(environment or {})},
        )
    assert process.stdout is not None
    try:
        output = _until_ready(process, errors)
        url = output[-1].removeprefix(_READY)
        backend = LocalBackend(url, data_dir, process, output)
        try:
            yield backend
        finally:
            backend.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def _until_ready(process: subprocess.Popen[bytes], errors: Path) -> list[str]:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + _START_SECONDS
    text = b""
    while time.monotonic() < deadline:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            break
        chunk = os.read(descriptor, 4096)
        if not chunk:
            break
        text += chunk
        lines = text.decode().splitlines()
        if text.endswith(b"\n") and lines[-1].startswith(_READY):
            return lines
    told = errors.read_text(errors="replace")
    raise RuntimeError(
        f"the local backend did not start (exit code {process.poll()}):\n{text.decode()}{told}"
    )
