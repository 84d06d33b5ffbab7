"""Who else can tell callers, by settings: an OpenID Connect issuer, a Kubernetes cluster (docs/access.md)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from bridge.domain.access import Role, grants_of, merged
from bridge.kube.access import SERVICE_ACCOUNT_DIR

# What a public key checks. None of these can be forged with what the issuer publishes.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_Projects = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=255)], ...],
    Field(min_length=1, description="The projects where it holds; * is all."),
]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimGrant(_Settings):
    """A role for whoever's token has a value in a claim."""

    claim: str = Field(min_length=1, description="Such as groups; dots lead into objects.")
    value: str = Field(min_length=1, description="What it is, or has among its items.")
    role: Role = Field(description="viewer, submitter, operator or admin.")
    projects: _Projects


class OidcSettings(_Settings):
    """An issuer whose tokens are taken."""

    issuer: str = Field(pattern=r"^https?://", description="The issuer, as its tokens name it.")
    audience: str = Field(min_length=1, description="What its tokens for the bridge are for (aud).")
    algorithms: tuple[str, ...] = Field(
        default=("RS256",), min_length=1, description="The signatures that are taken, and no others."
    )
    jwks_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where its keys are; default: what its /.well-known/openid-configuration says.",
    )
    name_claim: str = Field(default="sub", min_length=1, description="The claim with the caller's name.")
    grants: tuple[ClaimGrant, ...] = Field(default=(), description="Who has which role where.")
    keys_seconds: float = Field(default=600.0, ge=10, le=86_400, description="How long its keys are kept.")
    leeway_seconds: float = Field(default=30.0, ge=0, le=300, description="How far clocks may be apart.")
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long a request to it may take."
    )
    ca_file: Path | None = Field(default=None, description="A PEM bundle of the authorities to trust.")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        description="What the issuer knows the bridge's dashboard as. With it people sign in there; without, "
        "with an API token.",
    )
    client_secret: SecretStr | None = Field(
        default=None, description="What the issuer gave the client; none for a public client."
    )
    scopes: tuple[str, ...] = Field(
        default=("openid", "profile"),
        description="What is asked of the issuer at the sign-in; with openid among them.",
    )
    display_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=60,
        description="What the page to sign in calls the issuer; default: its host.",
    )

    @property
    def shown_name(self) -> str:
        """What people know the issuer as."""
        return self.display_name or urlsplit(self.issuer).netloc

    def roles_of(self, pairs: Collection[tuple[str, str]]) -> dict[str, Role]:
        """The roles by project that pairs of claim and value give."""
        return merged(
            *(grants_of(one.role, one.projects) for one in self.grants if (one.claim, one.value) in pairs)
        )

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        return value if value is None else encrypted(value)

    @field_validator("scopes")
    @classmethod
    def _openid(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in value:
            raise ValueError("openid has to be among them: without it there is no ID token")
        if any(
            not one or not one.isascii() or not one.isprintable() or set(one) & set(' "\\') for one in value
        ):
            raise ValueError("a scope is one word")
        return value

    @model_validator(mode="after")
    def _client(self) -> OidcSettings:
        if self.client_secret is not None and self.client_id is None:
            raise ValueError("client_secret goes with client_id")
        return self

    @field_validator("algorithms")
    @classmethod
    def _of_public_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if one not in ALGORITHMS:
                raise ValueError(f"{one} is none of {', '.join(ALGORITHMS)}")
        return value


def encrypted(url: str) -> str:
    """The address, if nobody on the way can change what it answers. Raises ``ValueError``."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or not (local or parts.scheme == "https"):
        raise ValueError(f"{url} has to be https: whoever can change its answers could be anybody")
    return url


class SubjectGrant(_Settings):
    """A role for a user or group of the cluster."""

    user: str | None = Field(
        default=None, min_length=1, description="Such as system:serviceaccount:airflow:worker."
    )
    group: str | None = Field(
        default=None, min_length=1, description="Such as system:serviceaccounts:team-risk."
    )
    role: Role = Field(description="viewer, submitter, operator or admin.")
    projects: _Projects


class TokenReviewSettings(_Settings):
    """A cluster that is asked whose a token is."""

    audiences: tuple[str, ...] = Field(
        default=("kfbridge",), min_length=1, description="What tokens have to be made for."
    )
    grants: tuple[SubjectGrant, ...] = Field(default=(), description="Who has which role where.")
    keep_seconds: float = Field(
        default=30.0, ge=0, le=600, description="How long what the cluster said of a token counts."
    )
    kubeconfig: Path | None = Field(
        default=None, description="A kubeconfig; without it and context, the pod's service account is used."
    )
    context: str | None = Field(default=None, min_length=1, description="The context of the kubeconfig.")
    service_account_dir: Path = Field(
        default=SERVICE_ACCOUNT_DIR, repr=False, description="Where a pod finds its token and ca.crt."
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long one request to the cluster may take."
    )
