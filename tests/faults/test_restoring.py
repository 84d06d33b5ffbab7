"""Row 29 of the failure matrix: the bridge's database is put back to what it was some time ago."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bridge.client.sse import EventFeed
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import Service, Stage, eventually, on_both
from tests.integration.service.pipelines import fails
from tests.support.fault_proxy import hold

EPOCHS = {"epochs": 1}
POST_RUN = ("POST", r"/apis/v2beta1/runs$")
LIST_RUNS = ("GET", r"/apis/v2beta1/runs$")
TASK = {"dag_id": "retrain", "task_id": "train"}


def back_up(stage: Stage) -> Callable[[], None]:
    """Take a copy of the database that no process uses now; what puts it back."""
    if stage.postgres is None:
        path = Path(stage.database_url.removeprefix("sqlite:///"))
        copy = path.with_suffix(".backup")
        shutil.copyfile(path, copy)

        def restore_file() -> None:
            for name in (f"{path}-wal", f"{path}-shm"):
                Path(name).unlink(missing_ok=True)
            shutil.copyfile(copy, path)

        return restore_file
    server, name = stage.postgres, urlsplit(stage.database_url).path.removeprefix("/")
    backup = server.create_database(template=name)

    def restore_database() -> None:
        server.drop_database(name)
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{backup}"')
        server.drop_database(backup)

    return restore_database


def ask(service: Service, spec: str, try_number: int = 1) -> dict[str, Any]:
    """As an Airflow task asks, in one of its tries."""
    origin = {**TASK, "dag_run_id": service.tag, "try_number": try_number}
    answer = service.client.post("/api/v1/runs", json={"spec": spec, "origin": origin})
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    return run


def newest_number(service: Service) -> int:
    """The number at which an event stream begins that asks for nothing earlier."""
    with service.client.stream("GET", "/api/v1/events") as stream:
        line = next(line for line in stream.iter_lines() if line.startswith("id:"))
        return int(line.removeprefix("id:"))


def told_to_reader_at(service: Service, number: int, *, events: int) -> list[int]:
    """Where a reader stands that asks with this number, and the numbers of so many events it is given."""
    feed = EventFeed(number)
    told: list[int] = []
    headers = {"Last-Event-ID": str(number)}
    with httpx.stream(
        "GET", f"{service.process.url}/api/v1/events", headers=headers, timeout=60, trust_env=False
    ) as stream:
        for line in stream.iter_lines():
            event = feed.feed(line)
            if event is not None:
                assert told, "an event came before the reader was told where it stands"
                told.append(event.number)
            elif line == "" and not told and feed.last_id is not None:
                told.append(feed.last_id)
            if len(told) > events:
                return told
    raise AssertionError("the stream ended")


@on_both
def test_29_a_restored_database_finds_its_runs_again_and_sends_none_twice(stage: Stage) -> None:
    going, alive = stage.folder / "going", stage.folder / "alive"
    with stage.serving(name="before") as service:
        tag = service.tag
        kept = service.wait(service.submit(trains(), key="kept", arguments=EPOCHS), over=True)
        outdated = service.wait(service.submit(waits(going), key="going"), state="RUNNING")
    restore = back_up(stage)
    with stage.serving(name="lost") as service:
        going.touch()
        service.wait(outdated, over=True)
        done = service.wait(service.submit(trains(), key="done", arguments=EPOCHS), over=True)
        living = service.wait(service.submit(waits(alive), key="alive"), state="RUNNING")
        failed = service.wait(ask(service, fails()), over=True)
        number = newest_number(service)
        service.process.stop(signal.SIGKILL)
    restore()
    posts = len(stage.proxy.requests(*POST_RUN))
    gate = stage.proxy.gate()
    stage.proxy.when(*LIST_RUNS, hold(gate), times=None)
    with stage.serving(name="restored") as service:
        assert service.tag == tag
        # Asked for again before any sweep could find it: it is looked for, and not sent.
        again = service.wait(service.submit(waits(alive), key="alive"), state="RUNNING")
        assert (again["kfp_run_id"], again["attempt"]) == (living["kfp_run_id"], 1)
        # A reader that knows more than the database is told where it stands, and gets what comes.
        (stood_at,) = told_to_reader_at(service, number, events=0)
        assert stood_at < number
        gate.open()
        stage.proxy.behave()
        known = {done["kfp_run_id"], failed["kfp_run_id"]}

        def found() -> bool:
            items = service.client.get("/api/v1/runs", params={"limit": 200}).json()["items"]
            return known <= {run["kfp_run_id"] for run in items if run["over"]}

        eventually(found, "the runs of the time that was lost are found")
        assert told_to_reader_at(service, stood_at, events=1) == [stood_at, stood_at + 1]
        assert service.wait(outdated, over=True)["state"] == "SUCCEEDED"
        assert service.run(kept)["version"] == kept["version"]
        answer = service.post(trains(), key="done", arguments=EPOCHS)
        assert answer.headers["idempotency-replayed"] == "true"
        adopted = answer.json()
        assert (adopted["kfp_run_id"], adopted["state"]) == (done["kfp_run_id"], "SUCCEEDED")
        assert len(service.items(adopted, "artifacts")) == 2
        assert len(stage.proxy.requests(*POST_RUN)) == posts
        # The try that asks now is not the one whose run failed: it gets a run of its own.
        second = service.wait(ask(service, fails(), 2), over=True)
        assert (second["attempt"], second["kfp_run_id"] != failed["kfp_run_id"]) == (2, True)
        assert len(stage.proxy.requests(*POST_RUN)) == posts + 1
        alive.touch()
        assert service.wait(again, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, service)
