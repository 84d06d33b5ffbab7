"""Transactions: repeated when that is safe, given up in time, never half done."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update
from sqlmodel import Session

from bridge.lineage.database import Database
from bridge.lineage.errors import CommitUnknown, DatabaseUnavailable
from bridge.lineage.tables import AUDIT, LEASES
from tests.support.lineage_samples import T0
from tests.support.postgres import PostgresServer


def write(session: Session, action: str = "x") -> None:
    """Store one row."""
    session.execute(insert(AUDIT).values(time=T0, action=action, data={}))


def stored(database: Database) -> list[str]:
    """What ``write`` has stored."""
    return database.read(lambda session: list(session.scalars(select(AUDIT.c.action).order_by(AUDIT.c.id))))


def test_work_that_fails_leaves_nothing(database: Database) -> None:
    def work(session: Session) -> None:
        write(session)
        raise LookupError("no")

    with pytest.raises(LookupError):
        database.transact(work)
    assert stored(database) == []


def test_reading_may_not_write(database: Database) -> None:
    with pytest.raises(RuntimeError, match="use transact"):
        database.read(write)
    database.transact(write)
    with pytest.raises(RuntimeError, match="use transact"):
        database.read(write)
    assert stored(database) == ["x"]


def test_threads_write_at_once_and_nothing_is_lost(database: Database, other: Database) -> None:
    def work(number: int) -> None:
        (database, other)[number % 2].transact(lambda session: write(session, str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(60)))
    assert sorted(stored(database), key=int) == [str(number) for number in range(60)]


def test_transactions_that_wait_for_each_other_crosswise_both_succeed(database: Database) -> None:
    names = ["a", "b"]
    database.transact(
        lambda session: (
            session.execute(
                insert(LEASES), [{"name": name, "holder": "", "until": T0, "fence": 0} for name in names]
            )
            and None
        )
    )
    meet = threading.Barrier(2)
    calls = []

    def cross(order: list[str]) -> None:
        def add_one(session: Session, name: str) -> None:
            session.execute(update(LEASES).where(LEASES.c.name == name).values(fence=LEASES.c.fence + 1))

        def work(session: Session) -> None:
            first_call = order not in calls
            calls.append(order)
            add_one(session, order[0])
            # SQLite lets only one transaction in, so there nobody would come to the meeting.
            if first_call and database.dialect == "postgresql":
                meet.wait(timeout=30)
            add_one(session, order[1])

        database.transact(work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(cross, [names, names[::-1]]))
    fences = database.read(lambda session: list(session.scalars(select(LEASES.c.fence))))
    assert fences == [2, 2]
    assert len(calls) == (3 if database.dialect == "postgresql" else 2)


def test_a_closed_database_opens_again_when_it_is_used(database: Database) -> None:
    database.transact(write)
    database.close()
    assert stored(database) == ["x"]


@pytest.fixture
def postgres(postgres_server: PostgresServer, postgres_template: str):  # type: ignore[no-untyped-def]
    """A migrated PostgreSQL database, its opened form, and a way to cut all its connections."""
    name = postgres_server.create_database(template=postgres_template)
    opened = Database(postgres_server.url(name), patience_seconds=10)

    def cut() -> None:
        postgres_server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )

    yield opened, cut
    opened.close()
    postgres_server.drop_database(name)


@pytest.mark.postgres
def test_a_connection_lost_between_and_within_transactions_is_made_good(postgres) -> None:  # type: ignore[no-untyped-def]
    database, cut = postgres
    database.transact(write)
    cut()
    calls = []

    def work(session: Session) -> None:
        write(session, "y")
        calls.append(1)
        if len(calls) == 1:
            cut()
        write(session, "z")

    database.transact(work)
    assert stored(database) == ["x", "y", "z"]
    assert len(calls) == 2


@pytest.mark.postgres
def test_a_lost_answer_to_commit_is_told_unless_the_work_is_repeatable(postgres) -> None:  # type: ignore[no-untyped-def]
    database, cut = postgres
    calls = []

    def work(session: Session) -> None:
        calls.append(1)
        write(session, "once")
        if len(calls) == 1:
            cut()

    with pytest.raises(CommitUnknown, match="may or may not"):
        database.transact(work)
    assert len(calls) == 1
    assert stored(database) == []
    calls.clear()
    database.transact(work, repeatable=True)
    assert len(calls) == 2
    assert stored(database) == ["once"]


@pytest.mark.postgres
def test_a_server_that_is_not_there_is_reported_within_the_patience(tmp_path: Path) -> None:
    database = Database(f"postgresql://nobody:secret@/none?host={tmp_path}", patience_seconds=0.3)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as refused:
        database.transact(write)
    assert time.monotonic() - began < 10
    assert "secret" not in str(refused.value)
    assert "secret" not in database.shown_url
    with pytest.raises(DatabaseUnavailable):
        database.read(lambda session: session.scalars(select(AUDIT.c.id)).all())
    with pytest.raises(DatabaseUnavailable):
        database.revision()
    database.close()


@pytest.mark.postgres
def test_a_hung_statement_does_not_hold_a_worker_for_good(postgres) -> None:  # type: ignore[no-untyped-def]
    database, _ = postgres
    limit = database.read(lambda session: session.execute(text("SHOW statement_timeout")).scalar_one())
    assert limit == "1min"
    zone = database.read(lambda session: session.execute(text("SHOW timezone")).scalar_one())
    assert zone == "UTC"


def test_a_locked_file_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    database = Database(f"sqlite:///{path}", patience_seconds=0.3)
    database.migrate()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        database.transact(write)
    assert stored(database) == []
    patient = Database(f"sqlite:///{path}", patience_seconds=20)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(patient.transact, write)
        blocker.execute("COMMIT")
        waiting.result(timeout=30)
    assert stored(database) == ["x"]
    blocker.close()
    patient.close()
    database.close()
