"""``kfbridge local --runner docker`` and ``kfbridge run --runner docker`` as processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.containers.engine import FOREIGN_USER, RealEngine
from tests.contract.local.test_process import until
from tests.support.handmade import artifacts, component, document, task
from tests.support.local_backend import LocalBackend, start_local_backend

RUNS = "/apis/v2beta1/runs"
_ORDINARY_USER = 5432


def flow(script: str, *args: str) -> dict[str, Any]:
    """A pipeline of one task ``work``, after one that has long ended: ``before``."""
    executors = {
        "exec-before": {"container": {"image": "alpine", "command": ["echo", "before"]}},
        "exec-work": {"container": {"image": "alpine", "command": ["sh", "-c", script], "args": list(args)}},
    }
    return document(
        {"before": task("before", "comp-before"), "work": task("work", "comp-work", "before")},
        {f"comp-{name}": component(executorLabel=f"exec-{name}") for name in ("before", "work")},
        executors,
        name="containers",
    )


def create(backend: LocalBackend, spec: dict[str, Any]) -> str:
    answer = httpx.post(f"{backend.url}{RUNS}", json={"display_name": "r", "pipeline_spec": spec})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def state(backend: LocalBackend, run_id: str) -> str:
    return str(httpx.get(f"{backend.url}{RUNS}/{run_id}").json()["state"])


def test_killed_and_started_again_it_runs_the_task_once_more(engine: RealEngine, tmp_path: Path) -> None:
    starts = "{{$.workspace_path}}/starts"
    # The first start hangs, the second one ends at once.
    script = 'echo up >> "$0"; [ "$(wc -l < "$0")" -gt 1 ] || sleep 600'
    options = ["--runner", "docker", "--container-engine", engine.program]
    with start_local_backend(tmp_path, options=options) as backend:
        assert "Components run in their images" in backend.output[0]
        run_id = create(backend, flow(script, starts))
        seen = tmp_path / "runs" / run_id / "workspace" / "starts"
        until(lambda: seen.exists() and seen.read_text() == "up\n")
        backend.stop(signal.SIGKILL)
    (left,) = engine.containers()
    labels = json.loads(engine.call("inspect", "--format", "{{json .Config.Labels}}", left))
    assert labels["io.kfbridge.run"] == run_id
    assert labels["io.kfbridge.task-name"] == "work"
    with start_local_backend(tmp_path, options=options) as backend:
        until(lambda: state(backend, run_id) == "SUCCEEDED")
        assert seen.read_text() == "up\nup\n"
        # What had finished before is not run again.
        logs = [path.read_text() for path in (tmp_path / "runs" / run_id).glob("*/log.txt")]
        assert len([log for log in logs if "before\n" in log]) == 1
        assert engine.containers() == []


def test_terminated_and_stopped_no_container_is_left(engine: RealEngine, tmp_path: Path) -> None:
    options = ["--runner", "docker", "--container-engine", engine.program, "--max-parallel", "4"]
    with start_local_backend(tmp_path, options=options) as backend:
        first, second = (create(backend, flow("sleep 600")) for _ in range(2))
        until(lambda: len(up(engine)) == 2)
        asked = time.monotonic()
        httpx.post(f"{backend.url}{RUNS}/{first}:terminate").raise_for_status()
        until(lambda: len(up(engine)) == 1)
        until(lambda: state(backend, first) == "CANCELED")
        assert time.monotonic() - asked < 2.0
        backend.stop()
        assert engine.containers() == []
        assert second


def test_a_run_from_the_command_line(engine: RealEngine, tmp_path: Path) -> None:
    package = tmp_path / "flow.json"
    package.write_text(json.dumps(flow('echo "$GREETING from $(command -v python3)"')))
    command = [sys.executable, "-m", "bridge.cli", "run", str(package), "--data-dir", str(tmp_path / "data")]
    command += ["--runner", "docker", "--container-engine", engine.program]
    command += ["--container-env", "GREETING=hello", "--container-cache", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "hello from /usr/bin/python3" in done.stdout + done.stderr
    assert engine.containers() == []


def test_without_an_engine_it_says_so_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bridge.cli", "local", "--port", "0", "--data-dir", str(tmp_path)]
    command += ["--runner", "docker", "--container-engine", "no-such-engine"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert "no-such-engine is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def up(engine: RealEngine) -> list[str]:
    """The containers of ``work`` that run."""
    return engine.call(
        "ps", "--quiet", "--filter", "label=io.kfbridge.task-name=work", "--filter", "status=running"
    ).split()


@pytest.mark.parametrize("user", ["host", "image"])
def test_who_is_not_root_owns_what_containers_wrote(engine: RealEngine, user: str) -> None:
    script = 'id -u > "$0"; mkdir "$0.more"; id -u > "$0.more/file"; chmod 700 "$0.more"; touch "$HOME/x"'
    place = "{{$.outputs.artifacts['data'].path}}"
    if user == "image":
        script = script.replace('touch "$HOME/x"', "true")
    spec = document(
        {"work": task("work", "comp-work")},
        {"comp-work": component(executorLabel="exec-work", output_artifacts=artifacts(data="Dataset"))},
        {"exec-work": {"container": {"image": "foreign", "command": ["sh", "-c", script], "args": [place]}}},
    )
    with _ordinary_user(engine) as (prefix, folder):
        (folder / "flow.json").write_text(json.dumps(spec))
        command = [*prefix, sys.executable, "-m", "bridge.cli", "run", str(folder / "flow.json"), "--json"]
        command += ["--data-dir", str(folder / "data"), "--runner", "docker", "--container-user", user]
        command += ["--container-engine", engine.program, "--container-cache", str(folder / "cache")]
        environ = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "xdg")}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        (data,) = (found["uri"] for found in json.loads(done.stdout)["artifacts"].values())
        path = Path(data.removeprefix("file://"))
        assert int(path.read_text()) == (_ORDINARY_USER if user == "host" else FOREIGN_USER)
        assert {place.stat().st_uid for place in (folder / "data").rglob("*")} == {_ORDINARY_USER}
        assert (path.parent / "data.more" / "file").exists()


@contextmanager
def _ordinary_user(engine: RealEngine) -> Iterator[tuple[list[str], Path]]:
    """How to start a program as a user who is not root, and a folder that is theirs."""
    if "DOCKER_HOST" not in engine.env:
        pytest.skip("Podman's containers belong to the user who makes them")
    Path(engine.env["DOCKER_HOST"].removeprefix("unix://")).chmod(0o666)
    folder = Path(tempfile.mkdtemp(prefix="kfbridge-ordinary-"))
    os.chown(folder, _ORDINARY_USER, _ORDINARY_USER)
    # The interpreter and the checkout may lie in folders of root's.
    capability = "+dac_read_search"
    try:
        yield (
            [
                *(
                    "setpriv",
                    "--reuid",
                    str(_ORDINARY_USER),
                    "--regid",
                    str(_ORDINARY_USER),
                    "--clear-groups",
                ),
                *("--inh-caps", capability, "--ambient-caps", capability),
            ],
            folder,
        )
    finally:
        shutil.rmtree(folder)
