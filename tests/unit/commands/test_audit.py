"""``kfbridge audit`` over a database of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from bridge.lineage import audit_chain, switches
from bridge.lineage.database import Database
from tests.unit.commands.conftest import Shell


@pytest.fixture
def audited(kfbridge: Shell, tmp_path: Path) -> Database:
    kfbridge.environ["KFBRIDGE_DATABASE_URL"] = f"sqlite:///{tmp_path}/bridge.db"
    database = Database(kfbridge.environ["KFBRIDGE_DATABASE_URL"])
    database.migrate()
    database.transact(lambda s: switches.pause(s, "gpu", reason="upgrade"))
    database.transact(audit_chain.extend)
    return database


def test_the_log_is_listed_verified_and_what_was_changed_is_named(kfbridge: Shell, audited: Database) -> None:
    listed = kfbridge("audit", "list")
    assert "backend.pause" in listed.out
    assert "paused: False -> True" in listed.out
    whole = kfbridge("audit", "verify", "--json")
    assert (whole.code, whole.json["whole"], whole.json["findings"]) == (0, True, [])
    assert kfbridge("audit", "verify", "--head", whole.json["head"]).code == 0
    assert kfbridge("audit", "verify", "--head", "1:0").code == 1
    audited.transact(lambda s: s.execute(text("DROP TRIGGER kfbridge_audit_update")))
    audited.transact(lambda s: s.execute(text("UPDATE audit SET actor = 'eve'")))
    broken = kfbridge("audit", "verify")
    assert (broken.code, broken.out) == (1, "row 1 (entry 1, backend.pause) was changed\n")
    audited.close()


def test_a_hold_is_set_listed_and_released(kfbridge: Shell, audited: Database) -> None:
    assert kfbridge("audit", "hold", "--project", "fraud").code == 2
    assert kfbridge("audit", "hold", "--reason", "case 17").code == 2
    unknown = kfbridge("audit", "hold", "--run", "0" * 32, "--reason", "case 17")
    assert (unknown.code, "there is no run" in unknown.err) == (2, True)
    made = kfbridge("audit", "hold", "--project", "fraud", "--reason", "case 17", "--json")
    assert "project fraud has no run yet" in made.err
    number = str(made.json["items"][0]["number"])
    assert "project fraud" in kfbridge("audit", "holds").out
    assert kfbridge("audit", "release").code == 2
    assert kfbridge("audit", "release", number).code == 0
    again = kfbridge("audit", "release", number)
    assert (again.code, "is in force" in again.err) == (2, True)
    assert kfbridge("audit", "holds").err == "nothing is held\n"
    assert [one["action"] for one in kfbridge("audit", "list", "--json").json["items"][:2]] == [
        "hold.release",
        "hold.set",
    ]
    audited.close()
