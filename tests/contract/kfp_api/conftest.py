"""A real KFP server to talk to: the local backend, or a live one named in ``KFBRIDGE_LIVE_KFP_URL``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient

START_SECONDS = 60.0
StartLocal = Callable[..., AbstractContextManager[str]]


@contextmanager
def local_backend(data_dir: Path, *arguments: str, token: str = "") -> Iterator[str]:
    """A ``kfbridge local`` on a free port; yields its URL and stops the process by its id."""
    command = [
        sys.executable,
        "-m",
        "bridge.cli",
        "local",
        "--data-dir",
        str(data_dir),
        "--port",
        "0",
        *arguments,
    ]
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "output.log").open("wb") as output:
        environment = {**os.environ, "KFBRIDGE_LOCAL_TOKEN": token}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield _address(process, data_dir)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _address(process: subprocess.Popen[bytes], data_dir: Path) -> str:
    path = data_dir / "local.json"
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        said = (data_dir / "output.log").read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, f"the local backend ended at its start:\n{said}"
        assert time.monotonic() < deadline, f"the local backend did not start in {START_SECONDS} s:\n{said}"
        time.sleep(0.05)
    url: str = json.loads(path.read_text(encoding="utf-8"))["url"]
    return url


@pytest.fixture
def start_local(tmp_path: Path) -> StartLocal:
    """Starts a local backend of the test's own, with the given arguments."""

    def start(*arguments: str, token: str = "") -> AbstractContextManager[str]:
        return local_backend(tmp_path / "backend", *arguments, token=token)

    return start


@pytest.fixture(scope="session", params=["mlmd", "native"])
def metadata_shape(request: pytest.FixtureRequest) -> str:
    """Which shape of metadata the local backend serves; a live server has the one that it has."""
    shape: str = request.param
    if os.environ.get("KFBRIDGE_LIVE_KFP_URL") and shape != "mlmd":
        pytest.skip("a live server is asked once, whichever shape it has")
    return shape


@pytest.fixture(scope="session")
def kfp_url(tmp_path_factory: pytest.TempPathFactory, metadata_shape: str) -> Iterator[str]:
    """The URL of the server that the whole session talks to."""
    live = os.environ.get("KFBRIDGE_LIVE_KFP_URL")
    if live:
        yield live
        return
    with local_backend(tmp_path_factory.mktemp("kfp"), "--metadata", metadata_shape) as url:
        yield url


@pytest.fixture
async def client(kfp_url: str) -> AsyncIterator[KfpClient]:
    """A client of that server."""
    token = os.environ.get("KFBRIDGE_LIVE_KFP_TOKEN")
    async with KfpClient(kfp_url, token=TokenSource.from_value(token) if token else None) as opened:
        yield opened
