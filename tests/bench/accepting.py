"""How many submissions a second the service accepts durably, workers off, inline spec and registered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import uuid4

import httpx

from tests.bench.pipelines import step_pipeline
from tests.bench.servers import bridge_service
from tests.support.postgres import running_postgres

SUBMISSIONS = 600
CONCURRENT = 16


def measure(home: Path, kfp_url: str) -> dict[str, float]:
    """Accepted submissions a second by database."""
    rates = {"SQLite": _rate(home / "sqlite", kfp_url, f"sqlite:///{home / 'accepting.db'}")}
    with running_postgres(durable=True) as server:
        rates["PostgreSQL"] = _rate(home / "postgresql", kfp_url, server.url(server.create_database()))
    return rates


def _rate(home: Path, kfp_url: str, database_url: str) -> float:
    home.mkdir(parents=True)
    with bridge_service(home, kfp_url, database_url, workers=False) as url:
        asyncio.run(_submit(url, 50))
        return asyncio.run(_submit(url, SUBMISSIONS))


async def _submit(url: str, count: int) -> float:
    body = {"spec": step_pipeline(), "arguments": {"seconds": "0"}}
    left = iter(range(count))
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def work() -> None:
            for _ in left:
                answer = await http.post("/api/v1/runs", json=body, headers={"Idempotency-Key": str(uuid4())})
                answer.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENT)))
        return count / (time.perf_counter() - began)
