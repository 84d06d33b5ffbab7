"""Row 28 of the failure matrix: the bridge is away for an hour while hundreds of tasks wait and submit."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlmodel import Session

from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage import outbox
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.runs import change_run
from bridge.lineage.tables import RUNS, SUBMISSIONS
from deploy.laptop.processes import ManagedProcess, clean_environment, wait_for
from tests.faults.pipelines import waits
from tests.faults.stage import Stage, on_both
from tests.support.bridge_service import BridgeService, start_service
from tests.support.fault_proxy import Seen, fault_proxy, streams
from tests.support.lineage_samples import a_submission, submit

ROOT = Path(__file__).parents[2]
WAITING, SUBMITTING = 300, 50
AWAY_SECONDS, PATIENCE_SECONDS = 3600.0, 7200.0
# So many seconds of the waiters' clock pass in one second while the bridge is away.
RATE = 300.0
RESUMED_WITHIN_SECONDS = 60.0
# All of them at once would be several hundred in the first second.
MOST_REQUESTS_A_SECOND = 100
# Who waited reads its run's tasks once, for its log; who submits asks first whether the bridge is back.
MOST_REQUESTS = 2 * WAITING
_NO_BACKEND = "http://127.0.0.1:9"


@pytest.mark.timeout(400)
@on_both
def test_28_an_hour_without_the_bridge_fails_nobody_and_all_resume_without_a_stampede(stage: Stage) -> None:
    """The hour is one of the waiters' own clock, which runs 300 times as fast meanwhile: by it alone they
    wait, back off and give up, so that they do all that they would in an hour. The bridge is really gone, its
    port refuses connections, and when it comes back all clocks go alike again."""
    database = Database(stage.database_url)
    try:
        with bridge(stage) as service, fault_proxy(service.url) as proxy:
            proxy.when("GET", "/events$", streams(), times=None)
            run_ids = database.transact(begin_runs)
            with waiters(stage.folder, proxy.url, run_ids) as process:
                wait_for_file(process, stage.folder / "waiting")
                proxy.close_door()
                service.stop()
                (stage.folder / "away").touch()
                # Their ends are there when the bridge is back: the worst case, for all of them resume then.
                database.transact(lambda session: end_runs(session, run_ids))
                while database.transact(outbox.number_events):
                    pass
                hour = json.loads(wait_for_file(process, stage.folder / "hour.json").read_text())
                assert hour["seconds"] >= AWAY_SECONDS
                assert hour["ended"] == {}, "somebody gave up, or ended without the bridge"
                assert "cannot be connected to" in hour["trouble"]

                with bridge(stage) as again:
                    proxy.target = again.url
                    proxy.seen.clear()
                    back_at = time.time()
                    proxy.open_door()
                    ended = json.loads(wait_for_file(process, stage.folder / "ended.json").read_text())
                    # By the waiters' clock, which went ahead for an hour.
                    ahead = ended.pop("ahead")
        check_ends(database, ended, run_ids)
        late = max(one["at"] - ahead for one in ended.values()) - back_at
        assert late < RESUMED_WITHIN_SECONDS
        check_rate(proxy.seen)
    finally:
        database.close()


def check_ends(database: Database, ended: dict[str, Any], run_ids: Sequence[UUID]) -> None:
    """Everybody got what it waited for, and every submission is there once."""
    assert {one["ending"] for one in ended.values()} == {"over"}
    assert {ended[str(run_id)]["state"] for run_id in run_ids} == {"SUCCEEDED"}
    submitted = {one["state"] for name, one in ended.items() if name.startswith("submission")}
    assert len(submitted) == SUBMITTING
    counts = select(select(func.count()).select_from(RUNS).scalar_subquery(), func.count(SUBMISSIONS.c.id))
    assert database.read(lambda session: tuple(session.execute(counts).one())) == (
        WAITING + SUBMITTING,
        WAITING + SUBMITTING,
    )


def check_rate(seen: Sequence[Seen]) -> None:
    """The bridge that came back was not run over."""
    moments = sorted(one.at for one in seen)
    most = max(sum(begin <= moment < begin + 1.0 for moment in moments) for begin in moments)
    assert most <= MOST_REQUESTS_A_SECOND, f"{most} requests in a second"
    assert len(moments) <= MOST_REQUESTS, f"{len(moments)} requests"


@contextmanager
def bridge(stage: Stage) -> Iterator[BridgeService]:
    """The service, without workers: the runs' ends are written by the test."""
    env = {"KFBRIDGE_WORKERS": "false"}
    with start_service(stage.folder, _NO_BACKEND, database_url=stage.database_url, env=env) as service:
        yield service


def begin_runs(session: Session) -> list[UUID]:
    """Runs that somebody waits for."""
    active = {"phase": RunPhase.ACTIVE, "state": RuntimeState.RUNNING}
    return [submit(session, a_submission(), **active).run_id for _ in range(WAITING)]


def end_runs(session: Session, run_ids: Sequence[UUID]) -> None:
    """All of them succeed, as the workers would write it."""
    moment = database_now(session)
    for run_id in run_ids:
        change_run(
            session,
            run_id,
            event="run.settled",
            phase=RunPhase.ENDED,
            state=RuntimeState.SUCCEEDED,
            mirror=MirrorState.COMPLETE,
            finished_at=moment,
            settled_at=moment,
        )


@contextmanager
def waiters(folder: Path, url: str, run_ids: Sequence[UUID]) -> Iterator[ManagedProcess]:
    """The process of those who wait and submit; see ``outage_waiters``."""
    spec = waits(folder / "never")
    plan = {
        "run_ids": [str(run_id) for run_id in run_ids],
        "submissions": [
            {
                "spec": spec,
                "origin": {
                    "dag_id": "faults",
                    "dag_run_id": f"outage {number}",
                    "dag_run_start": "2026-08-01T02:00:00Z",
                    "task_id": "submits",
                },
            }
            for number in range(SUBMITTING)
        ],
        "patience_seconds": PATIENCE_SECONDS,
        "away_seconds": AWAY_SECONDS,
        "rate": RATE,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    environment = {
        **clean_environment(),
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_KFBRIDGE_DEFAULT": json.dumps({"conn_type": "kfbridge", "host": url}),
    }
    python = ROOT / ".venv-airflow" / "bin" / "python"
    command = [str(python), "-m", "tests.faults.outage_waiters", str(folder)]
    log = folder / "waiters.log"
    with ManagedProcess("waiters", command, env=environment, log=log, stop_signal=signal.SIGTERM) as process:
        yield process


def wait_for_file(process: ManagedProcess, path: Path) -> Path:
    """The file, once the process has made it."""

    def made() -> bool:
        process.ensure_alive()
        return path.exists()

    wait_for(made, seconds=240, what=f"{path.name}, by {process.name}:\n{process.tail(5)}", pause=0.1)
    return path
