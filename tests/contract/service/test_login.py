"""Signing in with a browser, against an issuer that is asked over HTTP; and what must not get through."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import select

from bridge.domain.access import EVERY, Role
from bridge.lineage import audit, sessions, tokens
from bridge.lineage.database import Database
from bridge.lineage.tables import AUDIT, SESSIONS
from bridge.service.access.settings import OidcSettings
from tests.support.served_issuer import CLIENT, CLIENT_SECRET, ServedIssuer, served_issuer
from tests.unit.service.harness import Harness, harness

BASE = "https://bridge.example/ml"
CALLBACK = f"{BASE}/login/callback"
DEEP = "/runs/6e1f1f3a-52b4-4f0e-9a3c-0d7c1f1b2a10?tab=logs&task=train"
PAGE = {"Accept": "text/html"}
OWN = {"Sec-Fetch-Site": "same-origin", "KFBridge-Page": "1"}
GRANTS = [{"claim": "groups", "value": "ml", "role": "submitter", "projects": ["risk"]}]


@pytest.fixture(scope="module")
def one_issuer() -> Iterator[ServedIssuer]:
    with served_issuer() as made:
        yield made


@pytest.fixture
def issuer(one_issuer: ServedIssuer) -> ServedIssuer:
    """The issuer as it is at first: making its keys takes longer than a test."""
    fresh = ServedIssuer(one_issuer.url, one_issuer.signs, returns={CALLBACK})
    one_issuer.__dict__.update(fresh.__dict__)
    return one_issuer


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("login") / "bridge.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture
def database(migrated: Path) -> Iterator[Database]:
    """A database for all tests of this file: what each looks at is its own."""
    opened = Database(f"sqlite:///{migrated}")
    yield opened
    opened.close()


@dataclass
class Person:
    """Somebody with a browser of their own."""

    bridge: httpx.AsyncClient
    issuer: httpx.AsyncClient

    async def start(self, path: str = DEEP) -> httpx.Response:
        """Begin to sign in and be sent to the issuer's door."""
        sent = await self.bridge.get("/login/start", params={"return_to": path}, headers=PAGE)
        assert sent.status_code == 303, sent.text
        return sent

    async def back(self, sent: httpx.Response) -> str:
        """Pass the issuer's door; the address that it sends the browser back to, without the host."""
        answer = await self.issuer.get(sent.headers["location"])
        assert answer.status_code == 302, answer.text
        address: str = answer.headers["location"]
        assert address.startswith(CALLBACK)
        return address.removeprefix("https://bridge.example")

    async def sign_in(self, path: str = DEEP) -> httpx.Response:
        """The whole way; the bridge's last answer."""
        return await self.bridge.get(await self.back(await self.start(path)), headers=PAGE)

    @property
    def session(self) -> str:
        """The secret of their session."""
        return next((c.value or "" for c in self.bridge.cookies.jar if "session" in c.name), "")


@asynccontextmanager
async def person(service: Harness) -> AsyncIterator[Person]:
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    async with (
        httpx.AsyncClient(transport=transport, base_url="https://bridge.example") as bridge,
        httpx.AsyncClient() as at_issuer,
    ):
        yield Person(bridge, at_issuer)


def configured(issuer: ServedIssuer, **given: Any) -> dict[str, Any]:
    told = {
        "issuer": issuer.url,
        "audience": "kfbridge",
        "client_id": CLIENT,
        "client_secret": CLIENT_SECRET,
        "grants": GRANTS,
        **given,
    }
    return {"oidc": OidcSettings.model_validate(told), "public_url": BASE}


@pytest.fixture
async def service(database: Database, issuer: ServedIssuer) -> AsyncIterator[Harness]:
    async with harness(database, **configured(issuer)) as made:
        yield made


@pytest.fixture
async def ada(service: Harness) -> AsyncIterator[Person]:
    async with person(service) as made:
        yield made


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
        await _token_form(root, "kitten")
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


# ---- attacks


def _shown(answer: httpx.Response, status: int, *texts: str) -> None:
    """A page of the bridge that says what happened, and no session."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    for text in texts:
        assert text in answer.text
    assert not [one for one in answer.headers.get_list("set-cookie") if "session" in one]


async def test_what_another_browser_began_is_not_finished(service: Harness, ada: Person) -> None:
    """Else an attacker could have a victim work under the attacker's name, and read along."""
    async with person(service) as mallory:
        way = await mallory.back(await mallory.start())
        _shown(await ada.bridge.get(way), 400, "cannot be finished", "has not begun to sign in")
        await ada.start()
        _shown(await ada.bridge.get(way), 400, "was not begun by this browser")


async def test_a_state_that_was_changed_is_refused(ada: Person, issuer: ServedIssuer) -> None:
    way = await ada.back(await ada.start())
    state = parse_qs(urlsplit(way).query)["state"][0]
    told, _, seal = state.partition(".")
    number, began, _ = json.loads(base64.urlsafe_b64decode(told + "=="))
    evil = base64.urlsafe_b64encode(json.dumps([number, began, "//evil.example"]).encode()).rstrip(b"=")
    for wrong in ("", "x", "." + seal, f"{evil.decode()}.{seal}", told, state + "x", "é" * 9000):
        answer = await ada.bridge.get("/login/callback", params={"state": wrong, "code": "c"})
        _shown(answer, 400, "cannot be finished")
    assert "/token" not in issuer.asked


@pytest.mark.parametrize(
    "changed",
    [{"number": "\ud800"}, {"began": 10**400}, {"return_to": "/\ud800"}, {"return_to": "//evil.example"}],
    ids=["no letter in its number", "an endless time", "no letter in its path", "another site"],
)
async def test_a_state_made_up_with_ones_own_cookie_is_refused(ada: Person, changed: dict[str, Any]) -> None:
    await ada.start()
    cookie = next(one.value for one in ada.bridge.cookies.jar if "login" in one.name)
    number = changed.get("number", "n")
    told = _part([number, changed.get("began", int(time.time())), changed.get("return_to", "/")])
    purpose = f"state {told} {number}".encode("utf-8", "surrogatepass")
    seal = _part(hmac.digest((cookie or "").encode(), purpose, "sha256"))
    answer = await ada.bridge.get("/login/callback", params={"state": f"{told}.{seal}", "code": "c"})
    _shown(answer, 400, "was not begun by this browser")


async def test_an_attempt_is_over_after_ten_minutes(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    way = await ada.back(await ada.start())
    now = time.time()
    later = SimpleNamespace(time=lambda: now + 601)
    monkeypatch.setattr("bridge.service.routes.login.time", later)
    _shown(await ada.bridge.get(way), 400, "more than 10 minutes ago")


async def test_a_code_counts_once(service: Harness, ada: Person, issuer: ServedIssuer) -> None:
    way = await ada.back(await ada.start())
    assert (await ada.bridge.get(way)).status_code == 303
    _shown(await ada.bridge.get(way), 400, "does not count any more", CALLBACK)
    # Also where an issuer gives tokens for it again.
    issuer.codes.update(issuer.used)
    _shown(await ada.bridge.get(way), 400, "finished already")
    # And stolen from the history it is nothing without the browser's own cookie.
    issuer.codes.update(issuer.used)
    async with person(service) as mallory:
        _shown(await mallory.bridge.get(way), 400, "cannot be finished")


def _part(told: Any) -> str:
    raw = told if isinstance(told, bytes) else json.dumps(told).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unsigned(issuer: ServedIssuer, nonce: str) -> str:
    return f"{_part({'alg': 'none', 'kid': 'k1'})}.{issuer.token(nonce).split('.')[1]}."


def _by_the_public_key(issuer: ServedIssuer, nonce: str) -> str:
    public = issuer.signs.keys["k1"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part({'alg': 'HS256', 'kid': 'k1'})}.{issuer.token(nonce).split('.')[1]}"
    return f"{signed}.{_part(hmac.digest(pem, signed.encode(), 'sha256'))}"


STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FORGED: Mapping[str, Any] = {
    "unsigned": _unsigned,
    "by the public key": _by_the_public_key,
    "by a stranger": lambda issuer, nonce: issuer.token(nonce, key=STRANGER),
    "with another nonce": lambda issuer, nonce: issuer.token("other"),
    "without a nonce": lambda issuer, nonce: issuer.token(None),
    "for another client": lambda issuer, nonce: issuer.token(nonce, aud="grafana"),
    "for the API alone": lambda issuer, nonce: issuer.token(nonce, aud="kfbridge"),
    "by way of another client": lambda issuer, nonce: issuer.token(nonce, aud=[CLIENT, "x"], azp="x"),
    "of another issuer": lambda issuer, nonce: issuer.token(nonce, iss="https://evil.example"),
    "without an end": lambda issuer, nonce: issuer.token(nonce, exp=None),
    "that is none": lambda issuer, nonce: "a.b.c",
}


@pytest.mark.parametrize("kind", FORGED)
async def test_an_id_token_that_is_not_genuine(ada: Person, issuer: ServedIssuer, kind: str) -> None:
    issuer.bend = lambda nonce, _: FORGED[kind](issuer, nonce)
    _shown(await ada.sign_in(), 502, "The answer is not genuine", "Sign in again")


async def test_an_answer_of_another_issuer_is_not_redeemed(ada: Person, issuer: ServedIssuer) -> None:
    """Where two issuers are mixed up, one could be made to give its code to the other."""
    way = await ada.back(await ada.start())
    own = f"iss={issuer.url.replace(':', '%3A').replace('/', '%2F')}"
    assert own in way
    for wrong in (way.replace(own, "iss=https%3A%2F%2Fevil.example"), way.replace(own, "x=y")):
        _shown(await ada.bridge.get(wrong), 502, "The answer is not genuine")
    assert "/token" not in issuer.asked


ELSEWHERE = (
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "%2F%2Fevil.example\n",
    "javascript:alert(1)",
    "/login/start?return_to=/",
    "/" + "x" * 2000,
    "",
)


@pytest.mark.parametrize("where", ELSEWHERE)
async def test_nobody_is_led_elsewhere(ada: Person, where: str) -> None:
    start = await ada.bridge.get("/login/start", params={"return_to": where})
    assert (await ada.bridge.get(await ada.back(start))).headers["location"] == "/ml/"
    page = await ada.bridge.get("/login", params={"return_to": where})
    assert "evil" not in page.text
    assert "javascript" not in page.text


async def test_a_session_that_was_there_before_is_not_taken_over(service: Harness, ada: Person) -> None:
    """Whoever planted a cookie, or knew the last one, knows nothing of the new session."""
    await ada.sign_in()
    first = ada.session
    await ada.bridge.get(await ada.back(await ada.bridge.get("/login/start")))
    assert ada.session not in ("", first)
    name = next(one.name for one in ada.bridge.cookies.jar if "session" in one.name)
    async with person(service) as mallory:
        mallory.bridge.cookies.set(name, first, "bridge.example")
        assert (await mallory.bridge.get("/api/v1/session")).status_code == 401
        mallory.bridge.cookies.set(name, "A" * 43, "bridge.example")
        await mallory.sign_in()
        assert mallory.session != "A" * 43


async def test_a_foreign_page_does_nothing_with_the_cookie(ada: Person) -> None:
    await ada.sign_in()
    path = "/api/v1/lineage?project=risk"
    for headers in (
        {},
        {"KFBridge-Page": "1", "Sec-Fetch-Site": "cross-site"},
        {"KFBridge-Page": "1", "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    ):
        refused = await ada.bridge.post(path, json=[], headers=headers)
        assert (refused.status_code, refused.json()["type"][-12:]) == (403, "foreign-page")
    reads = ("/api/v1/runs", "/api/v1/events", "/api/v1/session", "/metrics")
    for read in reads:
        foreign = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}
        assert (await ada.bridge.get(read, headers=foreign)).status_code == 403, read
    # To go there by a link of another page is no foreign page's question.
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await ada.bridge.get("/api/v1/runs", headers=link)).status_code == 200


async def test_what_a_session_is_answered_is_kept_for_nobody_else(ada: Person) -> None:
    assert "cache-control" not in (await ada.bridge.get("/livez")).headers
    await ada.sign_in()
    for path in ("/api/v1/runs", "/api/v1/status", "/ml/api/v1/pipelines"):
        answer = await ada.bridge.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-cache"), path
    # What says so itself is left as it is.
    missing = await ada.bridge.get(f"/api/v1/runs/{uuid4()}")
    assert (missing.status_code, missing.headers.get_list("cache-control")) == (404, ["no-store"])


# ---- what goes wrong, in words


async def test_an_issuer_that_is_away(ada: Person, issuer: ServedIssuer) -> None:
    issuer.away = True
    answer = await ada.bridge.get("/login/start", headers=PAGE)
    _shown(answer, 503, "does not answer", "answered 503", "An API token of the bridge works meanwhile")
    for _ in range(3):
        await ada.bridge.get("/login/start", headers=PAGE)
    assert len(issuer.asked) == 1


async def test_an_issuer_that_goes_away_on_the_way(ada: Person, issuer: ServedIssuer) -> None:
    way = await ada.back(await ada.start())
    issuer.away = True
    _shown(await ada.bridge.get(way), 503, "does not answer")
    issuer.away = False
    assert (await ada.bridge.get(way)).status_code == 303


async def test_an_address_that_hands_out_credentials_is_not_asked(
    database: Database, issuer: ServedIssuer
) -> None:
    issuer.description = {"token_endpoint": "https://169.254.169.254/latest"}
    async with harness(database, **configured(issuer)) as service, person(service) as ada:
        _shown(await ada.sign_in(), 503, "169.254.169.254 is link-local")


@pytest.mark.parametrize(
    ("claims", "status", "texts"),
    [
        (
            {"groups": ["sales", "<b>"]},
            403,
            ("You have no role here", "groups: sales, &lt;b&gt;", "oidc.grants"),
        ),
        ({"groups": None}, 403, ("groups: not there",)),
        ({"sub": "ada\x07"}, 403, ("Your account has no name", "oidc.name_claim")),
        ({"exp": 1000}, 502, ("The clocks do not agree", "NTP", "leeway_seconds (30)")),
        ({"iat": 32_503_680_000, "nbf": 32_503_680_000}, 502, ("The clocks do not agree",)),
    ],
)
async def test_what_is_wrong_with_an_account_or_a_clock_is_said(
    ada: Person, issuer: ServedIssuer, claims: dict[str, Any], status: int, texts: tuple[str, ...]
) -> None:
    issuer.claims |= claims
    _shown(await ada.sign_in(), status, *texts)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        ("access_denied", 403, "You were not let in"),
        ("invalid_scope", 502, "oidc.scopes"),
        ("temporarily_unavailable", 503, "is in trouble"),
        ("<script>", 502, "&lt;script&gt; no &lt;way&gt;"),
    ],
)
async def test_what_the_issuer_says_no_to_is_told(
    ada: Person, issuer: ServedIssuer, error: str, status: int, text: str
) -> None:
    issuer.refuses = {"error": error, "error_description": "no <way>"}
    _shown(await ada.sign_in(), status, text)


async def test_a_wrong_secret_or_redirect_uri_is_told_to_who_can_mend_it(
    database: Database, issuer: ServedIssuer
) -> None:
    async with (
        harness(database, **configured(issuer, client_secret="old")) as service,
        person(service) as ada,
    ):
        _shown(await ada.sign_in(), 502, "does not know the bridge", "oidc.client_id and client_secret")
        issuer.returns = {"https://bridge.example/login/callback"}
        at_issuer = await ada.issuer.get((await ada.start()).headers["location"])
        assert (at_issuer.status_code, CALLBACK in at_issuer.text) == (400, True)


async def test_no_page_leads_round_in_a_circle(ada: Person, issuer: ServedIssuer) -> None:
    """A browser without cookies comes back from the issuer once."""
    way = await ada.back(await ada.start())
    ada.bridge.cookies.clear()
    _shown(await ada.bridge.get(way, headers=PAGE), 400, "has not kept the cookie")


# ---- how long a session counts


async def test_a_session_ends_with_its_time_and_streams_end_with_it(
    database: Database, issuer: ServedIssuer
) -> None:
    quick = {"token_keep_seconds": 0.05, "heartbeat_seconds": 0.05}
    async with harness(database, **configured(issuer), **quick) as service, person(service) as ada:
        await ada.sign_in()

        async def stream() -> int:
            async with ada.bridge.stream("GET", "/api/v1/events") as events:
                return len([line async for line in events.aiter_lines()])

        reading = asyncio.create_task(stream())
        while not service.context.wakeups._numbered:
            await asyncio.sleep(0.005)
        ended = database.transact(lambda s: sessions.end_sessions_of(s, "ada", actor="test"))
        assert ended >= 1
        async with asyncio.timeout(10):
            assert await reading >= 0
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


# ---- with an API token


async def _token_form(ada: Person, token: str, **headers: str) -> httpx.Response:
    return await ada.bridge.post("/login", data={"token": token, "return_to": DEEP}, headers=headers)


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
        _shown(await _token_form(ada, "kfb_wrong"), 401, "does not take this token")
        for foreign in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ):
            assert (await _token_form(ada, text, **foreign)).status_code == 403
        done = await _token_form(ada, text, Origin="https://bridge.example")
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
        assert (await _token_form(ada, text)).status_code == 401
        await _token_form(root, "the token of the settings")
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
        await _token_form(ada, text)
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
