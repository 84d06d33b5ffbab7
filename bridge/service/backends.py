"""The backends of a running service: client, metadata reader, and how it gets on with each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from bridge.domain.decide import Policy
from bridge.domain.redaction import redact_text
from bridge.kfp_api.auth import Bearer, TokenSource
from bridge.kfp_api.choosing import ChoosingReader
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.credentials import ClientCredentials
from bridge.kfp_api.errors import (
    KfpAuthError,
    KfpBadAnswer,
    KfpBadUrl,
    KfpError,
    KfpHeldBack,
    KfpInvalid,
    KfpNotFound,
)
from bridge.kfp_api.guard import Guard, GuardPolicy, GuardState
from bridge.kfp_api.metadata import MetadataReader
from bridge.kfp_api.retry import RetryPolicy
from bridge.service.backend_settings import BackendSettings
from bridge.service.cluster import Cluster, open_cluster
from bridge.service.workers.budget import Budget

_REMEMBERED_ENDS = 50_000
_MAX_ERROR_CHARS = 1000
# How the two troubles that a person has to end begin; every other error is told as it is.
_REFUSED = "the credentials are refused"
_FOREIGN = "the answer is not KFP's"


class SeenEnds:
    """The ends that were already recorded, so that the overlap of two sweeps costs nothing; bounded."""

    def __init__(self, limit: int = _REMEMBERED_ENDS) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[UUID, datetime | None, str], None] = OrderedDict()

    def __contains__(self, end: tuple[UUID, datetime | None, str]) -> bool:
        return end in self._seen

    def add(self, end: tuple[UUID, datetime | None, str]) -> None:
        """Remember an end; the oldest is forgotten beyond the limit."""
        self._seen[end] = None
        self._seen.move_to_end(end)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Pace:
    """The shortest pauses between two sweeps: of new ends, and of what has not finished."""

    tick_seconds: float
    slow_sweep_seconds: float


@dataclass(slots=True)
class Backend:
    """One backend, with what this process remembers of it between two requests.

    ``leads`` says that this process is the one that follows it, ``list_seconds`` how long a list of its runs
    took last; ``cluster`` is the Kubernetes behind it, if that is to be asked.
    """

    settings: BackendSettings
    client: KfpClient
    reader: MetadataReader
    policy: Policy
    stale_since: datetime | None = None
    last_error: str | None = None
    _trouble: str | None = None
    seen_ends: SeenEnds = field(default_factory=SeenEnds)
    budget: Budget = field(default_factory=Budget)
    experiments: dict[tuple[str, str], str] = field(default_factory=dict)
    upload_locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)
    cluster: Cluster | None = None
    leads: bool = False
    list_seconds: float | None = None

    @property
    def name(self) -> str:
        """What submissions call it."""
        return self.settings.name

    @property
    def pace(self) -> Pace:
        """How often the backend is swept at most: more seldom while a healthy watch tells of every end."""
        settings = self.settings
        if self.cluster is None or not self.cluster.healthy:
            return Pace(settings.tick_seconds, settings.slow_sweep_seconds)
        watched = self.cluster.settings
        return Pace(
            max(settings.tick_seconds, watched.watched_tick_seconds),
            max(settings.slow_sweep_seconds, watched.watched_slow_sweep_seconds),
        )

    def note_error(self, error: KfpError, at: datetime) -> bool:
        """Remember what is wrong, in plain words; whether the trouble begins with it."""
        begins = self.stale_since is None
        self.stale_since = self.stale_since or at
        if not isinstance(error, KfpHeldBack):
            self._trouble = self.last_error = redact_text(_in_words(error))[:_MAX_ERROR_CHARS]
        else:
            # Not being asked is no news of the backend: what it did last comes first.
            cause = self._trouble if not begins else None
            self.last_error = (f"{cause}; {error.message}" if cause else error.message)[:_MAX_ERROR_CHARS]
        return begins

    @property
    def spared(self) -> GuardState | None:
        """How this process spares the backend now."""
        return self.client.guard.state if self.client.guard else None

    @property
    def default_namespace(self) -> str:
        """Where a run goes that names no namespace; ``""`` is single-user KFP."""
        return self.settings.namespaces[0]


def trouble_of(last_error: str | None) -> str:
    """What a backend in trouble does, as the end of a sentence; ``last_error`` as ``note_error`` keeps it."""
    if last_error and last_error.startswith(_REFUSED):
        return "refuses the bridge's credentials"
    if last_error and last_error.startswith(_FOREIGN):
        return "does not answer as KFP does"
    return "does not answer"


def waiting_for(backend: BackendSettings, since: datetime, last_error: str, *, then: str) -> str:
    """Why a run waits for a backend in trouble; ``then`` is what becomes of the run when that is over."""
    where = f"backend {backend.name} at {backend.url}"
    when = since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if last_error.startswith(_REFUSED):
        return (
            f"{where} has refused the bridge's credentials since {when}: {last_error}; correct the token "
            f"(KFBRIDGE_KFP_TOKEN, or the settings token and token_file); {then} when it is taken"
        )
    if last_error.startswith(_FOREIGN):
        return (
            f"{where} has not answered as KFP does since {when}: {last_error}; check that its url is the KFP "
            f"UI or gateway address; {then} when KFP answers"
        )
    return f"{where} has not answered since {when}: {last_error}; {then} when it does"


def _in_words(error: KfpError) -> str:
    if isinstance(error, KfpAuthError):
        status = f" (HTTP {error.status})" if error.status else ""
        return f"{_REFUSED}{status}: {error}"
    if isinstance(error, (KfpBadAnswer, KfpNotFound, KfpInvalid, KfpBadUrl)):
        return f"{_FOREIGN}: {error}"
    return str(error)


BackendFactory = Callable[[BackendSettings], Backend]


def open_backend(settings: BackendSettings, *, retry: RetryPolicy | None = None) -> Backend:
    """A backend with a real client; ``Backend.client`` has to be closed by whoever opened it.

    ``retry`` says how reading is repeated, if not as always.
    """
    client = KfpClient(
        settings.url,
        token=_token(settings),
        timeout_seconds=settings.timeout_seconds,
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        ca=str(settings.ca_file) if settings.ca_file else None,
        guard=Guard(guard_policy_of(settings)),
        retry=retry,
    )
    return Backend(
        settings=settings,
        client=client,
        reader=ChoosingReader(
            client,
            metadata_url=settings.metadata_url,
            shape=None if settings.metadata == "auto" else settings.metadata,
        ),
        policy=policy_of(settings),
        cluster=open_cluster(settings.kubernetes, settings.namespaces),
    )


def guard_policy_of(settings: BackendSettings) -> GuardPolicy:
    """How all workers of a process together spare the backend."""
    return GuardPolicy(
        requests_per_second=settings.requests_per_second,
        burst=settings.request_burst,
        failures=settings.breaker_failures,
        first_open_seconds=settings.breaker_seconds,
        longest_open_seconds=max(settings.breaker_seconds, settings.breaker_longest_seconds),
    )


def policy_of(settings: BackendSettings) -> Policy:
    """What decisions about the backend's runs depend on."""
    return Policy(
        orphan_grace_seconds=settings.orphan_grace_seconds,
        agent_backoff_seconds=settings.agent_backoff_seconds,
        lookup_interval_seconds=settings.lookup_interval_seconds,
    )


def _token(settings: BackendSettings) -> Bearer | None:
    given = settings.client_credentials
    if given is not None:
        secret = given.client_secret
        return ClientCredentials(
            given.token_url,
            given.client_id,
            TokenSource.from_value(secret.get_secret_value())
            if secret is not None
            else TokenSource(path=given.client_secret_file),
            scope=given.scope,
            audience=given.audience,
            ca=str(settings.ca_file) if settings.ca_file else None,
        )
    if settings.token is not None:
        return TokenSource.from_value(settings.token.get_secret_value())
    return TokenSource.from_file(settings.token_file) if settings.token_file else None
