"""Row 25 of the failure matrix: the database is migrated while the version before still runs."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session

from bridge.lineage.database import Database
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import Service, Stage, empty_on_both, eventually, on_both
from tests.support.old_version import NoHistory, export_old_version, launcher

EPOCHS = {"epochs": 1}
# What a migration may do, as SQL that both databases understand.
TO_COME = (
    "ALTER TABLE runs ADD COLUMN to_come TEXT",
    "ALTER TABLE tasks ADD COLUMN to_come TEXT NOT NULL DEFAULT 'unknown'",
    "ALTER TABLE artifacts ADD COLUMN to_come BIGINT",
    "ALTER TABLE submissions ADD COLUMN to_come TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE to_come (id BIGINT PRIMARY KEY, run BIGINT NOT NULL REFERENCES runs (id))",
    "CREATE INDEX ix_to_come ON runs (to_come, created_at)",
    "UPDATE alembic_version SET version_num = 'to_come'",
)


@pytest.fixture(scope="module")
def old_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was before the newest migration."""
    folder = tmp_path_factory.mktemp("old")
    try:
        export_old_version(folder)
    except NoHistory as reason:
        pytest.skip(str(reason))
    return folder


def starts(stage: Stage, service: Service, name: str) -> tuple[dict[str, Any], Path]:
    """A run that goes on until its file is made."""
    go = stage.folder / name
    return service.wait(service.submit(waits(go), key=name), state="RUNNING"), go


def succeeds(service: Service, key: str) -> None:
    """A submission goes all the way, artifacts included."""
    done = service.wait(service.submit(trains(), key=key, arguments=EPOCHS), over=True)
    assert (done["state"], done["mirror"]) == ("SUCCEEDED", "COMPLETE")
    assert len(service.items(done, "artifacts")) == 2


@empty_on_both
def test_25_a_migration_under_the_old_version_stops_neither(empty_stage: Stage, old_version: Path) -> None:
    stage = empty_stage
    new_launch = stage.launch
    with ExitStack() as stack, closing(Database(stage.database_url)) as database:
        stage.launch = launcher(old_version)
        with stage.serving(name="old") as old:
            revision = database.revision()
            assert revision is not None
            assert revision != database.head(), "the old version is the new one"
            first, first_go = starts(stage, old, "first")
            second, second_go = starts(stage, old, "second")
            database.migrate()
            assert database.revision() == database.head()
            # It goes on with what it had begun, and takes on more.
            first_go.touch()
            assert old.wait(first, over=True)["state"] == "SUCCEEDED"
            succeeds(old, "after-the-migration")
            stage.launch = new_launch
            if database.dialect == "postgresql":
                new = stack.enter_context(stage.serving(name="new"))
                new.tag = old.tag
                succeeds(new, "beside-the-old")
                succeeds(old, "beside-the-new")
                assert new.run(second)["state"] == "RUNNING"
            assert "Traceback" not in old.log
        if database.dialect == "sqlite":
            new = stack.enter_context(stage.serving(name="new"))
        second_go.touch()
        assert new.wait(second, over=True)["state"] == "SUCCEEDED"
        succeeds(new, "at-last")
        check_invariants(stage, new)


@on_both
def test_25_this_version_does_not_notice_the_migration_to_come(stage: Stage) -> None:
    def migrate(session: Session) -> None:
        for statement in TO_COME:
            session.execute(text(statement))

    with stage.serving() as service:
        run, go = starts(stage, service, "k")
        eventually(lambda: service.items(run, "tasks"), "its tasks are mirrored")
        with closing(Database(stage.database_url)) as database:
            database.transact(migrate)
            assert database.revision() == "to_come"
        go.touch()
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        succeeds(service, "after-it")
        assert service.client.get("/readyz").status_code == 200
        assert "Traceback" not in service.log
        check_invariants(stage, service)
