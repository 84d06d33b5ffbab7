"""The old runs of a backend are imported whole, whatever dies in between, and hold nobody up."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import closing
from uuid import UUID

from sqlalchemy import func, select

from bridge.lineage.database import Database
from bridge.lineage.tables import RUNS
from tests.faults.stage import PATIENCE_SECONDS, Service, Stage, eventually, wait_for_crash
from tests.support.crowded_kfp.process import crowded_kfp
from tests.support.following import follow_runs

OLD = 320
ACTIVE = 20
IMPORTING = {"KFBRIDGE_KFP_IMPORT_DAYS": "30"}


def stored(database: Database) -> int:
    """How many runs the bridge knows."""
    return database.read(lambda s: s.scalars(select(func.count()).select_from(RUNS)).one())


def settled(database: Database, ids: list[UUID]) -> int:
    """How many of these have settled."""
    counted = select(func.count()).where(RUNS.c.kfp_run_id.in_(ids), RUNS.c.settled_at.is_not(None))
    return database.read(lambda s: s.scalars(counted).one())


def seen(service: Service) -> int:
    """How many old runs were looked at."""
    history = service.status()["history"]
    return int(history["seen"]) if history else 0


def test_old_runs_are_imported_through_two_deaths_and_ends_are_told_meanwhile(stage: Stage) -> None:
    with (
        closing(Database(stage.database_url)) as database,
        crowded_kfp(stage.folder / "kfp.log", runs=OLD + ACTIVE, active=ACTIVE) as crowd,
    ):
        follow_runs(database, crowd.open_runs())
        settings = {**IMPORTING, "KFBRIDGE_KFP_URL": crowd.url}
        with stage.serving(settings, crash_at="history.before_remember") as service:
            wait_for_crash(service)
        assert stored(database) > ACTIVE, "it died between a page and the note of it"
        with stage.serving(settings) as service:
            eventually(lambda: seen(service) >= 100, "the import goes on")
            service.process.stop(signal.SIGKILL)
        with stage.serving(settings) as service:
            ended = crowd.finish(5)
            eventually(lambda: settled(database, ended) == 5, "ends are told while the import goes on")
            eventually(
                lambda: service.status()["history"]["done"], "all is imported", seconds=2 * PATIENCE_SECONDS
            )
            whole = service.status()["history"]
            assert OLD <= whole["seen"] <= OLD + ACTIVE + 300, whole
        with stage.serving(settings):
            phases = database.read(lambda s: Counter(s.scalars(select(RUNS.c.phase))))
            assert phases == {"ENDED": OLD + 5, "ACTIVE": ACTIVE - 5}, "each of them once"
