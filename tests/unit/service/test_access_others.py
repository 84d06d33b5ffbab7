"""Callers whom others know: tokens of an OpenID Connect issuer, service accounts of a cluster."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from bridge.domain.access import Role
from bridge.kube.access import KubeApi
from bridge.kube.errors import KubeForbidden
from bridge.kube.reviews import PATH, review_token
from bridge.lineage.database import Database
from bridge.service.access.authentication import Authenticator
from bridge.service.access.issuer import Issuer, IssuerUnavailable
from bridge.service.access.keys import IssuerKeys
from bridge.service.access.oidc import Oidc
from bridge.service.access.reviews import TokenReviews
from bridge.service.access.settings import OidcSettings, TokenReviewSettings
from bridge.service.problems import ProblemError
from bridge.service.settings import ServiceSettings
from bridge.service.settings_sources import load_settings
from tests.support.fake_issuer import ISSUER, FakeIssuer
from tests.unit.service.harness import harness

GRANTS = [
    {"claim": "groups", "value": "ml", "role": "submitter", "projects": ["risk"]},
    {"claim": "realm_access.roles", "value": "on-call", "role": "operator", "projects": ["*"]},
]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def settings(**given: Any) -> OidcSettings:
    return OidcSettings.model_validate({"issuer": ISSUER, "audience": "kfbridge", "grants": GRANTS, **given})


@pytest.fixture(scope="module")
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture(scope="module")
def stranger() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def oidc_of(issuer: FakeIssuer, clock: Clock | None = None, **given: Any) -> Oidc:
    ticking = clock or Clock()
    known = Issuer(settings(**given), issuer.transport(), ticking, issuer.resolve)
    return Oidc(known, IssuerKeys(known, ticking))


async def test_a_token_of_the_issuer_has_the_roles_of_its_claims(issuer: FakeIssuer) -> None:
    oidc = oidc_of(issuer)
    principal = await oidc.principal_of(issuer.token())
    assert principal is not None
    assert (principal.name, principal.kind, dict(principal.grants)) == (
        "ada",
        "oidc",
        {"risk": Role.SUBMITTER},
    )
    both = await oidc.principal_of(issuer.token(realm_access={"roles": ["on-call"]}, aud=["x", "kfbridge"]))
    assert both is not None
    assert dict(both.grants) == {"risk": Role.SUBMITTER, "*": Role.OPERATOR}
    none = await oidc.principal_of(issuer.token(groups=["ml2"], realm_access="on-call"))
    assert none is not None
    assert dict(none.grants) == {}


WRONG: Mapping[str, dict[str, Any]] = {
    "of another issuer": {"iss": "https://issuer.example/other"},
    "for another audience": {"aud": "grafana"},
    "over": {"exp": 1},
    "not yet": {"nbf": 32_503_680_000},
    "without an end": {"exp": None},
    "without an audience": {"aud": None},
    "without a subject": {"sub": None},
    "with a name that is none": {"sub": "ada\nadmin"},
    "with a subject that is no text": {"sub": 7},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
async def test_any_other_token_is_nobodys(changed: dict[str, Any], issuer: FakeIssuer) -> None:
    assert await oidc_of(issuer).principal_of(issuer.token(**changed)) is None


def _part(told: Any) -> str:
    raw = told if isinstance(told, bytes) else json.dumps(told).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unsigned(issuer: FakeIssuer) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT', 'kid': 'k1'})}.{issuer.token().split('.')[1]}."


def _signed_with_the_public_key(issuer: FakeIssuer) -> str:
    """What is taken where the header decides on the algorithm; libraries refuse to make such a token."""
    public = (
        issuer.keys["k1"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{issuer.token().split('.')[1]}"
    return f"{signed}.{_part(hmac.digest(public, signed.encode(), 'sha256'))}"


async def test_no_signature_but_the_issuers_counts(issuer: FakeIssuer, stranger: rsa.RSAPrivateKey) -> None:
    forged = (
        _unsigned(issuer),
        _signed_with_the_public_key(issuer),
        issuer.token(key=stranger),
        issuer.token(algorithm="RS512"),
        issuer.token()[:-4] + "AAAA",
        issuer.token().replace(".", "..", 1),
        "a.b.c",
        "",
    )
    for one in forged:
        assert await oidc_of(issuer).principal_of(one) is None, one


async def test_keys_are_kept_rotate_and_are_not_asked_for_in_a_hurry() -> None:
    issuer, clock = FakeIssuer(), Clock()
    oidc = oidc_of(issuer, clock)
    old = issuer.token()
    for _ in range(5):
        assert await oidc.principal_of(old) is not None
    assert issuer.asked == ["/realm/.well-known/openid-configuration", "/realm/keys"]
    issuer.rotate("k2")
    # Keys were asked for a moment ago.
    assert await oidc.principal_of(issuer.token()) is None
    clock.now += 10
    assert await oidc.principal_of(issuer.token()) is not None
    assert await oidc.principal_of(old) is not None
    count = len(issuer.asked)
    issuer.current = "k1"
    unknown = jwt.encode(
        {"iss": ISSUER, "aud": "kfbridge", "sub": "x", "exp": 9**11},
        issuer.keys["k1"],
        algorithm="RS256",
        headers={"kid": "unheard-of"},
    )
    clock.now += 10
    for _ in range(5):
        assert await oidc.principal_of(unknown) is None
    # Where they are was asked for a moment ago.
    assert len(issuer.asked) == count + 1
    # An issuer that is away takes nothing away from what is known.
    issuer.away = True
    clock.now += 10_000
    assert await oidc.principal_of(old) is not None
    assert len(issuer.asked) == count + 3


async def test_those_who_come_while_the_issuer_is_asked_are_let_in_too() -> None:
    issuer, clock = FakeIssuer(), Clock()
    oidc = oidc_of(issuer, clock)

    async def let_in(*tokens: str) -> list[bool]:
        return [one is not None for one in await asyncio.gather(*map(oidc.principal_of, tokens))]

    old = issuer.token()
    assert await let_in(old, old, old) == [True, True, True]
    assert issuer.asked == ["/realm/.well-known/openid-configuration", "/realm/keys"]
    issuer.rotate("k2")
    clock.now += 10
    assert await let_in(issuer.token(), old, issuer.token()) == [True, True, True]
    assert issuer.asked[2:] == ["/realm/keys"]


async def test_who_leaves_while_the_issuer_is_asked_keeps_nobody_else_away() -> None:
    issuer = FakeIssuer()
    oidc = oidc_of(issuer)
    leaving, staying = (asyncio.ensure_future(oidc.principal_of(issuer.token())) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is not None


async def test_a_known_description_and_key_count_while_the_issuer_is_asked_again() -> None:
    issuer, clock, goes_on = FakeIssuer(), Clock(), asyncio.Event()
    goes_on.set()

    async def resolve(host: str, port: int) -> list[str]:
        await goes_on.wait()
        return await issuer.resolve(host, port)

    known = Issuer(settings(), issuer.transport(), clock, resolve)
    oidc = Oidc(known, IssuerKeys(known, clock))
    assert await oidc.principal_of(issuer.token()) is not None
    clock.now += 10_000
    goes_on.clear()
    asking = asyncio.ensure_future(oidc.principal_of(issuer.token()))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await oidc.principal_of(issuer.token()) is not None
        assert (await known.provider()).jwks_uri == f"{ISSUER}/keys"
    assert not asking.done()
    goes_on.set()
    assert await asking is not None


async def test_an_issuer_that_was_never_heard_is_told_as_such() -> None:
    issuer, clock = FakeIssuer(away=True), Clock()
    oidc = oidc_of(issuer, clock)
    for _ in range(2):
        with pytest.raises(ProblemError) as told:
            await oidc.principal_of(issuer.token())
        assert (told.value.slug, told.value.problem.retryable) == ("identity-unavailable", True)
    assert len(issuer.asked) == 1
    issuer.away = False
    issuer.says_issuer = "https://elsewhere.example"
    clock.now += 10
    with pytest.raises(ProblemError):
        await oidc.principal_of(issuer.token())
    # What the issuer may not know anything of does not depend on it.
    assert await oidc.principal_of(issuer.token(iss="https://other.example")) is None


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\x00"])
async def test_authorities_that_cannot_be_read_are_told_as_such(
    issuer: FakeIssuer, tmp_path: Path, content: bytes | None
) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    given = settings(ca_file=ca_file)
    with pytest.raises(IssuerUnavailable, match=r"oidc\.ca_file .*ca\.pem cannot be used"):
        await Issuer(given, issuer.transport(), resolve=issuer.resolve).provider()
    with pytest.raises(ProblemError) as told:
        await oidc_of(issuer, ca_file=ca_file).principal_of(issuer.token())
    assert told.value.slug == "identity-unavailable"


async def test_a_key_that_is_none_does_not_keep_the_others_away() -> None:
    whole = FakeIssuer()
    broken = [{"kty": "RSA", "kid": ["k"]}, {"kty": "RSA", "alg": ["RS256"], "kid": "k"}, {"kty": 7}, "k", {}]
    whole.broken_keys = broken
    assert await oidc_of(whole).principal_of(whole.token()) is not None


async def test_elliptic_keys_count_where_the_settings_say_so() -> None:
    issuer = FakeIssuer()
    issuer.rotate("e1", elliptic=True)
    token = issuer.token(algorithm="ES256")
    assert await oidc_of(issuer).principal_of(token) is None
    assert await oidc_of(issuer, algorithms=["RS256", "ES256"]).principal_of(token) is not None
    # The header names an algorithm that the key is not for.
    issuer.current = "k1"
    mixed = issuer.token(key=issuer.keys["e1"], algorithm="ES256")
    assert await oidc_of(issuer, algorithms=["RS256", "ES256"]).principal_of(mixed) is None


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"algorithms": ["HS256"]}, "HS256 is none of"),
        ({"algorithms": ["none"]}, "none is none of"),
        ({"issuer": "http://issuer.example"}, "has to be https"),
        ({"jwks_url": "http://issuer.example/keys"}, "has to be https"),
        ({"grants": [{**GRANTS[0], "role": "root"}]}, "viewer"),
        ({"grants": [{**GRANTS[0], "projects": []}]}, "at least 1 item"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        settings(**given)


class FakeReviews:
    """As much of ``KubeApi`` as a review needs."""

    def __init__(self, *, audiences: list[str] | None = None) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.audiences = ["kfbridge"] if audiences is None else audiences
        self.error: Exception | None = None

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        assert path == PATH
        assert body["spec"]["audiences"] == ["kfbridge"]
        self.asked.append(body["spec"]["token"])
        if self.error is not None:
            raise self.error
        user = self.known.get(body["spec"]["token"])
        if user is None:
            return {"status": {"authenticated": False, "error": "unknown"}}
        return {"status": {"authenticated": True, "user": user, "audiences": self.audiences}}

    @property
    def api(self) -> KubeApi:
        return cast(KubeApi, self)


WORKER = "system:serviceaccount:airflow:worker"


def reviewing(fake: FakeReviews, clock: Clock | None = None) -> TokenReviews:
    grants = [
        {"user": WORKER, "role": "submitter", "projects": ["risk"]},
        {"group": "system:serviceaccounts:airflow", "role": "viewer", "projects": ["*"]},
        {"group": "others", "role": "admin", "projects": ["*"]},
    ]
    return TokenReviews(TokenReviewSettings.model_validate({"grants": grants}), fake.api, clock or Clock())


async def test_a_service_account_has_the_roles_of_its_name_and_groups() -> None:
    fake, clock = FakeReviews(), Clock()
    fake.known["a.b.c"] = {"username": WORKER, "groups": ["system:serviceaccounts:airflow"]}
    reviews = reviewing(fake, clock)
    for _ in range(3):
        principal = await reviews.principal_of("a.b.c")
        assert principal is not None
        assert principal.name == WORKER
        assert dict(principal.grants) == {"risk": Role.SUBMITTER, "*": Role.VIEWER}
    assert fake.asked == ["a.b.c"]
    del fake.known["a.b.c"]
    clock.now += 30
    for _ in range(3):
        assert await reviews.principal_of("a.b.c") is None
    assert len(fake.asked) == 2
    # What has not the shape of such a token is not shown to the cluster.
    assert await reviews.principal_of("secret") is None
    assert len(fake.asked) == 2


@pytest.mark.parametrize("audiences", [[], ["https://kubernetes.default.svc"]])
def test_a_token_for_others_or_for_nobody_said_is_not_taken(audiences: list[str]) -> None:
    fake = FakeReviews(audiences=audiences)
    fake.known["a.b.c"] = {"username": WORKER}
    assert review_token(fake.api, "a.b.c", ["kfbridge"]) is None


async def test_a_cluster_that_cannot_be_asked_is_told_as_such_and_asked_again() -> None:
    fake = FakeReviews()
    fake.error = KubeForbidden("tokenreviews is forbidden")
    reviews = reviewing(fake)
    with pytest.raises(ProblemError) as told:
        await reviews.principal_of("a.b.c")
    assert told.value.slug == "identity-unavailable"
    fake.error, fake.known["a.b.c"] = None, {"username": WORKER}
    assert await reviews.principal_of("a.b.c") is not None


async def test_the_service_takes_whichever_token_somebody_knows(database: Database) -> None:
    issuer, fake = FakeIssuer(), FakeReviews()
    fake.known["a.b.c"] = {"username": WORKER}
    async with harness(database, require_tokens=True) as service:
        context = service.context
        verifiers = (oidc_of(issuer), reviewing(fake))
        context.authenticator = Authenticator(context.settings, context.store, verifiers)

        async def status_of(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await service.client.post(
                "/api/v1/lineage", params={"project": "risk"}, json=[], headers=headers
            )
            return answer.status_code

        assert await status_of(issuer.token()) == 202
        assert await status_of("a.b.c") == 202
        assert await status_of(issuer.token(groups=[])) == 403
        assert await status_of("d.e.f") == 401
        issuer_away = FakeIssuer(away=True)
        context.authenticator = Authenticator(context.settings, context.store, (oidc_of(issuer_away),))
        assert await status_of(issuer_away.token()) == 503


def test_the_file_names_who_else_can_tell_callers(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text(
        """
host = "0.0.0.0"

[oidc]
issuer = "https://login.example"
audience = "kfbridge"
grants = [{ claim = "groups", value = "ml-risk", role = "submitter", projects = ["risk"] }]

[token_review]
grants = [{ user = "system:serviceaccount:airflow:worker", role = "submitter", projects = ["risk"] }]
"""
    )
    found = load_settings({}, config_file=tmp_path / "bridge.toml")
    assert found.asks_who()
    assert found.oidc is not None
    assert found.oidc.grants[0].role is Role.SUBMITTER
    assert found.token_review is not None
    assert found.token_review.audiences == ("kfbridge",)
    assert not ServiceSettings().asks_who()
