"""``kfbridge session`` on a database of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bridge.lineage import audit, sessions
from bridge.lineage.database import Database
from bridge.lineage.sessions import SignIn
from tests.unit.commands.conftest import Shell


def test_who_is_signed_in_is_listed_and_signed_out(tmp_path: Path, kfbridge: Shell) -> None:
    url = f"sqlite:///{tmp_path}/bridge.db"
    kfbridge.environ["KFBRIDGE_DATABASE_URL"] = url
    database = Database(url)
    try:
        database.migrate()
        assert "nobody is signed in" in kfbridge("session").err
        for name in ("ada", "ada", "grace"):
            signed_in = SignIn(kind="oidc", name=name, issuer="https://login.example")
            database.transact(lambda s, given=signed_in: sessions.start_session(s, given, timedelta(hours=8)))
        over = SignIn(kind="oidc", name="old", issuer="https://login.example")
        database.transact(lambda s: sessions.start_session(s, over, timedelta(seconds=-1)))
        listed = kfbridge("session", "list")
        assert (listed.out.count("ada"), listed.out.count("old")) == (2, 0)
        assert kfbridge("session", "end", "ada", "--json").json == {"name": "ada", "ended": 2}
        assert [one["name"] for one in kfbridge("session", "--json").json["items"]] == ["grace"]
        assert "is not signed in" in kfbridge("session", "end", "ada").err
        newest = database.read(lambda s: audit.newest(s, limit=1))[0]
        assert (newest.action, newest.actor, newest.data["name"]) == (
            "session.end",
            "kfbridge session",
            "ada",
        )
    finally:
        database.close()


@pytest.mark.parametrize("words", [("end",), ("list", "ada")])
def test_wrong_usage_is_told(words: tuple[str, ...], kfbridge: Shell) -> None:
    assert kfbridge("session", *words).code == 2
