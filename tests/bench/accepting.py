"""How many submissions a second the service accepts durably, workers off: of registered pipelines, and with
an inline spec."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.bench.light_client import Connection, Rate, drive, request_bytes
from tests.bench.servers import bridge_service
from tests.support.postgres import running_postgres

SECONDS = 6.0
CONCURRENT = 16
_WARM_UP = 200
_ROUTE = "/api/v1/runs"
_SPEC = Path(__file__).parents[2] / "kfp_pipelines" / "compiled" / "shapes.yaml"
_NAME, _VERSION, _ALIAS = "shapes", "1", "prod"
_KEY = "00000000-0000-0000-0000-000000000000"
_TOKEN = uuid4().hex
_AUDITED = "registered, by version, by a token and audited"


def measure(home: Path, kfp_url: str) -> dict[str, dict[str, Rate]]:
    """Accepted submissions a second by database and by what is submitted."""
    rates = {"SQLite": _rates(home / "sqlite", kfp_url, f"sqlite:///{home / 'accepting.db'}")}
    with running_postgres(durable=True) as server:
        url = server.url(server.create_database())
        rates["PostgreSQL"] = _rates(home / "postgresql", kfp_url, url)
    return rates


def _rates(home: Path, kfp_url: str, database_url: str) -> dict[str, Rate]:
    home.mkdir(parents=True)
    spec = _SPEC.read_text()
    by_version: dict[str, Any] = {"pipeline": {"name": _NAME, "version": _VERSION}}
    with bridge_service(home, kfp_url, database_url, workers=False) as url:
        _register(url, spec)
        kinds: dict[str, Iterator[dict[str, Any]]] = {
            "registered, by version": repeat(by_version),
            "registered, by alias": repeat({"pipeline": {"name": _NAME, "alias": _ALIAS}}),
            "inline spec of 15 kB": repeat({"spec": spec}),
            "inline spec of 15 kB, another each time": _others(spec),
        }
        rates = {name: _rate(url, bodies) for name, bodies in kinds.items()}
    # Who submits is known, and so each submission is a row of the audit log.
    env = {"KFBRIDGE_API_TOKEN": _TOKEN}
    with bridge_service(home, kfp_url, database_url, workers=False, env=env) as url:
        rates[_AUDITED] = _rate(url, repeat(by_version), {"Authorization": f"Bearer {_TOKEN}"})
    return rates


def _register(url: str, spec: str) -> None:
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as http:
        http.post("/pipelines", json={"spec": spec, "version": _VERSION}).raise_for_status()
        http.put(f"/pipelines/{_NAME}/aliases/{_ALIAS}", json={"version": _VERSION}).raise_for_status()


def _others(spec: str) -> Iterator[dict[str, Any]]:
    while True:
        yield {"spec": spec.replace("What the sum is compared with.", uuid4().hex)}


def _rate(url: str, bodies: Iterator[dict[str, Any]], headers: Mapping[str, str] | None = None) -> Rate:
    jobs = _jobs(url, bodies, headers or {})
    guess = drive(url, jobs, count=_WARM_UP, concurrent=CONCURRENT).per_second
    return drive(url, jobs, count=max(_WARM_UP, int(guess * SECONDS)), concurrent=CONCURRENT)


def _jobs(
    url: str, bodies: Iterator[dict[str, Any]], headers: Mapping[str, str]
) -> Iterator[Callable[[Connection], Awaitable[bytes]]]:
    made: tuple[dict[str, Any], bytes] = ({}, b"")
    for body in bodies:
        if body is not made[0]:
            whole = body | {"arguments": {"limit": 11}}
            made = (body, request_bytes(url, _ROUTE, whole, {"Idempotency-Key": _KEY, **headers}))
        yield _submission(made[1].replace(_KEY.encode(), str(uuid4()).encode(), 1))


def _submission(request: bytes) -> Callable[[Connection], Awaitable[bytes]]:
    return lambda connection: connection.ask(request)
