"""Rows 9 and 13 of the failure matrix: the database goes away; a process is frozen past its lease."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from bridge.lineage.database import Database, now
from bridge.lineage.errors import DatabaseUnavailable
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import Service, Stage, eventually, on_postgresql
from tests.support.bridge_service import Launch
from tests.support.fault_proxy import fault_proxy, hang, status
from tests.support.local_backend import LocalBackend
from tests.support.postgres import running_postgres

EPOCHS = {"epochs": 1}


def is_ready(service: Service) -> Callable[[], bool]:
    """Whether the service says that it can serve."""
    return lambda: service.client.get("/readyz").status_code == 200


def mirror_backlog(service: Service) -> int:
    """How many mirrors are due or under way."""
    backlog: int = service.client.get("/api/v1/status").json()["mirror_backlog"]
    return backlog


def freezes_between_transactions(stage: Stage, service: Service) -> bool:
    """Freeze it; ``False``, and it goes on, if it was just writing: then nobody else could."""
    process = service.process.process
    process.send_signal(signal.SIGSTOP)
    database = Database(stage.database_url, patience_seconds=0.3)
    try:
        database.transact(now)
    except DatabaseUnavailable:
        process.send_signal(signal.SIGCONT)
        return False
    finally:
        database.close()
    return True


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_09_a_database_that_goes_away_and_comes_back(
    tmp_path: Path, local_backend: LocalBackend, launch: Launch, mode: str
) -> None:
    with running_postgres() as server, fault_proxy(local_backend.url) as proxy:
        stage = Stage(tmp_path, server.url(server.create_database()), local_backend, proxy, launch)
        go = stage.folder / "go"
        with stage.serving() as service:
            run = service.wait(service.submit(waits(go), key="k"), state="RUNNING")
            server.stop(mode)
            away = service.post(trains(), key="away", arguments=EPOCHS)
            assert (away.status_code, away.json()["type"]) == (
                503,
                "urn:kfbridge:problem:database-unavailable",
            )
            assert away.json()["retryable"] is True
            assert int(away.headers["retry-after"]) >= 1
            assert service.client.get(f"/api/v1/runs/{run['run_id']}").status_code == 503
            assert service.client.get("/readyz").status_code == 503
            assert service.client.get("/livez").status_code == 200
            # The run ends while nobody can write it down.
            go.touch()
            stage.backend_ends(run)
            server.start()
            eventually(is_ready(service), "the service is ready again")
            assert service.wait(run, over=True)["state"] == "SUCCEEDED"
            again = service.submit(trains(), key="away", arguments=EPOCHS)
            assert service.wait(again, over=True)["state"] == "SUCCEEDED"
            check_invariants(stage, service)
        stage.clear_backend()


def test_09_a_sqlite_file_that_another_process_locks(stage: Stage) -> None:
    path = stage.database_url.removeprefix("sqlite:///")
    with stage.serving() as service, closing(sqlite3.connect(path, isolation_level=None)) as other:
        go = stage.folder / "go"
        run = service.wait(service.submit(waits(go), key="k"), state="RUNNING")
        other.execute("PRAGMA busy_timeout = 30000")
        other.execute("BEGIN IMMEDIATE")
        away = service.post(trains(), key="away", arguments=EPOCHS)
        assert (away.status_code, away.json()["retryable"]) == (503, True)
        assert away.json()["type"] == "urn:kfbridge:problem:database-unavailable"
        assert service.client.get("/livez").status_code == 200
        # Reading goes on; the end waits for whoever can write it down.
        go.touch()
        stage.backend_ends(run)
        assert service.run(run)["state"] == "RUNNING"
        other.execute("ROLLBACK")
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        again = service.submit(trains(), key="away", arguments=EPOCHS)
        assert service.wait(again, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, service)


@on_postgresql
def test_13_a_frozen_process_cannot_write_what_another_took_over(stage: Stage) -> None:
    gate = stage.proxy.gate()
    with stage.serving({"KFBRIDGE_KFP_TIMEOUT_SECONDS": "60"}, name="frozen") as frozen:
        go = stage.folder / "go"
        run = frozen.wait(frozen.submit(waits(go), key="k"), state="RUNNING", mirror="PARTIAL")
        # No more mirrors but the last; and the answer that one waits for comes when its claim is long lost.
        stage.proxy.when("POST", r"/ml_metadata\..*/GetExecutions$", status(500), times=None)
        eventually(lambda: mirror_backlog(frozen) == 0, "what was due is mirrored")
        stage.proxy.when("POST", r"/ml_metadata\..*/GetExecutionsByContext$", hang(gate))
        go.touch()
        frozen.wait(run, phase="ENDED")
        gate.wait_reached()
        frozen.process.process.send_signal(signal.SIGSTOP)
        with stage.serving(name="other") as other:
            done = other.wait(run, over=True)
            assert (done["state"], done["mirror"]) == ("SUCCEEDED", "COMPLETE")
            frozen.process.process.send_signal(signal.SIGCONT)
            gate.open()
            eventually(lambda: "claim lost to another worker" in frozen.log, "its write is refused")
            assert other.run(run)["version"] == done["version"]
            check_invariants(stage, other)


def test_13_a_frozen_process_of_a_sqlite_database_ends_when_another_took_it(stage: Stage) -> None:
    go = stage.folder / "go"
    with stage.serving(name="frozen") as frozen:
        run = frozen.wait(frozen.submit(waits(go), key="k"), state="RUNNING")
        eventually(lambda: freezes_between_transactions(stage, frozen), "it is frozen, and holds no lock")
        with stage.serving(name="other") as other:
            frozen.process.process.send_signal(signal.SIGCONT)
            assert frozen.process.process.wait(30) == 0
            assert "the database was taken over" in frozen.log
            go.touch()
            assert other.wait(run, over=True)["state"] == "SUCCEEDED"
            check_invariants(stage, other)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{frozen.process.url}/livez", trust_env=False)
