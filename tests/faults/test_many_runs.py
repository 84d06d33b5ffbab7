"""Row 8 of the failure matrix: the KFP API restarts under thousands of active runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from bridge.lineage.database import Database
from bridge.lineage.tables import OUTBOX, RUNS
from tests.faults.stage import Service, eventually
from tests.support.bridge_service import start_service
from tests.support.crowded_kfp.process import Crowd, crowded_kfp
from tests.support.following import follow_runs

ACTIVE = 5_000
# A sweep of 26 pages keeps to its share of time, so on a machine that is busy it takes that much longer.
_SWEPT_SECONDS = 150.0
_SETTINGS = """
[[backends]]
name = "default"
url = "http://127.0.0.1:1"
tick_seconds = 0.3
idle_tick_seconds = 0.5
slow_sweep_seconds = 0.5
breaker_seconds = 0.5
breaker_longest_seconds = 2
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of the test's own."""
    url = f"sqlite:///{tmp_path / 'bridge.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    opened = Database(url)
    opened.migrate()
    yield opened
    opened.close()


@contextmanager
def serving(folder: Path, crowd: Crowd, database_url: str) -> Iterator[Service]:
    """A service that follows the crowded backend."""
    config = folder / "bridge.toml"
    config.write_text(_SETTINGS)
    env = {"KFBRIDGE_CONFIG": str(config), "KFBRIDGE_MIRROR_INTERVAL_SECONDS": "1"}
    with (
        start_service(folder, crowd.url, database_url=database_url, env=env) as process,
        httpx.Client(base_url=process.url, timeout=30, trust_env=False) as client,
    ):
        yield Service(process, client, "crowd")


def phases(database: Database) -> Counter[tuple[str, str]]:
    """How many runs the bridge has in each phase and state."""
    return Counter(
        database.read(
            lambda s: [(row.phase, row.state) for row in s.execute(select(RUNS.c.phase, RUNS.c.state))]
        )
    )


def ends(database: Database, ids: Sequence[UUID]) -> int:
    """How many of these runs have settled."""
    return database.read(
        lambda s: len(
            s.execute(
                select(RUNS.c.id).where(RUNS.c.kfp_run_id.in_(ids), RUNS.c.settled_at.is_not(None))
            ).all()
        )
    )


@pytest.mark.timeout(300)
def test_08_the_api_restarts_under_thousands_of_active_runs_and_no_run_ends_for_it(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with crowded_kfp(tmp_path / "kfp.log", runs=ACTIVE + 1_000, active=ACTIVE) as crowd:
        follow_runs(database, crowd.open_runs())
        url = request.getfixturevalue("postgres_url") if database.dialect == "postgresql" else None
        with serving(tmp_path, crowd, url or f"sqlite:///{tmp_path / 'bridge.db'}") as service:
            before = crowd.finish(20)
            eventually(lambda: ends(database, before) == 20, "runs are followed")
            asked = crowd.requests()
            crowd.restart(4)
            # They end while the API is away, and their rows tell it before, with and after its return.
            during = crowd.finish(30, lag=(0, 8)) + crowd.finish(10, state="FAILED", lag=(0, 8))
            eventually(lambda: not service.status()["reachable"], "the backend is seen to be away")
            assert service.client.get("/readyz").status_code == 200
            (stale,) = service.client.get("/api/v1/runs", params={"limit": 1, "state": "RUNNING"}).json()[
                "items"
            ]
            assert stale["stale_since"] is not None
            assert Counter(phase for phase, _ in phases(database).elements()) == {
                "ACTIVE": ACTIVE - 20,
                "ENDED": 20,
            }
            eventually(lambda: service.status()["reachable"], "sweeps resume")
            eventually(lambda: ends(database, during) == 40, "what ended is seen", seconds=_SWEPT_SECONDS)
            swept = service.status()["last_slow_sweep_at"]
            eventually(
                lambda: service.status()["last_slow_sweep_at"] != swept,
                "another slow sweep",
                seconds=_SWEPT_SECONDS,
            )
            states = phases(database)
            assert (states["ENDED", "SUCCEEDED"], states["ENDED", "FAILED"]) == (50, 10)
            assert Counter(phase for phase, _ in states.elements()) == {"ACTIVE": ACTIVE - 60, "ENDED": 60}
            told = database.read(lambda s: Counter(s.scalars(select(OUTBOX.c.type))))
            assert told["run.ended"] == 60, told
            assert not told.keys() & {"run.lost", "run.revived", "run.rejected"}
            looked_up = Counter(crowd.requests())
            looked_up.subtract(asked)
            # Runs are read because they ended or their metadata changed, and not because the API was away.
            assert looked_up["GET /apis/v2beta1/runs/{id}"] <= 6 * 60
