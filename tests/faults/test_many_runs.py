"""Row 8 of the failure matrix: the KFP API restarts under thousands of active runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from uuid import UUID

from sqlalchemy import select

from bridge.lineage.database import Database
from bridge.lineage.tables import OUTBOX, RUNS
from tests.faults.stage import PATIENCE_SECONDS, Stage, eventually, on_both
from tests.support.crowded_kfp.process import crowded_kfp
from tests.support.following import follow_runs

ACTIVE = 5_000
# A sweep of 26 pages keeps to its share of time, so on a machine that is busy it takes that much longer.
_SWEPT_SECONDS = 3 * PATIENCE_SECONDS


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


@on_both
def test_08_the_api_restarts_under_thousands_of_active_runs_and_no_run_ends_for_it(stage: Stage) -> None:
    with (
        closing(Database(stage.database_url)) as database,
        # Slow sweeps are waited for: with all tasks in the lists they take a busy machine too long.
        crowded_kfp(stage.folder / "kfp.log", runs=ACTIVE + 1_000, active=ACTIVE, brief=1) as crowd,
    ):
        follow_runs(database, crowd.open_runs())
        with stage.serving({"KFBRIDGE_KFP_URL": crowd.url}) as service:
            before = crowd.finish(20)
            eventually(lambda: ends(database, before) == 20, "runs are followed")
            asked = crowd.requests()
            with crowd.away():
                # They end while the API is away, and their rows tell it before and after its return.
                during = crowd.finish(30, lag=(0, 6)) + crowd.finish(10, state="FAILED", lag=(0, 6))
                eventually(lambda: not service.status()["reachable"], "the backend is seen to be away")
                eventually(lambda: service.status()["circuit"] == "open", "it is spared")
                assert service.client.get("/readyz").status_code == 200
                one = {"limit": 1, "state": "RUNNING"}
                (stale,) = service.client.get("/api/v1/runs", params=one).json()["items"]
                assert stale["stale_since"] is not None
                counts = Counter(phase for phase, _ in phases(database).elements())
                assert counts == {"ACTIVE": ACTIVE - 20, "ENDED": 20}
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
