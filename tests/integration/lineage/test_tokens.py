"""API tokens on both databases: their times are the database's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.domain.access import Role
from bridge.domain.tokens import read_token, secret_digest
from bridge.lineage import outbox, tokens
from bridge.lineage.database import Database
from bridge.lineage.errors import NotStored


def test_a_token_from_its_making_to_its_end(database: Database) -> None:
    stored, text = database.transact(
        lambda s: tokens.create_token(
            s, name="a", role=Role.SUBMITTER, projects=["b", "a", "b"], lifetime=timedelta(days=1)
        )
    )
    parts = read_token(text)
    assert parts is not None
    token_id, secret = parts
    assert (stored.token_id, stored.projects, stored.in_force) == (token_id, ("a", "b"), True)
    assert stored.digests == (secret_digest(secret),)
    assert database.read(lambda s: tokens.find_tokens(s, [token_id, "other"])) == {token_id: stored}
    rotated, _ = database.transact(lambda s: tokens.rotate_token(s, token_id, both_for=timedelta(hours=1)))
    assert rotated.digests[1] == secret_digest(secret)
    assert rotated.expires_at == stored.expires_at
    for _ in range(2):
        assert not database.transact(lambda s: tokens.revoke_token(s, token_id)).in_force
    with pytest.raises(NotStored):
        database.transact(lambda s: tokens.rotate_token(s, token_id, both_for=timedelta()))
    assert database.read(lambda s: tokens.tokens_named(s, "a")) == []


def test_a_use_is_noted_coarsely(database: Database) -> None:
    stored, _ = database.transact(
        lambda s: tokens.create_token(s, name="a", role=Role.VIEWER, projects=["*"])
    )
    seen = []
    for _ in range(2):
        database.transact(lambda s: tokens.note_use(s, stored.token_id))
        seen.append(database.read(lambda s: tokens.list_tokens(s)[0].last_used_at))
    assert seen[0] is not None
    assert seen[0] == seen[1]


def test_a_token_expires_by_the_databases_clock(database: Database) -> None:
    stored, _ = database.transact(
        lambda s: tokens.create_token(
            s, name="a", role=Role.VIEWER, projects=["*"], lifetime=timedelta(seconds=-1)
        )
    )
    assert not stored.in_force


def test_events_of_some_projects_up_to_a_number(database: Database) -> None:
    for project in ("a", "b", "a", ""):
        database.transact(lambda s, project=project: outbox.append(s, "x", None, {}, project=project))
    database.transact(outbox.number_events)
    found = database.read(lambda s: outbox.events_after(s, 0, projects=("a",)))
    assert [event.number for event in found] == [1, 3]
    assert [e.number for e in database.read(lambda s: outbox.events_after(s, 0, until=2))] == [1, 2]
