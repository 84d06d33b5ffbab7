"""How long a session counts, and those that begin with an API token."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bridge.domain.access import EVERY, Role
from bridge.lineage import audit, sessions, tokens
from bridge.lineage.database import Database
from tests.contract.service.login.people import (
    BASE,
    DEEP,
    GRANTS,
    OWN,
    PAGE,
    Person,
    configured,
    person,
    shown,
    token_form,
)
from tests.support.served_issuer import ServedIssuer
from tests.unit.service.harness import harness


async def test_a_session_ends_with_its_time_and_streams_end_with_it(
    database: Database, issuer: ServedIssuer
) -> None:
    quick = {"token_keep_seconds": 0.05, "heartbeat_seconds": 0.05}
    async with harness(database, **configured(issuer), **quick) as service, person(service) as ada:
        await ada.sign_in()

        async def stream() -> None:
            async with ada.bridge.stream("GET", "/api/v1/events") as events:
                async for _ in events.aiter_lines():
                    pass

        reading = asyncio.create_task(stream())
        while not service.context.wakeups._numbered:
            await asyncio.sleep(0.005)
        ended = database.transact(lambda s: sessions.end_sessions_of(s, "ada", actor="test"))
        assert ended >= 1
        async with asyncio.timeout(10):
            await reading
        assert (await ada.bridge.get("/api/v1/runs")).status_code == 401


async def test_a_long_poll_ends_with_the_session(
    database: Database, issuer: ServedIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.service.routes.common._KNOWN_CHECK_SECONDS", 0.02)
    grants = [{**GRANTS[0], "projects": ["polled"]}]
    settings = configured(issuer, grants=grants) | {"token_keep_seconds": 0.0, "api_token": "root"}
    async with harness(database, **settings) as service, person(service) as ada:
        await ada.sign_in()
        service.client.headers["Authorization"] = "Bearer root"
        run = await service.submitted("polled", project="polled")
        path = f"/api/v1/runs/{run['run_id']}"
        polling = asyncio.create_task(ada.bridge.get(path, params={"wait": "60s"}))
        while not service.context.wakeups.runs.watched:
            await asyncio.sleep(0.005)
        database.transact(lambda s: sessions.end_sessions_of(s, "ada", actor="test"))
        async with asyncio.timeout(10):
            assert (await polling).status_code == 401
        assert not service.context.wakeups.runs.watched


async def test_people_behind_one_proxy_have_rates_of_their_own(
    database: Database, issuer: ServedIssuer
) -> None:
    slow = {"caller_requests_per_second": 0.001, "caller_request_burst": 20}
    async with harness(database, **configured(issuer), **slow) as service, person(service) as ada:
        await ada.sign_in()
        codes = [(await ada.bridge.get("/api/v1/session")).status_code for _ in range(25)]
        assert (codes[:20], codes[-1]) == ([200] * 20, 429)
        async with person(service) as grace:
            assert (await grace.bridge.get("/login")).status_code == 200


async def test_what_somebody_may_do_follows_the_settings_of_now(
    database: Database, issuer: ServedIssuer
) -> None:
    async with harness(database, **configured(issuer)) as service, person(service) as ada:
        await ada.sign_in()
        kept = ada.bridge.cookies
    for given, roles in (
        ({"grants": [{**GRANTS[0], "role": "viewer"}]}, {"risk": "viewer"}),
        ({"grants": []}, {}),
    ):
        async with harness(database, **configured(issuer, **given)) as service, person(service) as ada:
            ada.bridge.cookies = kept
            assert (await ada.bridge.get("/api/v1/session")).json()["roles"] == roles
    other = ServedIssuer("https://other.example", issuer.signs)
    async with harness(database, **configured(other)) as service, person(service) as ada:
        ada.bridge.cookies = kept
        assert (await ada.bridge.get("/api/v1/session")).status_code == 401


async def test_an_api_token_signs_in_where_there_is_no_issuer(database: Database) -> None:
    made, text = database.transact(
        lambda s: tokens.create_token(s, name="desk", role=Role.VIEWER, projects=["risk"])
    )
    settings = {"require_tokens": True, "api_token": "the token of the settings", "public_url": BASE}
    async with (
        harness(database, **settings, token_keep_seconds=0.0) as service,
        person(service) as ada,
        person(service) as root,
    ):
        opened = await ada.bridge.get(DEEP, headers=PAGE)
        page = await ada.bridge.get(opened.headers["location"])
        assert f'value="{DEEP.replace("&", "&amp;")}"' in page.text
        shown(await token_form(ada, "kfb_wrong"), 401, "does not take this token")
        for foreign in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ):
            assert (await token_form(ada, text, **foreign)).status_code == 403
        done = await token_form(ada, text, Origin="https://bridge.example")
        assert done.headers["location"] == f"/ml{DEEP}"
        assert text not in repr(ada.bridge.cookies.jar)
        who = (await ada.bridge.get("/api/v1/session")).json()
        assert (who["name"], who["roles"], who["signed_in"]) == ("token:desk", {"risk": "viewer"}, True)
        assert (
            await ada.bridge.post("/api/v1/lineage?project=risk", json=[], headers=OWN)
        ).status_code == 403
        # What ends the token ends the session.
        database.transact(lambda s: tokens.revoke_token(s, made.token_id))
        assert (await ada.bridge.get("/api/v1/session")).status_code == 401
        assert (await token_form(ada, text)).status_code == 401
        await token_form(root, "the token of the settings")
        assert (await root.bridge.get("/api/v1/session")).json()["roles"] == {EVERY: "admin"}
        out = (await root.bridge.post("/api/v1/session:end", headers=OWN)).json()
        assert out == {"continue_at": "/ml/login?signed_out=1"}
    changed = {**settings, "api_token": "another one"}
    async with harness(database, **changed) as service, person(service) as ada:
        ada.bridge.cookies = root.bridge.cookies
        assert (await ada.bridge.get("/api/v1/session")).status_code == 401
    assert database.read(lambda s: audit.newest(s, limit=1))[0].action == "session.end"


async def test_a_rotated_token_ends_its_sessions_when_its_old_secret_does(database: Database) -> None:
    made, text = database.transact(
        lambda s: tokens.create_token(s, name="desk2", role=Role.VIEWER, projects=["risk"])
    )
    async with (
        harness(database, require_tokens=True, public_url=BASE, token_keep_seconds=0.0) as service,
        person(service) as ada,
    ):
        await token_form(ada, text)
        for both_for, status in ((60, 200), (0, 401)):
            given = {"both_for": timedelta(seconds=both_for)}
            database.transact(lambda s, given=given: tokens.rotate_token(s, made.token_id, **given))
            assert (await ada.bridge.get("/api/v1/session")).status_code == status


async def test_where_nobody_is_asked_there_is_nothing_to_sign_in_to(database: Database) -> None:
    async with harness(database) as service:
        assert "asks nobody who they are" in (await service.client.get("/login?return_to=/cost")).text
        who = (await service.client.get("/api/v1/session")).json()
        assert (who["kind"], who["roles"], who["signed_in"]) == ("nobody", {EVERY: "admin"}, False)


async def test_in_a_frame_the_way_leads_out_of_it(ada: Person) -> None:
    framed = {**PAGE, "Sec-Fetch-Dest": "iframe"}
    opened = await ada.bridge.get("/cost", headers=framed)
    page = await ada.bridge.get(opened.headers["location"].removeprefix("/ml"), headers=framed)
    assert '<a class="button" target="_blank" href="/ml/cost">' in page.text
