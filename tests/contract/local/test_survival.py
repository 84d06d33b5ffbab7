"""What a local backend survives: kill -9 at any moment, processes that hide, more runs than it can run."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract.local.test_process import alive, create, get, until, wait_for
from tests.support.handmade import component, document, task
from tests.support.local_backend import LocalBackend, start_local_backend

pytestmark = pytest.mark.slow

API = "/apis/v2beta1"
MANY = 200


def chain(marks: Path, steps: int, seconds: float) -> dict[str, Any]:
    """A pipeline of tasks one after the other, each of which notes in a file of its own that it began."""
    names = [f"step-{number}" for number in range(steps)]
    executors = {
        f"exec-{name}": {
            "container": {
                "image": "none",
                "command": ["sh", "-c", f'echo begun >> "{marks / name}"; sleep {seconds}'],
            }
        }
        for name in names
    }
    tasks = {}
    for before, name in zip([None, *names], names, strict=False):
        tasks[name] = {**task(name, f"comp-{name}"), **({"dependentTasks": [before]} if before else {})}
    components = {f"comp-{name}": component(executorLabel=f"exec-{name}") for name in names}
    return document(tasks, components, executors, name="chain")


def begun(marks: Path) -> dict[str, int]:
    """How often each step has begun."""
    return {mark.name: len(mark.read_text().split()) for mark in sorted(marks.iterdir())}


def post_run(backend: LocalBackend, spec: dict[str, Any]) -> str:
    answer = backend.post(f"{API}/runs", json={"display_name": "r", "pipeline_spec": spec})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def half_an_upload(backend: LocalBackend) -> socket.socket:
    """A connection on which the beginning of an upload has been sent."""
    parts = urlsplit(backend.url)
    connection = socket.create_connection((parts.hostname, parts.port))
    head = f"POST {API}/pipelines/upload?name=half HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
    connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
    connection.sendall(
        b'--b\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\n#'
    )
    return connection


def test_killed_again_and_again_every_task_that_had_finished_stays_finished(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    kills, steps = 3, 5
    with start_local_backend(tmp_path / "data", max_parallel=2) as backend:
        run_id = post_run(backend, chain(marks, steps, 0.3))
        with half_an_upload(backend):
            until(lambda: begun(marks))
            backend.stop(signal.SIGKILL)
    for kill in range(1, kills):
        with start_local_backend(tmp_path / "data", max_parallel=2) as backend:
            # Each time one step further, in the midst of it.
            until(lambda: len(begun(marks)) > kill)  # noqa: B023
            backend.stop(signal.SIGKILL)
    with start_local_backend(tmp_path / "data", max_parallel=2) as backend:
        run = wait_for(backend, run_id, "SUCCEEDED")
        assert backend.get(f"{API}/pipelines").json() == {}
    # Only what was going on at a kill began once more.
    counts = begun(marks)
    assert len(counts) == steps
    assert set(counts.values()) <= {1, 2}
    assert sum(counts.values()) <= steps + kills
    states = {one["display_name"]: one["state"] for one in run["run_details"]["task_details"]}
    assert states == dict.fromkeys(["root", *counts], "SUCCEEDED")


def test_killed_while_it_cancels_and_before_anything_has_begun(
    tmp_path: Path, packages: dict[str, Path]
) -> None:
    pids = tmp_path / "pids"
    with start_local_backend(tmp_path / "data", max_parallel=1) as backend:
        hiding = create(backend, packages["hiding"], pids=str(pids))
        found = until(lambda: ids_in(pids, 3))
        queued = create(backend, packages["saying"], text="later")
        assert backend.post(f"{API}/runs/{hiding}:terminate").json() == {}
        # The component ignores SIGTERM, so the cancel still goes on.
        assert get(backend, hiding)["state"] == "CANCELING"
        backend.stop(signal.SIGKILL)
    with start_local_backend(tmp_path / "data", max_parallel=1) as backend:
        assert get(backend, hiding)["state"] == "CANCELED"
        assert not any(alive(pid) for pid in found)
        wait_for(backend, queued, "SUCCEEDED")


def ids_in(path: Path, count: int) -> list[int]:
    words = path.read_text().split() if path.exists() else []
    return [int(word) for word in words] if len(words) == count else []


def test_a_cancel_ends_processes_that_ignore_it_or_hide_within_two_seconds(
    backend: LocalBackend, tmp_path: Path, packages: dict[str, Path]
) -> None:
    pids = tmp_path / "pids"
    run_id = create(backend, packages["hiding"], pids=str(pids))
    started = until(lambda: ids_in(pids, 3))
    assert all(alive(pid) for pid in started)
    sessions = {os.getsid(pid) for pid in started}
    assert len(sessions) == 2, "one of them has a session of its own"
    began = time.monotonic()
    backend.post(f"{API}/runs/{run_id}:terminate")
    until(lambda: not any(alive(pid) for pid in started))
    assert time.monotonic() - began < 2
    wait_for(backend, run_id, "CANCELED")


def test_what_a_task_leaves_behind_ends_with_its_run(backend: LocalBackend, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f'(setsid sh -c \'echo $$ > "{pid_file}.new"; mv "{pid_file}.new" "{pid_file}"; sleep 600\' &); '
    script += f'while [ ! -f "{pid_file}" ]; do sleep 0.05; done'
    spec = document(
        {"work": task("work", "comp-work")},
        {"comp-work": component(executorLabel="exec-work")},
        {"exec-work": {"container": {"image": "none", "command": ["sh", "-c", script]}}},
    )
    wait_for(backend, post_run(backend, spec), "SUCCEEDED")
    assert not alive(int(pid_file.read_text()))


@pytest.mark.timeout(400)
def test_two_hundred_runs_at_once_queue_and_finish(tmp_path: Path) -> None:
    spec = document(
        {"work": task("work", "comp-work")},
        {"comp-work": component(executorLabel="exec-work")},
        {"exec-work": {"container": {"image": "none", "command": ["true"]}}},
    )
    body = {"display_name": "one of many", "pipeline_spec": spec}
    with start_local_backend(tmp_path, max_parallel=4) as backend, httpx.Client(base_url=backend.url) as http:
        answers = [http.post(f"{API}/runs", json=body) for _ in range(MANY)]
        assert {answer.status_code for answer in answers} == {200}

        others = {"operation": "NOT_EQUALS", "key": "state", "string_value": "SUCCEEDED"}
        query = {"page_size": 1, "filter": json.dumps({"predicates": [others]})}
        deadline = time.monotonic() + 300
        while http.get(f"{API}/runs", params=query).json():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert json.loads(http.get(f"{API}/runs").text)["total_size"] == MANY


def test_a_limit_holds_for_a_real_backend(tmp_path: Path, packages: dict[str, Path]) -> None:
    with start_local_backend(tmp_path, options=["--keep-runs", "1"]) as backend:
        first = create(backend, packages["saying"], text="first")
        wait_for(backend, first, "SUCCEEDED")
        second = create(backend, packages["saying"], text="second")
        wait_for(backend, second, "SUCCEEDED")
        until(lambda: backend.get(f"{API}/runs/{first}").status_code == 404)
        until(lambda: [folder.name for folder in (tmp_path / "runs").iterdir()] == [second])
        assert get(backend, second)["state"] == "SUCCEEDED"


def test_recurring_runs_leave_none_out_and_make_none_twice(tmp_path: Path) -> None:
    spec = document(
        {"work": task("work", "comp-work")},
        {"comp-work": component(executorLabel="exec-work")},
        {"exec-work": {"container": {"image": "none", "command": ["true"]}}},
    )
    body = {
        "display_name": "every second",
        "pipeline_spec": spec,
        "max_concurrency": 10,
        "mode": "ENABLE",
        "trigger": {"periodic_schedule": {"interval_second": "1"}},
    }

    def runs(backend: LocalBackend) -> list[dict[str, Any]]:
        found = backend.get(f"{API}/runs", params={"page_size": 200, "sort_by": "scheduled_at"})
        listed: list[dict[str, Any]] = found.json().get("runs", [])
        return listed

    with start_local_backend(tmp_path) as backend:
        made = backend.post(f"{API}/recurringruns", json=body).json()
        until(lambda: len(runs(backend)) >= 2)
        backend.stop(signal.SIGKILL)
    with start_local_backend(tmp_path) as backend:
        # What was due in between is made up for.
        until(lambda: len(runs(backend)) >= 5)
        path = f"{API}/recurringruns/{made['recurring_run_id']}"
        backend.post(f"{path}:disable")
        found = runs(backend)
    numbers = [int(run["display_name"].split("-")[-2]) for run in found]
    assert numbers == list(range(1, len(found) + 1))
    due = [datetime.fromisoformat(run["scheduled_at"]).timestamp() for run in found]
    assert [after - before for before, after in pairwise(due)] == [1.0] * (len(found) - 1)
