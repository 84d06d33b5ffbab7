"""Checks of what is around the service: content of artifacts, access to its API, what is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import chain

from bridge.service.doctor.findings import Finding, error, ok, warning
from bridge.service.settings import ServiceSettings, is_loopback
from bridge.service.stores import NothingThere, Stores, StoreTrouble
from bridge.service.versions import package_version

_SHORTEST_TOKEN = 32
_OLDEST_PYTHON = (3, 11)
_FIRST_UNTESTED_PYTHON = (3, 14)


def check_versions(settings: ServiceSettings) -> Iterator[Finding]:
    """Python, the bridge, and the packages that the settings need."""
    python = ".".join(str(number) for number in sys.version_info[:3])
    found = f"kfbridge {package_version()} on Python {python}"
    if _OLDEST_PYTHON <= sys.version_info[:2] < _FIRST_UNTESTED_PYTHON:
        yield ok("versions.python", "this program", found)
    else:
        yield warning("versions.python", "this program", found, "use Python 3.11 to 3.13.")
    for package, module, why, extra in needed_packages(settings):
        if find_spec(module) is None:
            found = f"{package} is not installed, and {why}"
            to_do = f"pip install 'airflow-kfp-bridge[{extra}]'."
            yield error("versions.packages", "this program", found, to_do)
            continue
        try:
            yield ok("versions.packages", "this program", f"{package} {version(package)}")
        except PackageNotFoundError:
            yield ok("versions.packages", "this program", f"{package} is there")


def needed_packages(settings: ServiceSettings) -> Iterator[tuple[str, str, str, str]]:
    """What the settings ask for beyond the service's own: package, module, why, and the extra that has it."""
    if any(place.startswith("s3://") for place in _stores(settings)):
        yield "s3fs", "s3fs", "content_stores names S3", "s3"
    if any(place.startswith("gs://") for place in _stores(settings)):
        yield "gcsfs", "gcsfs", "content_stores names Google Cloud Storage", "gcs"
    if settings.telemetry is not None:
        yield "opentelemetry-sdk", "opentelemetry.sdk", "traces are to be sent", "telemetry"
    if any(backend.kubernetes.enabled for backend in settings.backends):
        yield "kubernetes", "kubernetes", "a backend's cluster is to be asked", "service"


def _stores(settings: ServiceSettings) -> list[str]:
    """Those of all projects and of single ones."""
    places = (settings.content_stores, *(one.content_stores for one in settings.projects.values()))
    return list(dict.fromkeys(chain.from_iterable(places)))


def check_access(settings: ServiceSettings) -> Iterator[Finding]:
    """Who may ask the service for something."""
    where = f"{settings.host}:{settings.port}"
    local = is_loopback(settings.host)
    if not settings.asks_who():
        if local:
            yield ok("access.open", "access", f"{where} asks for no token; only this machine reaches it")
        else:
            to_do = "set api_token, or require_tokens, oidc or token_review; it is not served without."
            yield error("access.open", "access", f"{where} would ask nobody who they are", to_do)
    elif (token := settings.api_token) is not None and len(token.get_secret_value()) < _SHORTEST_TOKEN:
        found = f"api_token has {len(token.get_secret_value())} characters only"
        to_do = "take one that nobody guesses, such as of 'openssl rand -hex 32'."
        yield warning("access.token", "access", found, to_do)
    else:
        yield ok("access.token", "access", f"{where} asks for a token")
    if not local and settings.public_url is None:
        found = f"the service is served on {where} and public_url is not said"
        to_do = "set public_url (KFBRIDGE_PUBLIC_URL) to the address that browsers use."
        yield warning("access.links", "access", found, to_do)
    elif settings.public_url is not None:
        yield ok("access.links", "access", f"links begin with {settings.public_url}")


async def check_content(settings: ServiceSettings) -> AsyncIterator[Finding]:
    """Whether the folders and stores of artifacts can be read."""
    roots = (settings.content_roots, *(one.content_roots for one in settings.projects.values()))
    for root in dict.fromkeys(chain.from_iterable(roots)):
        if not root.is_dir():
            to_do = "make or mount the folder, or take it out of content_roots."
            yield error("content.roots", "artifacts", f"there is no folder {root}", to_do)
        elif not os.access(root, os.R_OK | os.X_OK):
            to_do = "let the user that runs the service read it."
            yield error("content.roots", "artifacts", f"{root} may not be read", to_do)
        else:
            yield ok("content.roots", "artifacts", f"{root} can be read")
    stores = Stores(settings)
    for place in _stores(settings):
        yield await _check_store(stores, place)


async def _check_store(stores: Stores, place: str) -> Finding:
    try:
        there = await stores.is_there(place)
    except (StoreTrouble, NothingThere) as trouble:
        to_do = (
            "correct the store's endpoint and credentials in content_options, or its rights to list and read."
        )
        return error("content.stores", "artifacts", str(trouble), to_do)
    if there:
        return ok("content.stores", "artifacts", f"{place} can be read")
    to_do = (
        "make the bucket, correct its name, or take it out of content_stores; an empty prefix is no trouble."
    )
    return warning("content.stores", "artifacts", f"there is nothing at {place}", to_do)
