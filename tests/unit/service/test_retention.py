"""The worker that removes what is old, and the command that does the same."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from sqlalchemy import update
from sqlmodel import Session

from bridge.cli import main
from bridge.commands.console import Console
from bridge.lineage import leases
from bridge.lineage.database import Database
from bridge.lineage.tables import RUNS, SUBMISSIONS
from bridge.service.retaining import LEASE
from bridge.service.retention_settings import RetentionSettings
from bridge.service.workers.retention import RetentionWorker
from bridge.service.workers.start import make_supervisor
from tests.unit.service.harness import Harness


async def test_the_worker_removes_what_is_old_and_only_one_does(service: Harness) -> None:
    for key in ("first", "second"):
        await service.ended(await service.submitted(key))
    old = datetime.now(UTC) - timedelta(days=60)

    def make_old(session: Session) -> None:
        session.execute(update(RUNS).values(created_at=old, finished_at=old))

    await service.context.store.transact(make_old)
    settings = RetentionSettings(runs_days=30, pause_seconds=0)
    service.context.settings = service.context.settings.model_copy(
        update={"retention": settings, "workers": True}
    )
    assert "retention" in make_supervisor(service.context).health
    worker = RetentionWorker(service.context)
    take = service.context.store.transact
    await take(lambda s: leases.take_lease(s, LEASE, holder="another", lease_seconds=60))
    assert await worker.step() is None
    await take(lambda s: leases.drop_lease(s, LEASE, holder="another"))
    removed = await worker.step()
    assert removed is not None
    assert removed.to_json() == {
        "runs": 1,
        "artifacts": 0,
        "logs": 0,
        "events": 0,
        "staying": {"last good": 1},
    }
    assert len(await service.stored()) == 1


async def _forget(service: Harness) -> None:
    """All runs grow old, and retention comes by."""
    old = datetime.now(UTC) - timedelta(days=60)

    def make_old(session: Session) -> None:
        session.execute(update(RUNS).values(created_at=old, finished_at=old))
        session.execute(update(SUBMISSIONS).values(created_at=old))

    await service.context.store.transact(make_old)
    settings = RetentionSettings(runs_days=30, pause_seconds=0)
    service.context.settings = service.context.settings.model_copy(update={"retention": settings})
    assert await RetentionWorker(service.context).step() is not None


async def test_a_key_whose_submission_was_removed_makes_another_run_at_the_backend(service: Harness) -> None:
    task = {"scheduler": "airflow", "dag_id": "d", "dag_run_id": "r", "task_id": "t", "try_number": 1}
    first = await service.submitted(None, origin=task)
    await service.ended(first, "FAILED")
    await _forget(service)
    assert await service.stored() == []
    # The backend has it still, and what is asked for now is not it.
    second = await service.submitted(None, origin=task)
    assert (second["attempt"], second["phase"]) == (2, "ACTIVE")
    assert second["kfp_run_id"] != first["kfp_run_id"]
    assert set(service.kfp.runs) == {first["kfp_run_id"], second["kfp_run_id"]}
    await service.ended(second, "FAILED")
    third = await service.submitted(None, origin={**task, "try_number": 2})
    assert third["attempt"] == 3


async def test_a_submission_whose_answer_was_removed_gets_a_run_of_its_own(service: Harness) -> None:
    run = await service.submitted("key")
    await service.ended(run, "FAILED")
    gone = uuid4()

    def lose(session: Session) -> None:
        session.execute(update(SUBMISSIONS).values(current_run=gone))

    await service.context.store.transact(lose)
    again = await service.submitted("key")
    assert (again["attempt"], again["phase"]) == (2, "ACTIVE")


async def test_nothing_is_removed_unless_the_settings_say_so(service: Harness) -> None:
    service.context.settings = service.context.settings.model_copy(update={"workers": True})
    assert "retention" not in make_supervisor(service.context).health


def test_the_command_needs_settings_and_tells_what_it_did(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bridge.db"
    database = Database(url)
    database.migrate()
    database.close()

    def retention(*options: str, **environ: str) -> tuple[int, str, str]:
        console = Console(out=io.StringIO(), err=io.StringIO(), environ=environ)
        code = main(["retention", "--database-url", url, *options], console)
        return code, console.out.getvalue(), console.err.getvalue()  # type: ignore[attr-defined]

    code, _, said = retention()
    assert (code, "the settings keep everything" in said) == (2, True)
    code, told, _ = retention("--dry-run", KFBRIDGE_RETENTION_RUNS_DAYS="30")
    assert (code, told.startswith("would be removed: 0 runs")) == (0, True)
    code, told, _ = retention("--json", KFBRIDGE_RETENTION_EVENTS_DAYS="7")
    assert (code, json.loads(told)["events"]) == (0, 0)
