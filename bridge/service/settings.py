"""Every setting of the service: typed, and passed in. ``settings_sources`` reads them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from bridge.domain.fairness import Share
from bridge.domain.redaction import is_secret_name
from bridge.domain.uris import local_path, normalise_uri
from bridge.service.access.settings import OidcSettings, TokenReviewSettings
from bridge.service.admission_settings import AdmissionSettings
from bridge.service.airflow_settings import AirflowSettings
from bridge.service.backend_settings import (
    BackendSettings,
    PriceSettings,
    ProjectSettings,
    stores_in_one_spelling,
)
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.retention_settings import RetentionSettings
from bridge.service.rooted import is_inside
from bridge.service.settings_secrets import secrets_in
from bridge.service.telemetry_settings import TelemetrySettings
from bridge.service.webhook_settings import WebhookSettings

# In the environment with commas between their items.
_LISTS = ("allowed_hosts", "content_hosts", "content_stores")


class SettingsError(ValueError):
    """The settings do not make sense together; the text names the setting and what to do."""


class ServiceSettings(BaseModel):
    """The settings of one service process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: str = Field(
        default="sqlite:///kfbridge.db",
        repr=False,
        pattern=r"^(sqlite|postgresql|postgres)(\+\w+)?://",
        description="sqlite:///path or postgresql://user:password@host/name.",
    )
    database_patience_seconds: float = Field(
        default=5.0, gt=0, le=300, description="How long a request waits for a database that does not answer."
    )
    host: str = Field(default="127.0.0.1", description="The address to serve on.")
    port: int = Field(default=8700, ge=0, le=65535, description="The port to serve on; 0 chooses a free one.")
    api_token: SecretStr | None = Field(
        default=None,
        description="A bearer token that may do everything in every project.",
    )
    require_tokens: bool = Field(
        default=False,
        description="Whether callers must send a token, such as kfbridge token makes, although there is no "
        "api_token. When host is not a loopback address, callers have to be asked one way or the other.",
    )
    token_keep_seconds: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="How long what was found of a token counts: a revocation takes effect after it.",
    )
    session_seconds: float = Field(
        default=28_800.0,
        ge=60,
        le=2_592_000,
        description="How long somebody who signed in with a browser stays so.",
    )
    oidc: OidcSettings | None = Field(
        default=None, description="An OpenID Connect issuer whose tokens are taken; none, if absent."
    )
    token_review: TokenReviewSettings | None = Field(
        default=None, description="A cluster that is asked whose a token is; none, if absent."
    )
    public_url: str | None = Field(
        default=None, pattern=r"^https?://", description="How browsers reach the service; links use it."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Further names under which the service may be asked, in Host; *.example.org for all "
        "under it, * for any. Addresses, loopback names, host and public_url's are always among them. Empty: "
        "any name, as long as callers have to say who they are.",
    )
    backends: tuple[BackendSettings, ...] = Field(
        default=(), description="The backends, the first the default."
    )
    max_active_runs: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Runs of one project sent to one backend and not ended; more wait in the queue.",
    )
    max_queued_runs: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="Runs of one project in the queue; beyond, its submissions are answered 429.",
    )
    max_queued_runs_overall: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Runs of all projects in the queue; beyond, submissions are answered 503.",
    )
    projects: Mapping[str, ProjectSettings] = Field(
        default_factory=dict, description="What single projects may have instead."
    )
    admission: AdmissionSettings = Field(
        default_factory=AdmissionSettings, description="Rules for the pipelines of every project."
    )
    caller_requests_per_second: float = Field(
        default=1000.0,
        gt=0,
        le=1_000_000,
        description="How many requests one caller may send in the long run; beyond, 429.",
    )
    caller_request_burst: int = Field(
        default=10_000, ge=1, le=10_000_000, description="How many at once after a quiet time."
    )
    caller_open_requests: int = Field(
        default=5000,
        ge=1,
        le=10_000_000,
        description="How many requests of a caller may wait for answers, streams included; beyond, 429.",
    )
    openlineage: OpenLineageSettings | None = Field(
        default=None, description="Who is sent OpenLineage events of runs and tasks; nobody, if absent."
    )
    telemetry: TelemetrySettings | None = Field(
        default=None, description="Where traces are sent; nowhere, if absent."
    )
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="What is removed when; nothing, if absent."
    )
    webhooks: tuple[WebhookSettings, ...] = Field(
        default=(), description="Webhooks that kfbridge apply writes into the database."
    )
    prices: tuple[PriceSettings, ...] = Field(
        default=(), description="What an hour of a resource costs; what has no price costs nothing."
    )
    currency: str = Field(default="USD", min_length=1, max_length=16, description="What the prices are in.")
    workers: bool = Field(default=True, description="Whether this process also runs the workers.")
    airflow_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Airflow's address, for links from runs to tasks; it may show pages in a frame.",
    )
    airflow: AirflowSettings | None = Field(
        default=None, description="How tasks are cleared in Airflow; if absent, pages show the command."
    )
    migrate: bool = Field(
        default=False, description="Migrate a PostgreSQL database at start (SQLite always is)."
    )
    max_request_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1024, description="The largest request body that is read."
    )
    max_content_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="The largest artifact content that is passed through."
    )
    content_roots: tuple[Path, ...] = Field(
        default=(),
        description="Folders whose files are passed through as artifact content. Empty: any file, as long as "
        "host is a loopback address, and none otherwise.",
    )
    content_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts (host or host:port) that are asked whether an artifact with an http or https URI "
        "is there. Empty: any, as long as host is a loopback address, and none otherwise.",
    )
    content_stores: tuple[str, ...] = Field(
        default=(),
        description="Beginnings of s3 and gs URIs whose objects are passed through, and looked for: "
        "s3://bucket, gs://bucket/models. Empty: none.",
    )
    content_options: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="Options of fsspec for a kind of store, s3 or gcs: endpoint_url, key, secret …",
    )
    content_read_seconds: float = Field(
        default=30.0, gt=0, le=600, description="How long one question to a store of artifacts may take."
    )
    content_check_seconds: float = Field(
        default=5.0, gt=0, le=60, description="How long one look whether an artifact is there may take."
    )
    content_retry_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="After how long it is first looked again; the pauses double, up to six hours.",
    )
    max_wait_seconds: float = Field(default=60.0, gt=0, le=600, description="The longest long-poll.")
    change_poll_seconds: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="How often long-polls and event streams ask the database for changes by other processes.",
    )
    worker_poll_seconds: float = Field(
        default=1.0, gt=0, le=60, description="How often workers look for due work that nobody told them of."
    )
    lease_seconds: float = Field(
        default=30.0, gt=1, le=3600, description="How long a worker's claim holds without being extended."
    )
    quarantine_after_failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="Work on one record that fails so often in a row for a reason of its own is set aside.",
    )
    mirror_patience_seconds: float = Field(
        default=30.0,
        ge=0,
        description="How long a run's end waits for its last mirror before waiting callers are told anyway.",
    )
    mirror_interval_seconds: float = Field(
        default=2.0, gt=0, description="The shortest pause between two mirrors of one active run."
    )
    orphan_after_seconds: float | None = Field(
        default=None,
        ge=300,
        description="A run whose waiter has not been heard of for so long is cancelled; never, if absent.",
    )
    webhook_timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long a webhook's receiver may take for one message."
    )
    webhook_attempts: int = Field(
        default=15, ge=1, le=100, description="How often a message is sent before it is set aside as dead."
    )
    webhook_retry_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="The pause after the first failure; it doubles each time."
    )
    webhook_longest_retry_seconds: float = Field(
        default=3600.0, gt=0, le=86_400, description="The longest pause between two attempts."
    )
    webhook_keep_days: float = Field(
        default=7.0, gt=0, description="How long the list of delivered messages is kept."
    )
    webhook_private_addresses: bool | None = Field(
        default=None,
        description="Whether webhooks may go to private addresses and this machine's own. Not said: as long "
        "as host is a loopback address.",
    )
    heartbeat_seconds: float = Field(
        default=15.0, gt=0, le=300, description="How often an idle event stream sends a heartbeat."
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="How long a stopping service still answers, not ready and taking nothing on, before it "
        "closes its port: as long as a load balancer takes to notice.",
    )
    shutdown_seconds: float = Field(
        default=8.0, gt=0, le=300, description="How long a stopping service waits for work under way."
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level that is logged."
    )
    log_json: bool = Field(default=False, description="Log lines as JSON objects instead of key=value text.")

    @model_validator(mode="before")
    @classmethod
    def _roots_from_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("content_roots"), str):
            return value | {
                "content_roots": tuple(part for part in value["content_roots"].split(":") if part)
            }
        return value

    @model_validator(mode="before")
    @classmethod
    def _lists_from_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        texts = {name: value[name] for name in _LISTS if isinstance(value.get(name), str)}
        return value | {
            name: tuple(part.strip() for part in text.split(",") if part.strip())
            for name, text in texts.items()
        }

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """The names under which the service may be asked, besides addresses and loopback names."""
        if self.asks_who() and not self.allowed_hosts:
            # A page that rebinds its name has no token to send.
            return ("*",)
        public = urlsplit(self.public_url or "").hostname
        return (*self.allowed_hosts, self.host, *((public,) if public else ()))

    def secrets(self) -> list[str]:
        """Every secret that is set, so that none is logged; what token files hold is not among them."""
        options = [pair for kind in self.content_options.values() for pair in kind.items()]
        named = [text for name, text in options if isinstance(text, str) and is_secret_name(name)]
        return [*secrets_in(self), *named]

    def may_look(self, uri: str | None, project: str = "") -> bool:
        """Whether the bridge may look if what a URI of the project names is there: a file whose content it
        may give, or an address on one of ``content_hosts``."""
        try:
            path = local_path(uri) if uri else None
            parts = urlsplit(uri or "")
            place = (parts.hostname, f"{parts.hostname}:{parts.port}")
        except ValueError:
            return False
        if path is not None:
            return self.may_pass_on(Path(path), project)
        if uri and self.may_read_store(uri, project):
            return True
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return False
        return any(name in self.content_hosts for name in place) or (
            not self.content_hosts and is_loopback(self.host)
        )

    def may_read_store(self, uri: str, project: str = "") -> bool:
        """Whether the object that a URI of the project names may be read and given to callers."""
        try:
            normal = normalise_uri(uri)
        except ValueError:
            return False
        if urlsplit(normal).scheme not in ("s3", "gs"):
            return False
        places = [place.rstrip("/") for place in self._project(project).content_stores or self.content_stores]
        return any(normal == place or normal.startswith(place + "/") for place in places)

    def roots_of(self, project: str) -> tuple[Path, ...]:
        """The folders of the project's content; empty if the settings name none."""
        return self._project(project).content_roots or self.content_roots

    def may_pass_on(self, path: Path, project: str = "") -> bool:
        """Whether a file's content may be given to callers as the project's; links are followed before it is
        judged."""
        roots = self.roots_of(project)
        return is_inside(path, roots) if roots else is_loopback(self.host)

    def may_reach_private(self) -> bool:
        """Whether requests to addresses that callers name may go to networks of one's own."""
        if self.webhook_private_addresses is None:
            return is_loopback(self.host)
        return self.webhook_private_addresses

    @field_validator("content_stores")
    @classmethod
    def _stores_in_one_spelling(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return stores_in_one_spelling(value)

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSettings:
        names = [backend.name for backend in self.backends]
        if len(names) != len(set(names)):
            raise ValueError("backends: two of them have the same name")
        if self.airflow is not None and self.airflow_api_url is None:
            raise ValueError("airflow: airflow_url or api_url has to say where Airflow is")
        return self

    @property
    def airflow_api_url(self) -> str | None:
        """Where the service reaches Airflow, if it may ask it for anything."""
        return None if self.airflow is None else self.airflow.api_url or self.airflow_url

    def check_served(self) -> None:
        """Raise ``SettingsError`` if the API must not be served with these: where other machines reach it,
        callers have to be asked who they are. Commands that serve nothing need not."""
        if not self.asks_who() and not is_loopback(self.host):
            raise SettingsError(
                f"host {self.host} can be reached from other machines, so callers have to be asked who they "
                "are: set api_token (KFBRIDGE_API_TOKEN), or require_tokens (KFBRIDGE_REQUIRE_TOKENS) and "
                "make tokens with 'kfbridge token create', or oidc, or token_review; or serve on 127.0.0.1"
            )
        if (
            self.oidc is not None
            and self.oidc.client_id
            and not self.public_url
            and not is_loopback(self.host)
        ):
            raise SettingsError(
                "oidc.client_id needs public_url (KFBRIDGE_PUBLIC_URL): the issuer has to know the address "
                "that it sends people back to, public_url with /login/callback"
            )

    def asks_who(self) -> bool:
        """Whether callers have to say who they are."""
        others = (self.api_token, self.oidc, self.token_review)
        return self.require_tokens or any(one is not None for one in others)

    def backend(self, name: str) -> BackendSettings | None:
        """The backend of that name, if there is one."""
        return next((backend for backend in self.backends if backend.name == name), None)

    def share_of(self, project: str) -> Share:
        """What the project may have of each backend."""
        own = self._project(project)
        return Share(own.max_active_runs or self.max_active_runs, own.weight)

    def admission_of(self, project: str) -> AdmissionSettings:
        """The rules that the project's pipelines have to keep."""
        return self._project(project).admission.over(self.admission)

    def namespaces_of(self, project: str) -> tuple[str, ...]:
        """The namespaces that the project's runs may go to; empty: any."""
        return self._project(project).namespaces

    def max_queued_of(self, project: str) -> int:
        """How many of the project's runs may wait in the queue."""
        return self._project(project).max_queued_runs or self.max_queued_runs

    def _project(self, name: str) -> ProjectSettings:
        return self.projects.get(name, _NOTHING_OF_ITS_OWN)


_NOTHING_OF_ITS_OWN = ProjectSettings()


def is_loopback(host: str) -> bool:
    """Whether an address to serve on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
