"""The servers that the benches measure, each a process of its own on a free port of loopback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.laptop.processes import ManagedProcess, clean_environment, free_port, wait_for

# What was there before is imported in time to spare, of which a bench has none.
_NO_HISTORY = {"KFBRIDGE_KFP_IMPORT_DAYS": "0"}


@contextmanager
def serving(
    name: str,
    command: list[str],
    health: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    *,
    seconds: float = 60,
) -> Iterator[ManagedProcess]:
    """A process that answers at ``health`` within so many seconds; it is stopped at the end of the block."""
    environment = {**clean_environment(), **(env or {})}
    process = ManagedProcess(name, command, env=environment, log=log, stop_signal=signal.SIGTERM)

    def answers() -> bool:
        process.ensure_alive()
        try:
            return httpx.get(health, timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    with process:
        wait_for(answers, seconds=seconds, what=f"{name} to answer")
        yield process


@contextmanager
def local_backend(home: Path, *, max_parallel: int = 2) -> Iterator[str]:
    """A local backend; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "bridge.cli",
        "local",
        "--port",
        str(port),
        "--data-dir",
        str(home / "kfp"),
    ]
    command += ["--max-parallel", str(max_parallel)]
    with serving("kfbridge local", command, f"{url}/apis/v2beta1/healthz", home / "local.log"):
        yield url


@contextmanager
def bridge_service(
    home: Path,
    kfp_url: str,
    database_url: str,
    *,
    workers: bool = True,
    env: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """A bridge service; its URL. A database that is not migrated is migrated."""
    port = free_port()
    with bridge_process(home, kfp_url, database_url, port=port, workers=workers, env=env):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def bridge_process(
    home: Path,
    kfp_url: str,
    database_url: str,
    *,
    port: int,
    workers: bool = True,
    env: Mapping[str, str] | None = None,
) -> Iterator[ManagedProcess]:
    """The process of a bridge service at that port of 127.0.0.1."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bridge.cli", "serve", "--port", str(port), "--migrate"]
    command += ["--database-url", database_url, "--kfp-url", kfp_url, "--log-level", "WARNING"]
    command += [] if workers else ["--no-workers"]
    environment = {**_NO_HISTORY, **(env or {})}
    with serving("kfbridge serve", command, f"{url}/readyz", home / "serve.log", environment) as process:
        yield process


@contextmanager
def worker_process(
    home: Path, kfp_url: str, database_url: str, env: Mapping[str, str] | None = None
) -> Iterator[ManagedProcess]:
    """The process of ``kfbridge worker``: all workers, no API."""
    command = [sys.executable, "-m", "bridge.cli", "worker"]
    command += ["--database-url", database_url, "--kfp-url", kfp_url, "--log-level", "WARNING"]
    environment = {**clean_environment(), **_NO_HISTORY, **(env or {})}
    log = home / "worker.log"
    with ManagedProcess(
        "kfbridge worker", command, env=environment, log=log, stop_signal=signal.SIGTERM
    ) as process:
        yield process


@contextmanager
def counting_proxy(home: Path, target: str) -> Iterator[str]:
    """A proxy before ``target`` that counts requests; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    code = (
        "import sys, uvicorn; from tests.bench.counting_proxy import create_app; "
        "uvicorn.run(create_app(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]), log_level='warning')"
    )
    command = [sys.executable, "-c", code, target, str(port)]
    with serving("counting proxy", command, f"{url}/bench/counts", home / "proxy.log"):
        yield url


def proxy_counts(proxy_url: str) -> dict[str, int]:
    """How many requests of each kind a counting proxy has passed on."""
    counts = httpx.get(f"{proxy_url}/bench/counts", timeout=30).raise_for_status().json()
    return {str(kind): int(count) for kind, count in counts.items()}
