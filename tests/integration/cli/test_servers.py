"""``local``, ``serve``, ``worker`` and ``migrate`` as a person starts and stops them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.cli.conftest import Command, finish
from tests.support.s3 import running_s3


@contextmanager
def server(command: Command, *argv: str, ready: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that has said that it is ready, and what it said after that."""
    process = command.start(*argv)
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith(ready):
                break
        else:
            raise AssertionError(f"it did not start: {lines} {finish(process).err}")
        yield process, line.removeprefix(ready).strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_backend_and_a_bridge_start_work_and_stop(alone: Command, tmp_path: Path) -> None:
    local = ("local", "--port", "0", "--data-dir", "backend")
    with server(alone, *local, ready="kfbridge local ready on ") as (backend, kfp_url):
        serve = ("serve", "--port", "0", "--kfp-url", kfp_url, "--database-url", "sqlite:///bridge.db")
        with server(alone, *serve, ready="kfbridge serve ready on ") as (bridge, url):
            assert httpx.get(f"{url}/livez").status_code == 200
            said = alone("runs", "--url", url)
            assert (said.code, said.err) == (0, "no run yet; submit one with 'kfbridge submit'\n")
            bridge.send_signal(signal.SIGINT)
            assert finish(bridge).code == 0
        backend.send_signal(signal.SIGTERM)
        assert finish(backend).code == 0


def test_the_workers_alone(alone: Command) -> None:
    options = ("--kfp-url", "http://127.0.0.1:1", "--database-url", "sqlite:///bridge.db")
    with server(alone, "worker", *options, ready="kfbridge worker ready") as (worker, _):
        worker.send_signal(signal.SIGTERM)
        assert finish(worker).code == 0


def test_a_token_keeps_strangers_out_of_the_local_backend(alone: Command) -> None:
    alone.environ["KFBRIDGE_LOCAL_TOKEN"] = "secret"
    local = ("local", "--port", "0", "--data-dir", "backend")
    with server(alone, *local, ready="kfbridge local ready on ") as (_, url):
        assert httpx.get(f"{url}/apis/v2beta1/runs").status_code == 401
        allowed = httpx.get(f"{url}/apis/v2beta1/runs", headers={"Authorization": "Bearer secret"})
        assert allowed.status_code == 200


def test_a_local_backend_does_not_start_without_the_bucket_of_its_artifacts(alone: Command) -> None:
    local = ("local", "--port", "0", "--data-dir", "backend")
    alone.environ["KFBRIDGE_LOCAL_ARTIFACTS"] = "s3://kept/ml"
    with running_s3() as s3:
        alone.environ["KFBRIDGE_LOCAL_ARTIFACT_OPTIONS"] = json.dumps(s3.options)
        missing = alone(*local)
        assert missing.code == 5
        assert f"artifacts cannot go to s3://kept/ml: there is no bucket kept on the S3 server {s3.url}" in (
            " ".join(missing.err.split())
        )
        s3.bucket("kept")
        with server(alone, *local, ready="kfbridge local ready on "):
            pass
    away = {**s3.options, "config_kwargs": {"retries": {"total_max_attempts": 1}}}
    alone.environ["KFBRIDGE_LOCAL_ARTIFACT_OPTIONS"] = json.dumps(away)
    said = alone(*local)
    assert said.code == 5
    assert "does not answer" in said.err
    assert "Traceback" not in said.err


def test_a_database_is_migrated_once(alone: Command, tmp_path: Path) -> None:
    first = alone("migrate", "--database-url", f"sqlite:///{tmp_path}/new.db")
    assert (first.code, first.out.startswith("the database went from nothing to revision ")) == (0, True)
    second = alone("migrate", "--database-url", f"sqlite:///{tmp_path}/new.db")
    assert (second.code, "already" in second.out) == (0, True)


def test_a_port_that_is_taken_is_told(alone: Command, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        commands = (
            ("local", "--port", port, "--data-dir", "backend"),
            ("serve", "--port", port, "--kfp-url", "http://127.0.0.1:1", "--database-url", "sqlite:///b.db"),
        )
        for argv in commands:
            said = alone(*argv)
            assert said.code == 1
            assert port in said.err
            assert "Traceback" not in said.err


def test_a_data_directory_serves_one_backend(alone: Command) -> None:
    local = ("local", "--port", "0", "--data-dir", "backend")
    with server(alone, *local, ready="kfbridge local ready on "):
        said = alone(*local)
        assert said.code == 1
        assert "another local backend uses" in said.err


def test_a_database_that_cannot_be_opened_is_told(alone: Command, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    for argv in (("migrate",), ("serve", "--port", "0", "--kfp-url", "http://127.0.0.1:1")):
        said = alone(*argv, "--database-url", f"sqlite:///{tmp_path}/a-file/bridge.db")
        assert said.code in (1, 5)
        assert "Traceback" not in said.err
        assert said.err.startswith("kfbridge: ") or "\nkfbridge: " in said.err
