"""Who asks: tokens of the database, how long they count, and what their callers see of others' things."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import Session

from bridge.domain.access import EVERY, Role
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunMirror
from bridge.lineage import tokens
from bridge.lineage.database import Database
from bridge.lineage.errors import DatabaseUnavailable, NotStored
from bridge.lineage.tables import API_TOKENS, AUDIT
from bridge.service.access.cache import Recent
from bridge.service.access.sessions import Sessions
from bridge.service.access.tokens import DatabaseTokens
from bridge.service.backend_settings import ProjectSettings
from bridge.service.main import serve, warn_of_access
from bridge.service.settings import ServiceSettings, SettingsError
from tests.unit.service.harness import Harness, harness, mirror_of


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made(database: Database, role: Role = Role.VIEWER, *projects: str, **given: Any) -> str:
    """A new token's text."""
    _, text = database.transact(
        lambda s: tokens.create_token(s, name="t", role=role, projects=projects or (EVERY,), **given)
    )
    return text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_what_is_remembered_is_bounded_in_age_and_number() -> None:
    clock = Clock()
    recent: Recent[str, int] = Recent(10.0, 2, clock)
    recent.keep("a", 1)
    recent.keep("b", 2, seconds=3.0)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == ((1,), (2,), None)
    clock.now += 3.0
    assert (recent.get("a"), recent.get("b")) == ((1,), None)
    recent.keep("c", 3)
    recent.keep("d", 4)
    assert (recent.get("a"), recent.get("c"), recent.get("d")) == (None, (3,), (4,))


def test_of_a_secret_only_its_digest_is_stored(database: Database) -> None:
    text = made(database)
    secret = text.rpartition("_")[2]
    row = database.read(lambda s: s.execute(select(API_TOKENS)).mappings().one())
    audited = database.read(lambda s: s.execute(select(AUDIT)).mappings().all())
    assert secret not in repr(dict(row)) + repr([dict(one) for one in audited])
    assert [one["action"] for one in audited] == ["token.create"]


async def test_a_token_counts_until_it_is_revoked_and_what_was_found_was_kept(service: Harness) -> None:
    database, clock = service.context.store.database, Clock()
    looks = DatabaseTokens(service.context.store, 5.0, clock)
    text = made(database, Role.SUBMITTER, "a", "b")
    principal = await looks.principal_of(text)
    assert principal is not None
    assert (principal.name, dict(principal.grants)) == (
        "token:t",
        {"a": Role.SUBMITTER, "b": Role.SUBMITTER},
    )
    token_id = text.split("_")[1]
    database.transact(lambda s: tokens.revoke_token(s, token_id))
    clock.now += 4.9
    assert await looks.principal_of(text) is not None
    clock.now += 0.2
    assert await looks.principal_of(text) is None


async def test_another_secret_or_an_unknown_id_is_nobodys(service: Harness) -> None:
    database = service.context.store.database
    looks = DatabaseTokens(service.context.store, 5.0)
    first, second = made(database), made(database)
    mixed = first.rpartition("_")[0] + "_" + second.rpartition("_")[2]
    for wrong in (mixed, f"kfb_{'0' * 16}_{'A' * 43}", "kfb_x", "", "secret"):
        assert await looks.principal_of(wrong) is None
    assert await looks.principal_of(first) is not None


async def test_an_expired_token_is_nobodys(service: Harness) -> None:
    database = service.context.store.database
    over = made(database, lifetime=timedelta(seconds=-1))
    looks = DatabaseTokens(service.context.store, 5.0)
    assert await looks.principal_of(over) is None
    with pytest.raises(NotStored, match="expired"):
        database.transact(lambda s: tokens.rotate_token(s, over.split("_")[1], both_for=timedelta(days=1)))


@pytest.mark.parametrize(("both_for", "old_counts"), [(60.0, True), (0.0, False)])
async def test_a_rotated_token_has_a_new_secret(service: Harness, both_for: float, old_counts: bool) -> None:
    database = service.context.store.database
    old = made(database)
    token_id = old.split("_")[1]
    stored, new = database.transact(
        lambda s: tokens.rotate_token(s, token_id, both_for=timedelta(seconds=both_for))
    )
    looks = DatabaseTokens(service.context.store, 5.0)
    assert (stored.token_id, new.split("_")[1], new == old) == (token_id, token_id, False)
    assert await looks.principal_of(new) is not None
    assert (await looks.principal_of(old) is not None) is old_counts


async def test_a_rotated_token_counts_at_once_although_the_old_one_is_kept(service: Harness) -> None:
    database = service.context.store.database
    old = made(database)
    looks = DatabaseTokens(service.context.store, 300.0)
    assert await looks.principal_of(old) is not None
    _, new = database.transact(
        lambda s: tokens.rotate_token(s, old.split("_")[1], both_for=timedelta(seconds=0))
    )
    assert await looks.principal_of(new) is not None
    assert await looks.principal_of(old) is None


async def test_the_session_of_a_rotated_token_is_not_looked_up_for_each_request(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = service.context.store
    looks = DatabaseTokens(store, 300.0)
    known = Sessions(ServiceSettings(token_keep_seconds=300.0), store, looks)
    old = made(store.database)
    shown = await known.by_token(old)
    assert shown is not None
    secret = await known.start(shown) or ""
    assert await known.signed_in(secret) is not None
    _, new = store.database.transact(
        lambda s: tokens.rotate_token(s, old.split("_")[1], both_for=timedelta(seconds=0))
    )
    assert await looks.principal_of(new) is not None
    asked, find = [], tokens.find_tokens

    def counted(session: Session, token_ids: Collection[str]) -> dict[str, tokens.StoredToken]:
        asked.append(token_ids)
        return find(session, token_ids)

    monkeypatch.setattr(tokens, "find_tokens", counted)
    assert [await known.signed_in(secret) for _ in range(3)] == [None] * 3
    assert len(asked) == 1


async def test_a_use_is_noted_and_not_again_at_once(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = service.context.store.database
    text = made(database)
    await DatabaseTokens(service.context.store, 0.0).principal_of(text)
    (stored,) = database.read(tokens.list_tokens)
    assert stored.last_used_at is not None
    assert not stored.use_is_old

    def no_room(*_: object) -> None:
        raise DatabaseUnavailable("no room", 0.1)

    other = made(database)
    monkeypatch.setattr(tokens, "note_use", no_room)
    assert await DatabaseTokens(service.context.store, 0.0).principal_of(other) is not None


async def test_tokens_are_asked_for_without_one_in_the_settings(database: Database) -> None:
    text = made(database, Role.VIEWER, "a")
    async with harness(database, require_tokens=True) as service:
        asked = await service.client.get("/api/v1/runs")
        assert (asked.status_code, asked.headers["www-authenticate"]) == (401, "Bearer")
        # What tells how to send a token must not look like one to what hides them.
        assert asked.json()["detail"].endswith("with the scheme Bearer in the header Authorization")
        assert (await service.client.get("/api/v1/runs", headers=bearer(text))).status_code == 200
        assert (await service.client.get("/api/v1/runs", auth=("me", text))).status_code == 200
        assert (await service.client.get("/", headers=bearer("x" * 20_000))).status_code == 401
        refused = await service.submit(project="a")
        assert refused.status_code == 401
        service.client.headers.update(bearer(text))
        refused = await service.submit(project="a")
        assert refused.status_code == 403
        assert refused.json()["type"] == "urn:kfbridge:problem:forbidden"
        assert refused.json()["detail"] == "token:t is viewer in project a; this takes submitter"


async def test_nobody_is_asked_on_ones_own_machine_and_no_project_is_called_star(service: Harness) -> None:
    assert (await service.client.get("/api/v1/status")).json()["access"] == "off"
    answer = await service.submit(project="*")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/project"


def test_other_addresses_take_a_way_to_ask() -> None:
    with pytest.raises(SettingsError, match="callers have to be asked who they are"):
        serve(ServiceSettings(host="0.0.0.0"))
    ServiceSettings(host="0.0.0.0", require_tokens=True).check_served()
    ServiceSettings().check_served()
    assert not ServiceSettings().asks_who()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "callers are not asked who they are"),
        ({"api_token": "a"}, None),
        ({"api_token": "a", "host": "0.0.0.0"}, "public_url is not said"),
        ({"api_token": "a", "host": "0.0.0.0", "public_url": "https://bridge.example"}, None),
    ],
)
def test_what_one_may_not_have_meant_so_is_said_at_the_start(
    caplog: pytest.LogCaptureFixture, given: dict[str, Any], told: str | None
) -> None:
    warn_of_access(ServiceSettings(**given), "http://address")
    assert [one.getMessage().partition(":")[0] for one in caplog.records] == ([told] if told else [])


async def test_what_one_did_stands_under_ones_name(database: Database) -> None:
    text = made(database, Role.SUBMITTER, "a")
    async with harness(database, require_tokens=True) as service:
        service.client.headers.update(bearer(text))
        run = await service.submitted(project="a")
        await service.client.post(f"/api/v1/runs/{run['run_id']}:cancel", json={})
    rows = database.read(lambda s: s.execute(select(AUDIT.c.action, AUDIT.c.actor)).all())
    assert ("run.cancel", "token:t") in [tuple(row) for row in rows]


async def test_a_graph_ends_where_others_projects_begin(database: Database) -> None:
    async with harness(database, api_token="root") as service:
        service.client.headers.update(bearer("root"))

        def using(key: str, direction: Direction) -> RunMirror:
            use = ArtifactUse(task_id="2", task_path="train", key=key, direction=direction)
            own = ArtifactUse(task_id="2", task_path="train", key="own", direction=Direction.OUTPUT)
            shared = Artifact(backend_artifact_id="7", type="system.Model", uri="file:///m", uses=(use,))
            later = Artifact(backend_artifact_id=key, type="system.Model", uri=f"file:///{key}", uses=(own,))
            return RunMirror(tasks=mirror_of().tasks, artifacts=(shared, later))

        makes, takes = using("made", Direction.OUTPUT), using("taken", Direction.INPUT)
        ours = await service.ended(await service.submitted("1", project="ours"), mirror=makes)
        theirs = await service.ended(await service.submitted("2", project="theirs"), mirror=takes)
        listed = (await service.client.get(f"/api/v1/runs/{ours['run_id']}/artifacts")).json()["items"]
        shared = next(one["artifact_id"] for one in listed if one["uri"] == "file:///m")
        for where, seen in ((EVERY, {"ours", "theirs"}), ("ours", {"ours"})):
            service.client.headers.update(bearer(made(database, Role.VIEWER, where)))
            graph = (await service.client.get(f"/api/v1/artifacts/{shared}/lineage")).json()
            assert {node["project"] for node in graph["nodes"]} == seen
            assert graph["truncated"] is False
            uses = (await service.client.get(f"/api/v1/artifacts/{shared}")).json()["uses"]
            assert (theirs["run_id"] in {use["run_id"] for use in uses}) is (where == EVERY)
        compared = {"run": [ours["run_id"], theirs["run_id"]]}
        assert (await service.client.get("/api/v1/compare", params=compared)).status_code == 404


async def test_a_projects_runs_go_to_its_own_namespaces(database: Database) -> None:
    projects = {
        "risk": ProjectSettings(namespaces=("risk-b", "risk-a")),
        "odd": ProjectSettings(namespaces=("x",)),
    }
    backend = {"namespaces": ("shared", "risk-a", "risk-b")}
    async with harness(database, backend=backend, projects=projects) as service:
        for key, project, asked, got in (
            ("1", "risk", None, "risk-b"),
            ("2", "risk", "risk-a", "risk-a"),
            ("3", "other", None, "shared"),
            ("4", "other", "risk-a", "risk-a"),
        ):
            answer = await service.submit(key, project=project, namespace=asked)
            assert answer.json()["namespace"] == got, answer.text
        for key, project, asked in (("5", "risk", "shared"), ("6", "odd", None)):
            answer = await service.submit(key, project=project, namespace=asked)
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (403, "/namespace")


async def test_a_backend_without_namespaces_is_for_every_project(database: Database) -> None:
    projects = {"risk": ProjectSettings(namespaces=("risk",))}
    async with harness(database, projects=projects) as service:
        assert (await service.submit(project="risk")).status_code == 202
