"""What must not get through when somebody signs in with a browser."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.contract.service.login.people import (
    CALLBACK,
    Person,
    person,
    shown,
)
from tests.support.served_issuer import CLIENT, ServedIssuer
from tests.unit.service.harness import Harness


async def test_what_another_browser_began_is_not_finished(service: Harness, ada: Person) -> None:
    """Else an attacker could have a victim work under the attacker's name, and read along."""
    async with person(service) as mallory:
        way = await mallory.back(await mallory.start())
        shown(await ada.bridge.get(way), 400, "cannot be finished", "has not begun to sign in")
        await ada.start()
        shown(await ada.bridge.get(way), 400, "was not begun by this browser")


async def test_a_state_that_was_changed_is_refused(ada: Person, issuer: ServedIssuer) -> None:
    way = await ada.back(await ada.start())
    state = parse_qs(urlsplit(way).query)["state"][0]
    told, _, seal = state.partition(".")
    number, began, _ = json.loads(base64.urlsafe_b64decode(told + "=="))
    evil = base64.urlsafe_b64encode(json.dumps([number, began, "//evil.example"]).encode()).rstrip(b"=")
    for wrong in ("", "x", "." + seal, f"{evil.decode()}.{seal}", told, state + "x", "é" * 9000):
        answer = await ada.bridge.get("/login/callback", params={"state": wrong, "code": "c"})
        shown(answer, 400, "cannot be finished")
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
    shown(answer, 400, "was not begun by this browser")


async def test_an_attempt_is_over_after_ten_minutes(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    way = await ada.back(await ada.start())
    now = time.time()
    later = SimpleNamespace(time=lambda: now + 601)
    monkeypatch.setattr("bridge.service.routes.login.time", later)
    shown(await ada.bridge.get(way), 400, "more than 10 minutes ago")


async def test_a_code_counts_once(service: Harness, ada: Person, issuer: ServedIssuer) -> None:
    way = await ada.back(await ada.start())
    assert (await ada.bridge.get(way)).status_code == 303
    shown(await ada.bridge.get(way), 400, "does not count any more", CALLBACK)
    # Also where an issuer gives tokens for it again.
    issuer.codes.update(issuer.used)
    shown(await ada.bridge.get(way), 400, "finished already")
    # And stolen from the history it is nothing without the browser's own cookie.
    issuer.codes.update(issuer.used)
    async with person(service) as mallory:
        shown(await mallory.bridge.get(way), 400, "cannot be finished")


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
    shown(await ada.sign_in(), 502, "The answer is not genuine", "Sign in again")


async def test_an_answer_of_another_issuer_is_not_redeemed(ada: Person, issuer: ServedIssuer) -> None:
    """Where two issuers are mixed up, one could be made to give its code to the other."""
    way = await ada.back(await ada.start())
    own = f"iss={issuer.url.replace(':', '%3A').replace('/', '%2F')}"
    assert own in way
    for wrong in (way.replace(own, "iss=https%3A%2F%2Fevil.example"), way.replace(own, "x=y")):
        shown(await ada.bridge.get(wrong), 502, "The answer is not genuine")
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
