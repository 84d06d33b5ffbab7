"""A thousand deferred tasks in one process: connections, CPU, memory, and how soon each run's end is known.

The runs' ends are written by this process as ``kfbridge worker`` would write them beside a service
without workers; so the figures hold what the service takes to notice what another process did. Latency
counts from `settled_at`; of the runs that end together, from the commit that let anybody see it.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlmodel import Session

from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage import outbox
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.runs import change_run
from deploy.laptop.processes import ManagedProcess, clean_environment, wait_for
from tests.bench.servers import bridge_service
from tests.support.lineage_samples import a_submission, submit
from tests.support.postgres import running_postgres

ROOT = Path(__file__).parents[2]
WAITING = 1000
# The first half of the runs ends one by one, the other half at the same moment.
ENDS_PER_SECOND = 25
_NO_BACKEND = "http://127.0.0.1:9"


def measure(home: Path) -> dict[str, float]:
    """The figures, each named with its unit."""
    with running_postgres(durable=True) as server:
        url = server.url(server.create_database())
        database = Database(url)
        try:
            with bridge_service(home, _NO_BACKEND, url, workers=False) as bridge_url:
                return _measure(home, bridge_url, database)
        finally:
            database.close()


def _measure(home: Path, bridge_url: str, database: Database) -> dict[str, float]:
    ids = database.transact(_begin_runs)
    _number(database)
    (home / "ids").write_text("\n".join(map(str, ids)))
    with _waiters(home, bridge_url) as process:

        def read(name: str) -> dict[str, float] | None:
            path = home / name
            if not path.exists():
                process.ensure_alive()
                return None
            content: dict[str, float] = json.loads(path.read_text())
            return content

        figures = wait_for(lambda: read("idle.json"), seconds=180, what=f"{WAITING} triggers to wait")
        settled = _end_one_by_one(database, ids[: WAITING // 2])
        together = _end(database, ids[WAITING // 2 :])
        fired = wait_for(lambda: read("ended.json"), seconds=120, what="every trigger's event")
    figures |= _latencies("one by one", settled, fired)
    return figures | _latencies("together", together, fired)


def _begin_runs(session: Session) -> list[UUID]:
    active = {"phase": RunPhase.ACTIVE, "state": RuntimeState.RUNNING}
    return [submit(session, a_submission(), **active).run_id for _ in range(WAITING)]


def _end_one_by_one(database: Database, ids: Sequence[UUID]) -> dict[UUID, datetime]:
    settled: dict[UUID, datetime] = {}
    began = time.monotonic()
    for place, run_id in enumerate(ids):
        time.sleep(max(0.0, began + place / ENDS_PER_SECOND - time.monotonic()))
        settled |= _end(database, [run_id])
    return settled


def _end(database: Database, ids: Sequence[UUID]) -> dict[UUID, datetime]:
    def write(session: Session) -> datetime:
        moment = database_now(session)
        for run_id in ids:
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
        return moment

    moment = database.transact(write)
    if len(ids) > 1:
        # Hundreds of changes take seconds to write, and nobody can see them before their commit.
        moment = datetime.now(UTC)
    _number(database)
    return dict.fromkeys(ids, moment)


def _number(database: Database) -> None:
    while database.transact(outbox.number_events):
        pass


def _latencies(name: str, settled: Mapping[UUID, datetime], fired: Mapping[str, float]) -> dict[str, float]:
    waited = sorted(fired[str(run_id)] - moment.timestamp() for run_id, moment in settled.items())
    return {
        f"latency_p50_seconds, ended {name}": waited[len(waited) // 2],
        f"latency_p99_seconds, ended {name}": waited[len(waited) * 99 // 100],
    }


@contextmanager
def _waiters(home: Path, bridge_url: str) -> Iterator[ManagedProcess]:
    airflow = home / "airflow"
    airflow.mkdir()
    environment = {
        **clean_environment(),
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(airflow),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_KFBRIDGE_DEFAULT": json.dumps({"conn_type": "kfbridge", "host": bridge_url}),
    }
    python = ROOT / ".venv-airflow" / "bin" / "python"
    command = [str(python), "-m", "tests.bench.waiters", str(home / "ids"), str(home)]
    log = home / "waiters.log"
    with ManagedProcess("waiters", command, env=environment, log=log, stop_signal=signal.SIGTERM) as process:
        yield process
