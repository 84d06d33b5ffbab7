"""Row 24 of the failure matrix: a disk that is full; metadata that the backend has collected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge import cli
from bridge.kfp_api.filters import rfc3339
from bridge.kfp_api.grpcweb import encode_response
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import needs, trains, waits
from tests.faults.stage import Service, Stage, eventually, on_both
from tests.support.bridge_service import Launch
from tests.support.fault_proxy import Answer, answers, edit, fault_proxy
from tests.support.handmade import artifacts, component, document, sh, task
from tests.support.local_backend import start_local_backend
from tests.support.small_disk import SmallDisk, small_disk

EPOCHS = {"epochs": 1}
SQLITE_MEGABYTES = 8
POSTGRESQL_MEGABYTES = 24
# Larger than what is free in pages that the database has already.
BULKY = {"text": "x" * 400_000}


@contextmanager
def on_small_disk(stage: Stage, writers: list[int]) -> Iterator[tuple[Stage, SmallDisk]]:
    """The stage with another database, which is on a small disk; ``writers`` are the processes at work."""
    place = stage.folder / "disk"
    if stage.postgres is None:
        with small_disk(place, SQLITE_MEGABYTES, lambda: writers) as disk:
            yield replace(stage, database_url=f"sqlite:///{place / 'bridge.db'}"), disk
        return
    server = stage.postgres
    with (
        server.folder_of_its_own() as data,
        small_disk(data, POSTGRESQL_MEGABYTES, lambda: family(server.process_id)) as disk,
        server.database_in(disk.folder) as url,
    ):
        yield replace(stage, database_url=url), disk


def family(pid: int) -> list[int]:
    """A process and those below it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def is_refused(service: Service, number: list[int]) -> dict[str, Any] | None:
    """The problem with which a bulky submission is refused, if it is."""
    number.append(len(number))
    answer = service.post(trains(), key=f"bulky-{len(number)}", arguments=EPOCHS, labels=BULKY)
    if answer.status_code == 202:
        return None
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["type"]) == (507, "urn:kfbridge:problem:database-full"), problem
    assert problem["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1
    return problem


@on_both
def test_24_a_full_disk_is_read_only_and_loud_until_there_is_room(stage: Stage) -> None:
    go = stage.folder / "go"
    writers: list[int] = []
    with on_small_disk(stage, writers) as (small, disk), small.serving() as service:
        writers.append(service.process.pid)
        done = service.wait(service.submit(trains(), key="before", arguments=EPOCHS), over=True)
        run = service.wait(service.submit(waits(go), key="k"), state="RUNNING")
        disk.fill()
        numbers: list[int] = []
        eventually(lambda: is_refused(service, numbers), "a submission is refused")
        ready = service.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "read-only")
        assert service.client.get("/livez").status_code == 200
        # What is stored is read as ever.
        assert service.run(done)["state"] == "SUCCEEDED"
        assert service.items(done, "tasks")
        assert "full" in service.client.get("/api/v1/status").json()["read_only"]
        go.touch()
        stage.backend_ends(run)
        disk.make_room()
        eventually(lambda: service.client.get("/readyz").status_code == 200, "it is ready again")
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        again = service.submit(trains(), key="after", arguments=EPOCHS)
        assert service.wait(again, over=True)["state"] == "SUCCEEDED"
        assert "no room" in service.log
        check_invariants(small, service)


def writes(megabytes: int) -> str:
    """A pipeline of one component that writes so much into its artifact."""
    return json.dumps(
        document(
            {"write": task("write", "comp-write")},
            {
                "comp-write": component(
                    output_artifacts=artifacts(found="Dataset"), executorLabel="exec-write"
                )
            },
            {
                "exec-write": sh(
                    f'mkdir -p "$(dirname "$0")" && head -c {megabytes}M /dev/zero > "$0"',
                    "{{$.outputs.artifacts['found'].path}}",
                )
            },
            name="writes",
        )
    )


def test_24_a_full_disk_of_the_local_backend_fails_its_runs_until_there_is_room(
    tmp_path: Path, launch: Launch
) -> None:
    place = tmp_path / "disk"
    started: list[int] = []
    with (
        small_disk(
            place, SQLITE_MEGABYTES * 2, lambda: [pid for one in started for pid in family(one)]
        ) as disk,
        start_local_backend(place / "home", max_parallel=2) as backend,
        fault_proxy(backend.url) as proxy,
    ):
        started.append(backend.pid)
        stage = Stage(tmp_path, f"sqlite:///{tmp_path / 'bridge.db'}", backend, proxy, launch)
        with stage.serving() as service:
            # The first uploads and settles everything that later ones use.
            service.wait(service.submit(trains(), key="before", arguments=EPOCHS), over=True)
            disk.fill()
            run = service.submit(writes(megabytes=64), key="k")
            eventually(lambda: not service.status()["reachable"], "the backend refuses for now")
            assert service.run(run)["phase"] == "QUEUED"
            disk.make_room()
            # Now it is sent, and fills the disk by itself.
            eventually(lambda: service.run(run)["phase"] == "ACTIVE", "it is sent, once")
            eventually(lambda: is_full(place), "its component filled the disk")
            for written in (place / "home").rglob("found"):
                written.unlink()
            failed = service.wait(run, over=True)
            assert failed["state"] == "FAILED"
            assert failed["error"]["message"]
            again = service.submit(trains(), key="after", arguments=EPOCHS)
            assert service.wait(again, over=True)["state"] == "SUCCEEDED"


def is_full(place: Path) -> bool:
    """Whether a file there takes up what there was, or its writer has given up."""
    usage = shutil.disk_usage(place)
    written = [path.stat().st_size for path in (place / "home").rglob("found") if path.is_file()]
    return usage.free < 64 * 1024 or max(written, default=0) >= (SQLITE_MEGABYTES - 2) * 1024 * 1024


def ended_long_ago(kfp_run_id: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Tells of one run, by itself or in a page, that its end was hours ago."""
    moment = rfc3339(datetime.now(UTC) - timedelta(hours=3))

    def change(row: dict[str, Any]) -> dict[str, Any]:
        if "runs" in row:
            return {**row, "runs": [change(one) for one in row["runs"]]}
        ended = row.get("run_id") == kfp_run_id and row.get("state") == "SUCCEEDED"
        return {**row, "finished_at": moment} if ended else row

    return change


@on_both
def test_24_metadata_that_was_collected_is_expired_and_not_none(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    collected = answers(Answer(200, encode_response(b""), (("content-type", "application/grpc-web+proto"),)))
    go = stage.folder / "go"
    with stage.serving() as service:
        run = service.wait(service.submit(waits(go), key="k"), state="RUNNING")
        eventually(lambda: service.items(run, "tasks"), "its tasks are read while it goes on")
        # Asked about one run, and about several together.
        for method in ("GetContextByTypeAndName", "GetExecutions"):
            stage.proxy.when("POST", rf"/ml_metadata\..*/{method}$", collected, times=None)
        never = service.submit(needs(stage.folder / "nothing"), key="none")
        Path(f"{stage.folder / 'nothing'}.go").touch()
        # It ended a moment ago and there is nothing: it has none.
        assert service.wait(never, over=True)["mirror"] == "COMPLETE"
        assert service.items(never, "tasks") == []
        old = ended_long_ago(run["kfp_run_id"])
        stage.proxy.when("GET", r"/apis/v2beta1/runs(/[0-9a-f-]+)?$", edit(old), times=None)
        go.touch()
        expired = service.wait(run, over=True)
        assert (expired["state"], expired["mirror"]) == ("SUCCEEDED", "EXPIRED")
        assert service.items(run, "tasks"), "what was read before is kept"
        assert cli.main(["show", run["run_id"], "--url", service.process.url]) == 0
        assert "the backend has dropped the metadata" in capsys.readouterr().out
        assert cli.main(["show", never["run_id"], "--url", service.process.url]) == 0
        assert "dropped the metadata" not in capsys.readouterr().out
