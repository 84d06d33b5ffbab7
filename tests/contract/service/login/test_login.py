"""Signing in with a browser, against an issuer that is asked over HTTP."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

from bridge.lineage.database import Database
from bridge.lineage.tables import AUDIT, SESSIONS
from tests.contract.service.login.people import (
    BASE,
    CALLBACK,
    DEEP,
    OWN,
    PAGE,
    Person,
    configured,
    person,
    token_form,
)
from tests.support.served_issuer import CLIENT, CLIENT_SECRET, ServedIssuer
from tests.unit.service.harness import Harness, harness


async def test_from_a_deep_link_to_the_issuer_and_back_and_out_again(
    service: Harness, ada: Person, issuer: ServedIssuer
) -> None:
    opened = await ada.bridge.get(f"/ml{DEEP}", headers=PAGE)
    assert (opened.status_code, opened.headers["location"][:29]) == (303, "/ml/login/start?return_to=%2F")
    sent = await ada.bridge.get(opened.headers["location"], headers=PAGE)
    asked = parse_qs(urlsplit(sent.headers["location"]).query)
    assert (asked["redirect_uri"], asked["response_type"], asked["realm"]) == ([CALLBACK], ["code"], ["work"])
    done = await ada.bridge.get(await ada.back(sent))
    assert (done.status_code, done.headers["location"]) == (303, f"/ml{DEEP}")
    (cookie,) = (one for one in done.headers.get_list("set-cookie") if "session" in one)
    assert cookie.startswith("__Host-kfbridge-session-")
    for part in ("; HttpOnly", "; Max-Age=28800", "; Path=/", "; SameSite=lax", "; Secure"):
        assert part in cookie
    # Nothing that the issuer gave is in the browser.
    assert "eyJ" not in repr(ada.bridge.cookies.jar)
    assert (await ada.bridge.get(DEEP, headers=PAGE)).status_code in (200, 503)
    who = (await ada.bridge.get("/api/v1/session")).json()
    assert (who["name"], who["kind"], who["roles"]) == ("ada", "oidc", {"risk": "submitter"})
    refused = await ada.bridge.post("/api/v1/backends/default:pause", json={}, headers=OWN)
    assert refused.status_code == 403
    accepted = await ada.bridge.post("/api/v1/lineage?project=risk", json=[], headers=OWN)
    assert accepted.status_code == 202
    secret = ada.session
    out = (await ada.bridge.post("/api/v1/session:end", headers=OWN)).json()["continue_at"]
    assert out.startswith(f"{issuer.url}/logout?client_id={CLIENT}")
    gone = await ada.issuer.get(out)
    assert gone.headers["location"] == f"{BASE}/login?signed_out=1"
    assert "You have signed out" in (await ada.bridge.get("/login?signed_out=1")).text
    # The cookie was taken back; and who kept it has nothing.
    assert ada.session == ""
    name = cookie.partition("=")[0]
    kept = await ada.bridge.get("/api/v1/runs", headers={"Cookie": f"{name}={secret}"})
    assert (kept.status_code, kept.json()["type"]) == (401, "urn:kfbridge:problem:unauthorized")
    rows = service.context.store.database.read(
        lambda s: s.execute(select(AUDIT.c.action, AUDIT.c.actor, AUDIT.c.data)).all()
    )
    told = [(action, actor) for action, actor, _ in rows if action.startswith("session.")]
    assert told[-2:] == [("session.start", "ada"), ("session.end", "ada")]
    assert secret not in repr(rows)


@pytest.mark.parametrize(
    "path",
    ["/pipelines/train%20m%C3%BCller?label=a%20b", "/pipelines/a+b%25;c", "/pipelines/%5Cevil.example"],
)
async def test_a_deep_link_with_any_letters_is_come_back_to(ada: Person, path: str) -> None:
    opened = await ada.bridge.get(f"/ml{path}", headers=PAGE)
    sent = await ada.bridge.get(opened.headers["location"], headers=PAGE)
    assert (await ada.bridge.get(await ada.back(sent))).headers["location"] == f"/ml{path}"


async def test_only_a_digest_is_stored_and_no_token(service: Harness, ada: Person) -> None:
    await ada.sign_in()
    rows = service.context.store.database.read(lambda s: s.execute(select(SESSIONS)).mappings().all())
    told = repr([dict(row) for row in rows])
    assert "eyJ" not in told
    assert ada.session not in told


async def test_of_a_token_that_somebody_chose_no_quick_digest_is_stored(database: Database) -> None:
    async with harness(database, api_token="kitten", public_url=BASE) as service, person(service) as root:
        await token_form(root, "kitten")
        assert (await root.bridge.get("/api/v1/session")).json()["kind"] == "setting"
    newest = select(SESSIONS).where(SESSIONS.c.kind == "setting").order_by(SESSIONS.c.id.desc()).limit(1)
    row = database.read(lambda s: s.execute(newest).mappings().one())
    assert row["credential_sha256"] not in (None, "")
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert hashlib.new(name, b"kitten").hexdigest() not in repr(dict(row))


@pytest.mark.parametrize("secret", [None, CLIENT_SECRET], ids=["public", "in the body"])
async def test_other_kinds_of_clients(database: Database, issuer: ServedIssuer, secret: str | None) -> None:
    issuer.secret = secret
    issuer.description = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with (
        harness(database, **configured(issuer, client_secret=secret)) as service,
        person(service) as ada,
    ):
        assert (await ada.sign_in()).headers["location"] == f"/ml{DEEP}"


async def test_the_description_of_the_issuer_is_asked_for_once(ada: Person, issuer: ServedIssuer) -> None:
    for _ in range(3):
        await ada.sign_in()
    assert [issuer.asked.count(path) for path in ("/.well-known/openid-configuration", "/keys")] == [1, 1]


async def test_several_tabs_sign_in_at_once(ada: Person) -> None:
    first, second = await ada.start("/"), await ada.start("/cost")
    ways = [await ada.back(first), await ada.back(second)]
    answers = [await ada.bridge.get(way) for way in ways]
    assert [one.headers["location"] for one in answers] == ["/ml/", "/ml/cost"]
