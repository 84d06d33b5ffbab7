"""The settings of one backend, and of what projects may have there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from bridge.domain.uris import normalise_uri
from bridge.service.admission_settings import AdmissionSettings
from bridge.service.kube_settings import KubernetesSettings


class PriceSettings(BaseModel):
    """What an hour of a resource costs: at one backend, or at all that have no price of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: str = Field(
        min_length=1,
        max_length=255,
        description="cpu (a core), memory (a GiB), or an accelerator by its name, such as nvidia.com/gpu.",
    )
    per_hour: float = Field(ge=0, allow_inf_nan=False, description="The price of an hour.")
    backend: str | None = Field(default=None, description="The backend's name; left out: every backend.")


class ProjectSettings(BaseModel):
    """What one project may have; what is not given is as for every project."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_active_runs: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Runs sent to one backend and not ended, at most."
    )
    max_queued_runs: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Runs waiting in the queue, at most."
    )
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="Its part of a backend's places against other projects'."
    )
    admission: AdmissionSettings = Field(
        default_factory=AdmissionSettings,
        description="Rules for its pipelines; what is not said is as for all.",
    )
    namespaces: tuple[Annotated[str, Field(min_length=1, max_length=63)], ...] = Field(
        default=(),
        description="The KFP namespaces its runs may go to; the first that a backend follows is the default "
        "of its submissions there. Empty: any.",
    )
    content_roots: tuple[Path, ...] = Field(
        default=(), description="Folders of its artifacts' content, instead of the general content_roots."
    )
    content_stores: tuple[str, ...] = Field(
        default=(),
        description="Beginnings of s3 and gs URIs of its artifacts' content, instead of the general ones.",
    )

    @field_validator("content_stores")
    @classmethod
    def _stores_in_one_spelling(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return stores_in_one_spelling(value)


def stores_in_one_spelling(value: tuple[str, ...]) -> tuple[str, ...]:
    """Beginnings of URIs of objects, normalised. Raises ``ValueError`` for what is none."""
    for one in value:
        if not one.startswith(("s3://", "gs://")) or one in ("s3://", "gs://"):
            raise ValueError(f"{one!r} is no beginning of an s3 or gs URI: s3://bucket, gs://bucket/path")
    return tuple(normalise_uri(one) for one in value)


_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
# What a gateway in front of KFP says of a caller: whoever may set it is whoever they like.
_USER_HEADER = "kubeflow-userid"
_HEADERS_OF_ITS_OWN = (
    *("authorization", "host", "accept", "content-type", "content-length"),
    *("connection", "transfer-encoding"),
)


class ClientCredentialsSettings(BaseModel):
    """An OAuth 2.0 server that gives the bridge its token for a backend."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_url: str = Field(pattern=r"^https?://", description="Where tokens are given.")
    client_id: str = Field(min_length=1, description="The bridge's client id there.")
    client_secret: SecretStr | None = Field(default=None, description="Its secret.")
    client_secret_file: Path | None = Field(
        default=None, description="A file with the secret; read again when it changed."
    )
    scope: str | None = Field(default=None, min_length=1, description="The scopes asked for.")
    audience: str | None = Field(default=None, min_length=1, description="Whom the token is for, if asked.")

    @model_validator(mode="after")
    def _one_secret(self) -> ClientCredentialsSettings:
        if (self.client_secret is None) == (self.client_secret_file is None):
            raise ValueError("client_credentials: give client_secret or client_secret_file")
        parts = urlsplit(self.token_url)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("client_credentials: token_url has to be https: the secret is sent there")
        return self


class BackendSettings(BaseModel):
    """One backend: anything that serves KFP's v2beta1 API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="default", min_length=1, max_length=64, description="What submissions call it.")
    # Credentials may stand in addresses.
    url: str = Field(
        pattern=r"^https?://",
        repr=False,
        description="The KFP UI or gateway address; it also carries /ml_metadata.",
    )
    metadata_url: str | None = Field(
        default=None,
        repr=False,
        pattern=r"^https?://",
        description="Where MLMD's gRPC-web is served, if not under url.",
    )
    metadata: Literal["auto", "mlmd", "native"] = Field(
        default="auto",
        description="Which shape of metadata is read: what the server says it has, or always this one.",
    )
    ui_url: str | None = Field(
        default=None,
        repr=False,
        pattern=r"^https?://",
        description="The KFP UI that links point to; default: url.",
    )
    token: SecretStr | None = Field(default=None, description="A bearer token.")
    token_file: Path | None = Field(
        default=None, description="A file with the bearer token; read again when it changed and after a 401."
    )
    client_credentials: ClientCredentialsSettings | None = Field(
        default=None, description="An OAuth 2.0 server that gives the token; instead of the two."
    )
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict,
        description="Headers sent with every request, for a gateway. Never kubeflow-userid: who may set that "
        "is whoever they like, and a cluster takes it from its own gateway alone.",
    )
    ca_file: Path | None = Field(default=None, description="A PEM bundle of the authorities to trust.")
    namespaces: tuple[str, ...] = Field(
        default=("",),
        description="The namespaces to follow; multi-user KFP refuses a list without one. The first is the "
        'default of submissions. "" is single-user KFP.',
    )
    timeout_seconds: float = Field(default=30.0, gt=0, le=600, description="How long one request may take.")
    tick_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="From one sweep to the next at least; the bridge makes the pause at least 20 times as "
        "long as the last sweep took.",
    )
    idle_tick_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="The pause while no run of the bridge is unfinished there."
    )
    slow_sweep_seconds: float = Field(
        default=3.0, gt=0, le=3600, description="The shortest pause between two sweeps over unfinished runs."
    )
    orphan_grace_seconds: float = Field(
        default=120.0, ge=0, description="How long KFP spares a Workflow without a row (its own setting)."
    )
    agent_backoff_seconds: float = Field(
        default=360.0, ge=0, description="The longest backoff of KFP's persistence agent."
    )
    lookup_interval_seconds: float = Field(
        default=2.0, gt=0, description="How often a run is looked up after an unanswered POST."
    )
    requests_per_second: float = Field(
        default=200.0,
        gt=0,
        le=10_000,
        description="How many requests a process sends there in the long run, of all its workers together.",
    )
    request_burst: int = Field(
        default=400, ge=1, le=100_000, description="How many requests may go out at once after a quiet time."
    )
    breaker_failures: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="So many requests that fail in a row open the circuit: nothing is sent for a while.",
    )
    breaker_seconds: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="How long the circuit stays open at first; doubled while the backend is still away.",
    )
    breaker_longest_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="How long it stays open at most."
    )
    max_submitting: int = Field(default=8, ge=1, le=256, description="POSTs under way at the same time.")
    max_active_runs: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Runs sent there and not ended, of all projects together; no bound, if absent.",
    )
    found_runs_project: str = Field(
        default="default", min_length=1, description="The project of runs that others started there."
    )
    import_days: float = Field(
        default=30.0,
        ge=0,
        le=36_500,
        description="How far back runs are imported that were there before the bridge was; 0 imports none.",
    )
    import_runs: int = Field(
        default=10_000, ge=0, le=10_000_000, description="How many of them at most, the newest first."
    )
    kubernetes: KubernetesSettings = Field(
        default_factory=KubernetesSettings,
        description="Whether and how the cluster behind it is asked: docs/kubernetes-watch.md.",
    )

    @model_validator(mode="before")
    @classmethod
    def _namespaces_from_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("namespaces"), str):
            names = tuple(part.strip() for part in value["namespaces"].split(","))
            return value | {"namespaces": names}
        return value

    @field_validator("headers")
    @classmethod
    def _harmless(cls, value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, text in value.items():
            plain = name.lower().replace("_", "-")
            if plain == _USER_HEADER:
                raise ValueError(f"{name} is not sent: use a token, so that KFP sees who the bridge is")
            if plain in _HEADERS_OF_ITS_OWN or not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name} is no header that can be set here")
            if not text.get_secret_value().isascii() or not text.get_secret_value().isprintable():
                raise ValueError(f"the value of {name} has characters other than printable ASCII")
        return value

    @model_validator(mode="after")
    def _one_token(self) -> BackendSettings:
        given = (self.token, self.token_file, self.client_credentials)
        if sum(one is not None for one in given) > 1:
            raise ValueError(
                f"backend {self.name}: give token or token_file or client_credentials, not several of them"
            )
        if not self.namespaces:
            raise ValueError(f'backend {self.name}: namespaces must not be empty; [""] is single-user KFP')
        return self
