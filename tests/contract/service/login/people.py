"""Somebody with a browser, and the service that they sign in to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from bridge.service.access.settings import OidcSettings
from tests.support.served_issuer import CLIENT, CLIENT_SECRET, ServedIssuer
from tests.unit.service.harness import Harness

BASE = "https://bridge.example/ml"
CALLBACK = f"{BASE}/login/callback"
DEEP = "/runs/6e1f1f3a-52b4-4f0e-9a3c-0d7c1f1b2a10?tab=logs&task=train"
PAGE = {"Accept": "text/html"}
OWN = {"Sec-Fetch-Site": "same-origin", "KFBridge-Page": "1"}
GRANTS = [{"claim": "groups", "value": "ml", "role": "submitter", "projects": ["risk"]}]


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


def shown(answer: httpx.Response, status: int, *texts: str) -> None:
    """A page of the bridge that says what happened, and no session."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    for text in texts:
        assert text in answer.text
    assert not [one for one in answer.headers.get_list("set-cookie") if "session" in one]


async def token_form(ada: Person, token: str, **headers: str) -> httpx.Response:
    """Sign in by the form of the page, with an API token."""
    return await ada.bridge.post("/login", data={"token": token, "return_to": DEEP}, headers=headers)
