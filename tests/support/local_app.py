"""The local backend's application without a socket, with a runner that only pretends to run components."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from bridge.local.app import create_app
from bridge.local.launcher import Launch
from bridge.local.routes.shared import Backend
from bridge.local.settings import LocalSettings, MetadataShape
from tests.support.handmade import component, document, parameters, task

API = "/apis/v2beta1"
_PATIENCE_SECONDS = 10.0


@dataclass
class PretendRunner:
    """Does at once what the component's image says: ``ok`` ends with 0, ``fail`` with 1, ``wait`` waits
    until it is cancelled or ``released``."""

    launches: list[Launch] = field(default_factory=list)
    cancelled: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, launch: Launch) -> int:
        self.launches.append(launch)
        image = launch.container.image
        launch.log_path.write_text(f"running {image}\n")
        if image == "wait":
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return 1 if image == "fail" else 0


@dataclass
class LocalApp:
    """A backend and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient
    runner: PretendRunner

    @property
    def backend(self) -> Backend:
        found: Backend = self.app.state.backend
        return found

    async def upload(self, name: str = "flow", **spec: Any) -> tuple[str, str]:
        """Upload a pipeline of one task; returns the ids of pipeline and version."""
        files = {"uploadfile": ("flow.json", json.dumps(one_task(name=name, **spec)))}
        answer = await self.client.post(f"{API}/pipelines/upload", params={"name": name}, files=files)
        assert answer.status_code == 200, answer.text
        pipeline_id = answer.json()["pipeline_id"]
        versions = (await self.client.get(f"{API}/pipelines/{pipeline_id}/versions")).json()
        return pipeline_id, versions["pipeline_versions"][0]["pipeline_version_id"]

    async def create_run(self, image: str = "ok", **fields: Any) -> str:
        """Create a run of one task from an inline spec; returns its id."""
        body = {"display_name": "a run", "pipeline_spec": one_task(image), **fields}
        answer = await self.client.post(f"{API}/runs", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    async def get_run(self, run_id: str) -> dict[str, Any]:
        """A run as it is now."""
        answer = await self.client.get(f"{API}/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def wait_for(self, run_id: str, *states: str) -> dict[str, Any]:
        """The run once it has one of these states."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            nonlocal found
            found = await self.get_run(run_id)
            return found["state"] in states

        await until(there)
        return found


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition, an async function, holds; fail after ten seconds."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.005)


def one_task(image: str = "ok", name: str = "flow", **inputs: str) -> dict[str, Any]:
    """A pipeline of one container task ``work``; ``inputs`` are as ``parameters()`` takes them."""
    executor = {"container": {"image": image, "command": ["true"]}}
    return document(
        {"work": task("work", "comp-work")},
        {"comp-work": component(executorLabel="exec-work")},
        {"exec-work": executor},
        name=name,
        inputs=parameters(**inputs),
    )


@asynccontextmanager
async def local_app(
    data_dir: Path,
    *,
    runner: PretendRunner | None = None,
    token: str | None = None,
    max_parallel: int = 2,
    secrets_dir: Path | None = None,
    metadata: MetadataShape = "mlmd",
) -> AsyncIterator[LocalApp]:
    """A backend that is started at the beginning of the block and stopped at its end."""
    runner = runner or PretendRunner()
    settings = LocalSettings(
        data_dir=data_dir,
        max_parallel=max_parallel,
        token=token,
        secrets_dir=secrets_dir,
        metadata=metadata,
        allowed_hosts=("local",),
    )
    app = create_app(settings, runner)
    async with app.router.lifespan_context(app):
        # An error of the application must come as the answer that a caller would get.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            yield LocalApp(app, client, runner)
