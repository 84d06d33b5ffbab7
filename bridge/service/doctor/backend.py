"""Checks of one backend: its address, credentials, namespaces, version, metadata and clock."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from bridge.domain.redaction import without_credentials
from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.errors import (
    KfpAuthError,
    KfpBadAnswer,
    KfpError,
    KfpInvalid,
    KfpNotFound,
    KfpUnreachable,
)
from bridge.service.backend_settings import BackendSettings
from bridge.service.backends import Backend
from bridge.service.doctor.findings import Finding, error, ok, warning

_CLOCK_SECONDS = 30.0
# Sweeps look back for 600 s, so beyond it ends are seen by the slow one alone.
_WRONG_CLOCK_SECONDS = 300.0
_OLDEST_KFP = (2, 0)
_NEWEST_KFP = (2, 17)
_EXPIRES_SOON_SECONDS = 3600.0
_VERSION_KEYS = ("apiServerTagName", "tag_name", "frontendTagName")


def check_files(settings: BackendSettings) -> list[Finding]:
    """What the settings name on this machine: the token's file, the authorities. No request is made."""
    subject = f"backend {settings.name}"
    found = []
    token = settings.token.get_secret_value() if settings.token else None
    if settings.token_file is not None:
        try:
            token = TokenSource.from_file(settings.token_file).token()
        except KfpAuthError as wrong:
            to_do = "correct token_file, mount the token, or let this user read it."
            return [error("backend.token", subject, wrong.message, to_do)]
    if token is not None:
        found.append(_check_expiry(settings, subject, token))
    if settings.ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(settings.ca_file))
            found.append(ok("backend.certificates", subject, f"{settings.ca_file} holds authorities"))
        except (OSError, ssl.SSLError) as wrong:
            to_do = "name a PEM file of certificate authorities in ca_file."
            text = f"{settings.ca_file} cannot be used: {wrong}"
            found.append(error("backend.certificates", subject, text, to_do))
    return found


def _check_expiry(settings: BackendSettings, subject: str, token: str) -> Finding:
    source = f"in {settings.token_file}" if settings.token_file else "in the settings"
    expires = _expiry_of(token)
    if expires is None:
        return ok("backend.token", subject, f"there is a token {source}")
    left = expires - time.time()
    moment = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if left <= 0:
        to_do = "get a new token; a token_file that Kubernetes projects is renewed by itself."
        return error("backend.token", subject, f"the token {source} has expired at {moment}", to_do)
    if left < _EXPIRES_SOON_SECONDS and settings.token_file is None:
        to_do = "use a token_file that is renewed, or a token that lives longer."
        return warning("backend.token", subject, f"the token {source} expires at {moment}", to_do)
    return ok("backend.token", subject, f"the token {source} is valid until {moment}")


def _expiry_of(token: str) -> float | None:
    """When a JWT expires, in seconds since 1970; ``None`` if it is none or says nothing. Not verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expires = claims.get("exp")
    except (ValueError, AttributeError):
        return None
    return float(expires) if isinstance(expires, int | float) else None


async def check_backend(backend: Backend) -> AsyncIterator[Finding]:
    """Every finding that asking the backend gives."""
    subject = f"backend {backend.name}"
    try:
        told, clock = await backend.client.health()
    except KfpError as trouble:
        yield _of_trouble(subject, backend.settings, trouble)
        return
    yield ok("backend.reachable", subject, f"{without_credentials(backend.settings.url)} answers as KFP does")
    version = _version_of(told)
    if version is not None:
        yield _check_version(subject, version)
    if clock is not None:
        yield _check_clock(subject, clock)
    refused = False
    async for finding in _check_namespaces(backend, subject, told):
        refused = refused or finding.level == "error"
        yield finding
    if not refused:
        yield await _check_metadata(backend, subject)


def _of_trouble(subject: str, settings: BackendSettings, trouble: KfpError) -> Finding:
    text, url = str(trouble), without_credentials(settings.url)
    if isinstance(trouble, KfpAuthError):
        return _refused(subject, settings, trouble)
    if isinstance(trouble, KfpBadAnswer | KfpNotFound | KfpInvalid):
        to_do = (
            "correct the backend's url: it is the KFP UI or gateway address, to which /apis/v2beta1 is added."
        )
        return error("backend.answers-as-kfp", subject, f"{url}: {text}", to_do)
    if isinstance(trouble, KfpUnreachable) and "certificate" in text.lower():
        to_do = "name the authorities that signed the server's certificate in ca_file."
        return error("backend.certificates", subject, f"{url}: {text}", to_do)
    to_do = (
        "see that it runs, that its url is right, and that this machine may reach it (NetworkPolicy, proxy)."
    )
    return error("backend.reachable", subject, f"{url}: {text}", to_do)


def _refused(subject: str, settings: BackendSettings, trouble: KfpError) -> Finding:
    if settings.token is None and settings.token_file is None:
        to_do = (
            "give the backend a token or token_file; in the cluster, a projected one of audience "
            "pipelines.kubeflow.org."
        )
    else:
        to_do = (
            "correct the token: its audience (in the cluster pipelines.kubeflow.org), its account, its "
            "expiry."
        )
    return error("backend.credentials", subject, str(trouble), to_do)


def _version_of(told: dict[str, Any]) -> str | None:
    """The version that some servers tell of themselves beside their health."""
    texts = (told.get(key) for key in _VERSION_KEYS)
    return next((text for text in texts if isinstance(text, str) and re.match(r"v?\d+\.\d+", text)), None)


def _check_version(subject: str, version: str) -> Finding:
    major, minor = (int(part) for part in version.removeprefix("v").split(".")[:2])
    if _OLDEST_KFP <= (major, minor) <= _NEWEST_KFP:
        return ok("backend.version", subject, f"KFP {version}")
    tested = "2.0 to 2.17"
    if (major, minor) > _NEWEST_KFP:
        to_do = f"nothing, if all works; the bridge was tested with KFP {tested}."
        return warning("backend.version", subject, f"KFP {version}", to_do)
    return error("backend.version", subject, f"KFP {version}", f"upgrade KFP: {tested} serve v2beta1.")


def _check_clock(subject: str, theirs: datetime) -> Finding:
    apart = abs((datetime.now(UTC) - theirs).total_seconds())
    found = f"the backend's clock and this machine's are {apart:.0f} s apart"
    if apart <= _CLOCK_SECONDS:
        return ok("backend.clock", subject, found)
    make = error if apart > _WRONG_CLOCK_SECONDS else warning
    return make("backend.clock", subject, found, "let both follow a time server (NTP).")


async def _check_namespaces(backend: Backend, subject: str, told: dict[str, Any]) -> AsyncIterator[Finding]:
    mode = told.get("multi_user", told.get("apiServerMultiUser"))
    named = backend.settings.namespaces
    if mode is True and "" in named:
        to_do = 'list the namespaces to follow: namespaces = ["team-a", "team-b"].'
        found = "KFP is in multi-user mode, and the settings name no namespace"
        yield error("backend.multi-user", subject, found, to_do)
        return
    if mode is False and named != ("",):
        to_do = "leave out namespaces: this KFP has one for all."
        found = f"KFP is in single-user mode, and the settings name {', '.join(named)}"
        yield warning("backend.multi-user", subject, found, to_do)
    elif mode is not None:
        yield ok("backend.multi-user", subject, "multi-user mode" if mode else "single-user mode")
    for namespace in named:
        yield await _check_namespace(backend, subject, namespace)


async def _check_namespace(backend: Backend, subject: str, namespace: str) -> Finding:
    where = f"namespace {namespace}" if namespace else "its one namespace"
    try:
        page = await backend.client.list_runs(namespace=namespace or None, page_size=1)
    except KfpAuthError as trouble:
        if trouble.status != 403:
            return _refused(subject, backend.settings, trouble)
        to_do = (
            f"let the bridge's account into {where}: a RoleBinding to kubeflow-pipelines-edit there, or "
            "make it a contributor of the profile."
        )
        return error("backend.namespace", subject, f"{where}: {trouble}", to_do)
    except KfpInvalid as trouble:
        to_do = "correct the backend's namespaces: multi-user KFP needs them, and each has to exist."
        return error("backend.multi-user", subject, f"{where}: {trouble}", to_do)
    except KfpError as trouble:
        return _of_trouble(subject, backend.settings, trouble)
    return ok("backend.namespace", subject, f"{where}: runs can be listed ({page.total_size or 0} of them)")


async def _check_metadata(backend: Backend, subject: str) -> Finding:
    """Asked for what changed in the last second: next to nothing, wherever it is."""
    try:
        async with asyncio.timeout(backend.settings.timeout_seconds):
            await backend.reader.changed_since(int((time.time() - 1) * 1000))
    except (KfpError, TimeoutError) as trouble:
        to_do = (
            "use the KFP UI or gateway address, which carries /ml_metadata (the API server alone does not), "
            "or name it in metadata_url."
        )
        return error("backend.metadata", subject, str(trouble) or "no answer in time", to_do)
    shape = getattr(backend.reader, "shape", None)
    return ok("backend.metadata", subject, f"metadata can be read ({shape or 'mlmd'})")
