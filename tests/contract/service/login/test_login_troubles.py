"""What goes wrong when somebody signs in, in words that help."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.lineage.database import Database
from tests.contract.service.login.people import (
    CALLBACK,
    PAGE,
    Person,
    configured,
    person,
    shown,
)
from tests.support.served_issuer import ServedIssuer
from tests.unit.service.harness import harness


async def test_an_issuer_that_is_away(ada: Person, issuer: ServedIssuer) -> None:
    issuer.away = True
    answer = await ada.bridge.get("/login/start", headers=PAGE)
    shown(answer, 503, "does not answer", "answered 503", "An API token of the bridge works meanwhile")
    for _ in range(3):
        await ada.bridge.get("/login/start", headers=PAGE)
    assert len(issuer.asked) == 1


async def test_an_issuer_that_goes_away_on_the_way(ada: Person, issuer: ServedIssuer) -> None:
    way = await ada.back(await ada.start())
    issuer.away = True
    shown(await ada.bridge.get(way), 503, "does not answer")
    issuer.away = False
    assert (await ada.bridge.get(way)).status_code == 303


async def test_an_address_that_hands_out_credentials_is_not_asked(
    database: Database, issuer: ServedIssuer
) -> None:
    issuer.description = {"token_endpoint": "https://169.254.169.254/latest"}
    async with harness(database, **configured(issuer)) as service, person(service) as ada:
        shown(await ada.sign_in(), 503, "169.254.169.254 is link-local")


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
    shown(await ada.sign_in(), status, *texts)


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
    shown(await ada.sign_in(), status, text)


async def test_a_wrong_secret_or_redirect_uri_is_told_to_who_can_mend_it(
    database: Database, issuer: ServedIssuer
) -> None:
    async with (
        harness(database, **configured(issuer, client_secret="old")) as service,
        person(service) as ada,
    ):
        shown(await ada.sign_in(), 502, "does not know the bridge", "oidc.client_id and client_secret")
        issuer.returns = {"https://bridge.example/login/callback"}
        at_issuer = await ada.issuer.get((await ada.start()).headers["location"])
        assert (at_issuer.status_code, CALLBACK in at_issuer.text) == (400, True)


async def test_no_page_leads_round_in_a_circle(ada: Person, issuer: ServedIssuer) -> None:
    """A browser without cookies comes back from the issuer once."""
    way = await ada.back(await ada.start())
    ada.bridge.cookies.clear()
    shown(await ada.bridge.get(way, headers=PAGE), 400, "has not kept the cookie")
