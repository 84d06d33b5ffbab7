"""Tokens for a client's id and secret: kept while they are good, renewed in time, and after a refusal."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
import pytest
from pydantic import ValidationError

from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.credentials import ClientCredentials
from bridge.kfp_api.errors import KfpAuthError, KfpError, KfpUnreachable
from bridge.service.backend_settings import BackendSettings
from bridge.service.backends import open_backend

URL = "https://login.example/token"


@dataclass
class Server:
    """A token server, and the KFP that takes its newest token."""

    now: float = 0.0
    given: int = 0
    answer: Callable[[], httpx.Response] | None = None
    asked: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    seen: list[httpx.Headers] = field(default_factory=list)

    def credentials(self, secret: TokenSource | None = None, **given: Any) -> ClientCredentials:
        return ClientCredentials(
            URL,
            "the bridge",
            secret or TokenSource.from_value("s3cret%"),
            transport=httpx.MockTransport(self._tokens),
            clock=lambda: self.now,
            **given,
        )

    def client(self, credentials: ClientCredentials, **given: Any) -> KfpClient:
        return KfpClient(
            "http://kfp.example", token=credentials, transport=httpx.MockTransport(self._kfp), **given
        )

    def _tokens(self, request: httpx.Request) -> httpx.Response:
        encoded = request.headers["authorization"].removeprefix("Basic ")
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
        self.asked.append((unquote(name), unquote(secret), parse_qs(request.content.decode())))
        if self.answer is not None:
            return self.answer()
        self.given += 1
        return httpx.Response(200, json={"access_token": f"t{self.given}", "expires_in": 100})

    def _kfp(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.headers)
        refused = request.headers["authorization"].removeprefix("Bearer ") in self.refused
        return httpx.Response(401 if refused else 200, json={"runs": []})


async def test_a_token_is_asked_for_once_and_again_before_its_end() -> None:
    server = Server()
    credentials = server.credentials(scope="kfp", audience="pipelines")
    assert [await credentials.current() for _ in range(3)] == ["t1"] * 3
    form = {"grant_type": ["client_credentials"], "scope": ["kfp"], "audience": ["pipelines"]}
    assert server.asked == [("the bridge", "s3cret%", form)]
    server.now = 79.0
    assert await credentials.current() == "t1"
    server.now = 80.0
    assert await credentials.current() == "t2"
    assert "s3cret" not in repr(credentials)


async def test_after_a_refusal_another_token_is_tried_once() -> None:
    server = Server(refused={"t1"})
    async with server.client(server.credentials(), headers={"X-Gateway": "team"}) as client:
        await client.list_runs()
        assert [one["authorization"] for one in server.seen] == ["Bearer t1", "Bearer t2"]
        assert {one["x-gateway"] for one in server.seen} == {"team"}
        server.refused = {"t2", "t3", "t4"}
        with pytest.raises(KfpAuthError):
            await client.list_runs()
    assert server.given == 3


async def test_a_secret_in_a_file_is_read_when_it_is_needed(tmp_path: Path) -> None:
    server, path = Server(), tmp_path / "secret"
    path.write_text("first\n")
    credentials = server.credentials(TokenSource.from_file(path))
    await credentials.current()
    path.write_text("second\n")
    await credentials.renewed("t1")
    assert [secret for _, secret, _ in server.asked] == ["first", "second"]


@pytest.mark.parametrize(
    ("status", "told", "kind", "complaint"),
    [
        (401, {"error": "invalid_client"}, KfpAuthError, "answered 401: invalid_client"),
        (200, {"token_type": "bearer"}, KfpAuthError, "no access_token"),
        (200, {"access_token": "a b"}, KfpAuthError, "no bearer token"),
        (200, {"access_token": "a", "token_type": "mac"}, KfpAuthError, "no bearer token"),
        (503, {}, KfpUnreachable, "answered 503"),
    ],
)
async def test_what_the_server_does_not_give_is_said(
    status: int, told: dict[str, str], kind: type[KfpError], complaint: str
) -> None:
    server = Server(answer=lambda: httpx.Response(status, json=told))
    with pytest.raises(kind, match=complaint) as error:
        await server.credentials().current()
    assert "s3cret" not in str(error.value)
    assert getattr(error.value, "ambiguous", False) is False


async def test_a_server_that_is_away_leaves_nothing_in_doubt() -> None:
    def away() -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(KfpUnreachable) as error:
        await Server(answer=away).credentials().current()
    assert (error.value.sent, error.value.ambiguous) == (False, False)


GOOD = {"token_url": URL, "client_id": "bridge", "client_secret": "s"}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"headers": {"kubeflow-userid": "a@b"}}, "kubeflow-userid is not sent"),
        ({"headers": {"Kubeflow_UserID": "a@b"}}, "is not sent"),
        ({"headers": {"Authorization": "x"}}, "no header that can be set"),
        ({"headers": {"X-A\r\nB": "x"}}, "no header that can be set"),
        ({"headers": {"X-A": "x\r\nkubeflow-userid: y"}}, "printable ASCII"),
        ({"token": "t", "client_credentials": GOOD}, "not several"),
        ({"client_credentials": {**GOOD, "client_secret_file": "f"}}, "client_secret or client_secret_file"),
        ({"client_credentials": {**GOOD, "token_url": "http://login.example"}}, "has to be https"),
    ],
)
def test_settings_that_would_do_harm_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        BackendSettings.model_validate({"url": "http://kfp", **given})


async def test_settings_make_a_client_with_both() -> None:
    settings = BackendSettings.model_validate(
        {"url": "http://kfp", "client_credentials": GOOD, "headers": {"X-Gateway": "team"}}
    )
    assert "'s'" not in repr(settings)
    backend = open_backend(settings)
    await backend.client.aclose()
