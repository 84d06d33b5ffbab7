"""Who else can tell callers, by settings: an OpenID Connect issuer, a Kubernetes cluster (docs/access.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bridge.domain.access import Role
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

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError(f"{value} has to be https: whoever can change its answers could be anybody")
        return value

    @field_validator("algorithms")
    @classmethod
    def _of_public_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if one not in ALGORITHMS:
                raise ValueError(f"{one} is none of {', '.join(ALGORITHMS)}")
        return value


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
