"""The local backend as a process: how it starts, stops, is killed, and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.local_backend import LocalBackend, start_local_backend

RUNS = "/apis/v2beta1/runs"
PATIENCE_SECONDS = 20.0


def until(condition: Callable[[], Any]) -> Any:
    """The first true thing that ``condition`` gives."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
    return found


def create(backend: LocalBackend, package: Path, **parameters: Any) -> str:
    pipeline = backend.post(
        "/apis/v2beta1/pipelines/upload",
        params={"name": f"{package.stem}-{time.monotonic_ns()}"},
        files={"uploadfile": (package.name, package.read_bytes())},
    ).json()
    body = {
        "display_name": "r",
        "pipeline_version_reference": {"pipeline_id": pipeline["pipeline_id"]},
        "runtime_config": {"parameters": parameters},
    }
    answer = backend.post(f"{RUNS}", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def get(backend: LocalBackend, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = backend.get(f"{RUNS}/{run_id}").json()
    return found


def wait_for(backend: LocalBackend, run_id: str, *states: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        run = get(backend, run_id)
        return run if run["state"] in states else None

    found: dict[str, Any] = until(there)
    return found


def pids_in(path: Path) -> list[int]:
    words = path.read_text().split() if path.exists() else []
    return [int(word) for word in words] if len(words) == 2 else []


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        # A process that has ended may stay in the table until somebody asks for its exit code.
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def second_start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge.cli", "local", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


def test_it_says_what_it_is_and_where_and_stays_alone(tmp_path: Path) -> None:
    with start_local_backend(tmp_path) as backend:
        port = backend.url.rpartition(":")[2]
        assert "laptops" in backend.output[0]
        assert backend.output[-1] == f"kfbridge local ready on {backend.url}"
        address = json.loads((tmp_path / "local.json").read_text())
        assert address == {"url": backend.url, "pid": backend.pid, "port": int(port)}
        assert backend.url.startswith("http://127.0.0.1:")

        same_folder = second_start("--port", "0", "--data-dir", str(tmp_path))
        assert same_folder.returncode == 1
        assert f"another local backend uses {tmp_path}" in same_folder.stderr
        same_port = second_start("--port", port, "--data-dir", str(tmp_path / "other"))
        assert same_port.returncode == 1
        assert "in use" in same_port.stderr
        assert "Traceback" not in same_port.stderr
        assert backend.stop(signal.SIGINT) == 0
    assert not (tmp_path / "local.json").exists()


def test_a_stop_ends_every_process_and_the_next_start_continues(
    tmp_path: Path, packages: dict[str, Path]
) -> None:
    pids = tmp_path / "pids"
    with start_local_backend(tmp_path / "data") as backend:
        run_id = create(backend, packages["waiting"], seconds=600, pids=str(pids))
        first = until(lambda: pids_in(pids))
        assert all(alive(pid) for pid in first)
        began = time.monotonic()
        assert backend.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5
        assert not any(alive(pid) for pid in first)
        assert "Traceback" not in (tmp_path / "data" / "stderr.log").read_text()
    pids.unlink()
    with start_local_backend(tmp_path / "data") as backend:
        until(lambda: pids_in(pids))
        run = get(backend, run_id)
        assert run["state"] == "RUNNING"
        names = {one["display_name"]: one for one in run["run_details"]["task_details"]}
        # What had finished is not run again.
        assert names["say"]["pod_name"].endswith("-0-0")
        backend.post(f"{RUNS}/{run_id}:terminate")
        wait_for(backend, run_id, "CANCELED")


def test_terminate_ends_every_process_within_two_seconds(
    backend: LocalBackend, tmp_path: Path, packages: dict[str, Path]
) -> None:
    pids = tmp_path / "pids"
    run_id = create(backend, packages["waiting"], seconds=600, pids=str(pids))
    started = until(lambda: pids_in(pids))
    began = time.monotonic()
    assert backend.post(f"{RUNS}/{run_id}:terminate").json() == {}
    until(lambda: not any(alive(pid) for pid in started))
    assert time.monotonic() - began < 2
    wait_for(backend, run_id, "CANCELED")


def test_a_killed_backend_continues_what_it_had_begun(tmp_path: Path, packages: dict[str, Path]) -> None:
    pids = tmp_path / "pids"
    with start_local_backend(tmp_path / "data") as backend:
        done = create(backend, packages["saying"], text="done")
        before = wait_for(backend, done, "SUCCEEDED")
        going = create(backend, packages["waiting"], seconds=3, pids=str(pids))
        left = until(lambda: pids_in(pids))
        assert backend.stop(signal.SIGKILL) == -signal.SIGKILL
    assert all(alive(pid) for pid in left)
    with start_local_backend(tmp_path / "data") as backend:
        assert get(backend, done) == before
        assert not any(alive(pid) for pid in left)
        run = wait_for(backend, going, "SUCCEEDED")
        assert [step["state"] for step in run["state_history"]][1:3] == ["RUNNING", "PENDING"]
