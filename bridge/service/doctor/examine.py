"""All checks of one installation, in the order in which a person mends what they find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.kfp_api.errors import KfpError
from bridge.kfp_api.retry import RetryPolicy
from bridge.service.backend_settings import BackendSettings
from bridge.service.backends import Backend, open_backend
from bridge.service.doctor.backend import check_backend, check_files
from bridge.service.doctor.cluster import check_cluster
from bridge.service.doctor.database import check_database
from bridge.service.doctor.findings import Finding, error
from bridge.service.doctor.surroundings import check_access, check_content, check_versions
from bridge.service.settings import ServiceSettings

_LONGEST_SECONDS = 10.0


def open_once(settings: BackendSettings) -> Backend:
    """A backend that is asked once and tells at once; a doctor need not be patient."""
    return open_backend(settings, retry=RetryPolicy(attempts=1))


async def examine(
    settings: ServiceSettings, open_one: Callable[[BackendSettings], Backend] = open_once
) -> list[Finding]:
    """Every finding. Changes nothing anywhere, and takes some ten seconds for what does not answer."""
    findings = list(check_versions(settings))
    findings += check_access(settings)
    findings += await asyncio.to_thread(lambda: list(check_database(settings)))
    if not settings.backends:
        to_do = "give --kfp-url, KFBRIDGE_KFP_URL, or [[backends]] in the TOML file."
        findings.append(error("backend.configured", "backends", "the settings name no backend", to_do))
    asked = [_examine_backend(one, open_one) for one in settings.backends]
    for found in await asyncio.gather(*asked):
        findings += found
    return findings + [finding async for finding in check_content(settings)]


async def _examine_backend(
    settings: BackendSettings, open_one: Callable[[BackendSettings], Backend]
) -> list[Finding]:
    findings = check_files(settings)
    if any(finding.level == "error" for finding in findings):
        return findings
    quick = settings.model_copy(update={"timeout_seconds": min(settings.timeout_seconds, _LONGEST_SECONDS)})
    try:
        backend = open_one(quick)
    except KfpError as wrong:
        to_do = "correct the backend's url, token or ca_file."
        return [*findings, error("backend.configured", f"backend {settings.name}", str(wrong), to_do)]
    async with backend.client:
        findings += [finding async for finding in check_backend(backend)]
    cluster = backend.cluster
    if cluster is not None:
        findings += await asyncio.to_thread(lambda: list(check_cluster(settings.name, cluster)))
    return findings
