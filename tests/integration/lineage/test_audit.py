"""The audit log on both databases: only added to, chained, and what was done to it past the triggers is
named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import RowMapping, make_url, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlmodel import Session

from bridge.lineage import audit, audit_chain, holds, switches
from bridge.lineage.audit_chain import Head, Verdict
from bridge.lineage.database import Database
from bridge.lineage.errors import NotStored
from bridge.lineage.tables import AUDIT
from tests.support.lineage_samples import T0, a_submission, some_uuid, submit
from tests.support.postgres import PostgresServer


def noted(database: Database, count: int = 5) -> None:
    for number in range(count):
        database.transact(
            lambda s, n=number: audit.record(
                s, "test.done", actor="ada", data={"n": n}, before={"at": n / 3}, after={"at": None}
            )
        )
    while database.transact(lambda s: audit_chain.extend(s, 2)):
        pass


def verified(database: Database, known: Head | None = None) -> Verdict:
    return database.read(lambda s: audit_chain.verify(s, known))


def past_the_triggers(database: Database, *statements: str) -> None:
    """Carry statements out as the tables' owner can, who takes the triggers away first."""

    def work(session: Session) -> None:
        if database.dialect == "postgresql":
            session.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            for name in ("audit_update", "audit_delete", "audit_chain_update", "audit_chain_delete"):
                session.execute(text(f"DROP TRIGGER IF EXISTS kfbridge_{name}"))
            session.execute(text("DROP TRIGGER IF EXISTS kfbridge_audit_new"))
        for statement in statements:
            session.execute(text(statement))

    database.transact(work)


def ids(database: Database) -> list[int]:
    return database.read(lambda s: list(s.scalars(select(AUDIT.c.id).order_by(AUDIT.c.id))))


def test_an_untouched_log_is_whole_and_its_head_is_known_again(database: Database, other: Database) -> None:
    assert verified(database) == Verdict()
    noted(database)
    first = verified(database)
    assert (first.head.number, first.waiting, first.findings) == (5, 0, [])
    database.transact(lambda s: switches.pause(s, "local", reason="upgrade"))
    assert verified(database).waiting == 1
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(one.transact, audit_chain.extend) for one in (database, other) * 2]
        assert sum(one.result(timeout=30) for one in made) == 1
    later = verified(database, first.head)
    assert (later.head.number, later.findings) == (6, [])
    (newest, *_) = database.read(lambda s: audit.newest(s, limit=1))
    assert (newest.action, newest.before, newest.after) == (
        "backend.pause",
        {"paused": False, "draining": False},
        {"paused": True, "draining": False},
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'eve'",
        "DELETE FROM audit",
        "UPDATE audit_chain SET hash = ''",
        "DELETE FROM audit_chain",
    ],
)
def test_the_database_refuses_to_change_and_to_remove(database: Database, statement: str) -> None:
    noted(database, 1)
    with pytest.raises((DBAPIError, DatabaseError), match="only ever added to"):
        database.transact(lambda s: s.execute(text(statement)))
    assert verified(database).findings == []


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (
            lambda row: [f"UPDATE audit SET actor = 'eve' WHERE id = {row}"],
            "row {row} (entry 3, test.done) was changed",
        ),
        (lambda row: [f"DELETE FROM audit WHERE id = {row}"], "row {row} (entry 3) was removed"),
        (
            lambda row: [
                f"DELETE FROM audit WHERE id = {row}",
                f"DELETE FROM audit_chain WHERE audit = {row}",
            ],
            "entry 3 of the chain was removed",
        ),
        (
            lambda row: [
                f"DELETE FROM audit WHERE id > {row}",
                f"DELETE FROM audit_chain WHERE audit > {row}",
            ],
            "entry 4 to 5, the end of the chain, was removed",
        ),
        (lambda row: [f"UPDATE audit_chain SET hash = 'x' WHERE audit = {row}"], "entry 4 (row"),
        (
            lambda row: [
                "INSERT INTO audit (backend, project, time, actor, action, data) "
                f"SELECT backend, project, time, 'eve', action, data FROM audit WHERE id = {row}"
            ],
            "was put in beside the chain",
        ),
    ],
)
def test_what_was_done_past_the_triggers_is_named(
    database: Database, tamper: Callable[[int], list[str]], named: str
) -> None:
    noted(database)
    row = ids(database)[2]
    past_the_triggers(database, *tamper(row))
    found = verified(database).findings
    assert any(named.format(row=row) in one for one in found), found


def test_a_row_that_says_it_is_older_than_those_before_it_is_named(database: Database) -> None:
    noted(database)
    stale = "time, 'eve', action, data FROM audit LIMIT 1"
    if database.dialect == "postgresql":
        stale = stale.replace("time,", "time - interval '1 day',")
    else:
        stale = stale.replace("time,", "datetime(time, '-1 day') || '.000000',")
    columns = "INSERT INTO audit (backend, project, time, actor, action, data) SELECT backend, project, "
    database.transact(lambda s: s.execute(text(columns + stale)))
    assert database.transact(audit_chain.extend) == 1
    (told,) = verified(database).findings
    assert "was put in later" in told


def test_a_row_that_was_removed_before_it_had_an_entry_is_missed(database: Database) -> None:
    noted(database)
    database.transact(lambda s: audit.record(s, "test.done", actor="eve"))
    noted_row = ids(database)[-1]
    past_the_triggers(database, f"DELETE FROM audit WHERE id = {noted_row}")
    assert verified(database).findings == [f"row {noted_row} was removed before it had an entry"]
    assert database.transact(audit_chain.extend) == 1
    told = verified(database)
    assert (told.head.number, told.waiting) == (6, 0)
    assert told.findings == [f"row {noted_row} (entry 6) was removed"]
    assert told.head == database.read(audit_chain.head_of)


def test_a_chain_that_was_written_anew_does_not_hold_the_known_head(database: Database) -> None:
    noted(database)
    known = verified(database).head
    past_the_triggers(
        database,
        "UPDATE audit SET actor = 'eve'",
        "DELETE FROM audit_chain",
        "UPDATE counters SET value = 0 WHERE name = 'audit'",
        "INSERT INTO audit_waiting (backend, project, audit) SELECT '', '', id FROM audit",
    )
    database.transact(audit_chain.extend)
    assert verified(database).findings == []
    (told,) = verified(database, known).findings
    assert "was written anew" in told


def test_what_is_held_stays_held_until_it_is_released(database: Database) -> None:
    run = database.transact(lambda s: submit(s, a_submission(created_at=T0), queued_at=T0))
    asked = {"project": run.project, "run_id": run.run_id}

    def held() -> tuple[bool, bool, bool]:
        return database.read(
            lambda s: (
                holds.is_held(s, **asked),
                holds.is_held(s, project=run.project),
                holds.held_runs(s, [run.run_id, some_uuid(1)]) == {run.run_id},
            )
        )

    assert held() == (False, False, False)
    for subject in ({"run_id": run.run_id}, {"project": run.project}, {}):
        made = database.transact(lambda s, on=subject: holds.hold(s, reason="case 17", actor="ada", **on))
        assert held() == (True, True, True), subject
        elsewhere = database.read(lambda s: holds.is_held(s, project="another", run_id=some_uuid(2)))
        assert elsewhere is (not subject)
        released = database.transact(lambda s, n=made.number: holds.release(s, n))
        assert released is not None
        assert released.released_at is not None
        assert database.transact(lambda s, n=made.number: holds.release(s, n)) is None
        assert held() == (False, False, False)
    assert [one.subject for one in database.read(lambda s: holds.list_holds(s, released=True))] == [
        f"run {run.run_id}",
        f"project {run.project}",
        "everything",
    ]
    assert database.read(holds.list_holds) == []
    actions = [one.action for one in database.read(lambda s: audit.newest(s, limit=2))]
    assert actions == ["hold.release", "hold.set"]


def test_a_hold_on_a_run_that_there_is_not_is_refused(database: Database) -> None:
    with pytest.raises(NotStored):
        database.transact(lambda s: holds.hold(s, reason="case 17", run_id=some_uuid(7)))
    assert database.read(holds.list_holds) == []


def test_a_chain_that_grows_while_it_is_read_is_whole(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(database, 3)
    read_entries = audit_chain._entries

    def and_then_some(session: Session) -> Iterator[RowMapping]:
        yield from read_entries(session)
        noted(other, 2)

    monkeypatch.setattr(audit_chain, "_entries", and_then_some)
    found = verified(database)
    assert (found.head.number, found.findings) == (3, [])


@pytest.mark.postgres
def test_a_role_with_the_rights_of_the_page_works_and_cannot_change_the_log(
    postgres_server: PostgresServer, postgres_template: str
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text()
    rights = re.findall(r"^    ((?:GRANT|REVOKE) .*);$", page, re.MULTILINE)
    assert len(rights) == 3
    name = postgres_server.create_database(template=postgres_template)
    owner = Database(postgres_server.url(name))
    owner.transact(lambda s: [s.execute(text(one)) for one in ("CREATE ROLE kfbridge LOGIN", *rights)])
    url = make_url(postgres_server.url(name)).set(username="kfbridge")
    service = Database(url.render_as_string(hide_password=False))
    service.check_schema()
    noted(service, 1)
    service.transact(lambda s: submit(s, a_submission(created_at=T0), queued_at=T0))
    for statement in (
        "UPDATE audit SET actor = 'eve'",
        "DELETE FROM audit_chain",
        "TRUNCATE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            service.transact(lambda s, told=statement: s.execute(text(told)))
    assert (verified(service).head.number, verified(service).findings) == (1, [])
    service.close()
    owner.transact(lambda s: [s.execute(text(f"DROP {what} kfbridge")) for what in ("OWNED BY", "ROLE")])
    owner.close()
    postgres_server.drop_database(name)
