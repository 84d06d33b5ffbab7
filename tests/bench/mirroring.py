"""How many rows a second the mirror worker writes, and how many small finished runs it records a second.

The worker is the real one, a process of its own; the backend it reads answers at once. The ends of all runs
are stored, in one transaction, before the clock runs: what is measured is from there until the last run is
settled, reading over HTTP, storing, settling and numbering the outbox included.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from sqlalchemy import func, select
from sqlmodel import Session

from bridge.domain.identity import Origin
from bridge.domain.lineage import PipelineRef, Run
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage import runs
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.duties import begin_duties
from bridge.lineage.records import Duty
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, METRICS, RUNS, TASKS
from deploy.laptop.processes import ManagedProcess, clean_environment, free_port, wait_for
from tests.bench.instant_backend import LARGE, SMALL, Shape, run_ids
from tests.bench.servers import serving
from tests.support.postgres import running_postgres

_TABLES = {"tasks": TASKS, "artifacts": ARTIFACTS, "uses": ARTIFACT_USES, "metrics": METRICS}
_WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What one round took; ``cores`` are those of the worker and of the backend beside it."""

    runs_per_second: float
    rows_per_second: float
    rows: dict[str, int]
    seconds: float
    worker_cores: float
    backend_cores: float


def measure(home: Path) -> dict[str, dict[str, Mirrored]]:
    """By database and shape of runs."""
    found: dict[str, dict[str, Mirrored]] = {}
    for shape in (LARGE, SMALL):
        place = home / shape.name.replace(" ", "-")
        place.mkdir(parents=True)
        found.setdefault("SQLite", {})[shape.name] = mirrored(
            place, shape, f"sqlite:///{place / 'mirror.db'}"
        )
        with running_postgres(durable=True) as server:
            url = server.url(server.create_database())
            found.setdefault("PostgreSQL", {})[shape.name] = mirrored(place, shape, url)
    return found


def mirrored(home: Path, shape: Shape, database_url: str) -> Mirrored:
    """One round: all runs of the shape end at once, and the worker records them."""
    database = Database(database_url)
    database.migrate()
    ids = run_ids(shape)
    warm = min(_WARM_UP, len(ids) // 2)
    with instant_backend(home, shape) as backend, _worker(home, backend[0], database_url) as worker:
        _end(database, shape, ids[:warm])
        _wait_until_settled(database, warm)
        before = _rows(database)
        busy = [_busy(pid) for pid in (worker, backend[1])]
        _end(database, shape, ids[warm:])
        began = time.perf_counter()
        _wait_until_settled(database, len(ids))
        seconds = time.perf_counter() - began
        cores = [(_busy(pid) - was) / seconds for pid, was in zip((worker, backend[1]), busy, strict=True)]
    after = _rows(database)
    database.close()
    rows = {name: after[name] - before[name] for name in after}
    return Mirrored(
        (len(ids) - warm) / seconds, sum(rows.values()) / seconds, rows, seconds, cores[0], cores[1]
    )


@contextmanager
def instant_backend(home: Path, shape: Shape) -> Iterator[tuple[str, int]]:
    """The backend's URL and process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "tests.bench.instant_backend",
        "--shape",
        shape.name,
        "--runs",
        str(shape.runs),
        "--port",
        str(port),
    ]
    with serving("instant backend", command, url, home / "backend.log") as process:
        yield url, process.pid


@contextmanager
def _worker(home: Path, kfp_url: str, database_url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "bridge.cli", "worker", "--database-url", database_url]
    command += ["--kfp-url", kfp_url, "--log-level", "WARNING"]
    environment = {
        **clean_environment(),
        "KFBRIDGE_KFP_METADATA": "mlmd",
        "KFBRIDGE_WORKER_POLL_SECONDS": "0.3",
    }
    process = ManagedProcess(
        "kfbridge worker", command, env=environment, log=home / "worker.log", stop_signal=signal.SIGTERM
    )
    with process:
        yield process.pid


def _end(database: Database, shape: Shape, ids: Sequence[UUID]) -> None:
    """As the sweep does when it has seen the ends of these runs, in one transaction."""

    def write(session: Session) -> None:
        moment = database_now(session)
        new = [_run(shape, kfp_run_id, moment) for kfp_run_id in ids]
        runs.insert_runs(session, new, event="run.ended")
        keys = select(RUNS.c.id).where(RUNS.c.kfp_run_id.in_(ids))
        by_key = dict(zip(session.scalars(keys), new, strict=True))
        begin_duties(session, by_key, Duty.MIRROR, None, now=True)

    database.transact(write)


def _run(shape: Shape, kfp_run_id: UUID, moment: datetime) -> Run:
    return Run(
        run_id=uuid4(),
        kfp_run_id=kfp_run_id,
        backend="default",
        project="default",
        namespace=None,
        submission_key=None,
        attempt=1,
        pipeline=PipelineRef(name="bench", digest="0" * 64),
        display_name=shape.name,
        experiment="Default",
        phase=RunPhase.ENDED,
        state=RuntimeState.SUCCEEDED,
        mirror=MirrorState.PARTIAL,
        version=3,
        created_at=moment,
        started_at=moment,
        finished_at=datetime(2026, 1, 2, 3, 5, tzinfo=UTC),
        observed_at=moment,
        arguments={f"parameter_{index}": index / 7 for index in range(shape.parameters)},
        labels={},
        origin=Origin(),
    )


def _wait_until_settled(database: Database, count: int) -> None:
    settled = select(func.count()).select_from(RUNS).where(RUNS.c.settled_at.is_not(None))

    def all_settled() -> bool:
        return database.read(lambda s: s.scalars(settled).one()) >= count

    wait_for(all_settled, seconds=240, what=f"{count} runs to be settled", pause=0.1)


def _rows(database: Database) -> dict[str, int]:
    def read(session: Session) -> dict[str, int]:
        return {
            name: session.scalars(select(func.count()).select_from(table)).one()
            for name, table in _TABLES.items()
        }

    return database.read(read)


def _busy(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
