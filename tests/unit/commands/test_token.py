"""``kfbridge token`` on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.lineage import tokens
from bridge.lineage.database import Database
from tests.unit.commands.conftest import Shell


@pytest.fixture
def database(tmp_path: Path, kfbridge: Shell) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/bridge.db"
    kfbridge.environ["KFBRIDGE_DATABASE_URL"] = url
    opened = Database(url)
    opened.migrate()
    yield opened
    opened.close()


def test_a_token_is_made_listed_rotated_and_revoked(database: Database, kfbridge: Shell) -> None:
    made = kfbridge(
        "token", "create", "airflow", "--role", "submitter", "--project", "risk", "--expires", "90d"
    )
    assert made.code == 0
    assert made.out.startswith("kfb_")
    assert "submitter in risk, until " in made.err
    (stored,) = database.read(tokens.list_tokens)
    assert (stored.role.value, stored.projects, stored.expires_at is not None) == (
        "submitter",
        ("risk",),
        True,
    )
    listed = kfbridge("token")
    assert all(word in listed.out for word in (stored.token_id, "airflow", "risk", "never", "in force"))
    assert made.out.strip().rpartition("_")[2] not in listed.out
    rotated = kfbridge("token", "rotate", "airflow", "--both-for", "1d", "--json")
    assert rotated.json["token_id"] == stored.token_id
    assert rotated.json["token"] != made.out.strip()
    assert kfbridge("token", "revoke", stored.token_id).code == 0
    assert kfbridge("token", "list", "--json").json["items"][0]["in_force"] is False
    assert "revoked" in kfbridge("token").out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("create",), "needs a name"),
        (("create", "a"), "--project"),
        (("list", "a"), "takes no name"),
        (("revoke", "nobody"), "no token in force has the name or id nobody"),
        (("rotate", "a", "--role", "viewer"), "--role goes with 'create' alone"),
        (("revoke", "a", "--expires", "1d"), "--expires goes with"),
    ],
)
def test_wrong_usage_is_told(
    words: tuple[str, ...], complaint: str, database: Database, kfbridge: Shell
) -> None:
    said = kfbridge("token", *words)
    assert (said.code, complaint in said.err) == (2, True)
    assert database.read(tokens.list_tokens) == []


def test_of_two_with_one_name_the_id_tells(database: Database, kfbridge: Shell) -> None:
    for _ in range(2):
        assert kfbridge("token", "create", "a", "--project", "*").code == 0
    said = kfbridge("token", "revoke", "a")
    assert (said.code, "several tokens are called a" in said.err) == (2, True)


def test_a_database_that_is_not_migrated_is_told(kfbridge: Shell, tmp_path: Path) -> None:
    said = kfbridge("token", "--database-url", f"sqlite:///{tmp_path}/new.db")
    assert said.code == 1
    assert "kfbridge migrate" in said.err
