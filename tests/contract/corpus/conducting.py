"""Runs the pipelines of all expectations on one backend, side by side, while the tests ask for results.

The backend has its own queue, so everything is handed over at once, in the order in which the tests will
ask, and each test waits for its own runs alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.kfp_api.choosing import ChoosingReader, Shape
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.filters import Filter
from bridge.kfp_api.messages import PipelineVersionReference, Run, RuntimeConfig
from bridge.kfp_api.metadata import MetadataReader
from tests.contract.corpus.expectation import Expectation, ExpectedRun, load, pipeline_file
from tests.contract.corpus.matching import Text
from tests.contract.corpus.observing import SeenRun, observe

_TICK_SECONDS = 0.2
_FLIGHTS = Path(__file__).parents[2] / "unit" / "kfp_pipelines" / "data"


@dataclass(frozen=True, slots=True)
class Backend:
    """Where the runs go. ``metadata`` is the shape in which it serves tasks, artifacts and metrics;
    ``scratch`` is a folder that components may write into."""

    url: str
    metadata: Shape
    scratch: Path

    def reader(self, client: KfpClient) -> MetadataReader:
        """The reader for that shape."""
        return ChoosingReader(client, shape=self.metadata)


@contextmanager
def conducted(backend: Backend, names: Sequence[str]) -> Iterator[Mapping[str, Future[list[SeenRun]]]]:
    """The runs of these pipelines, by name; each result is there once the last of its runs has ended."""
    results: dict[str, Future[list[SeenRun]]] = {name: Future() for name in names}
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    def live() -> None:
        try:
            loop.run_until_complete(_conduct(backend, results, stop))
        finally:
            loop.close()

    thread = threading.Thread(target=live, name="conductor")
    thread.start()
    try:
        yield results
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _conduct(
    backend: Backend, results: Mapping[str, Future[list[SeenRun]]], stop: asyncio.Event
) -> None:
    async with KfpClient(backend.url) as client:
        ends = _Ends(client)
        conductor = _Conductor(backend, client, ends)
        jobs = [asyncio.create_task(conductor.perform(name, result)) for name, result in results.items()]
        watch = asyncio.create_task(ends.watch())
        await stop.wait()
        for job in [*jobs, watch]:
            job.cancel()
        await asyncio.gather(*jobs, watch, return_exceptions=True)


class _Ends:
    """Waits for the ends of all runs with one request a tick."""

    def __init__(self, client: KfpClient) -> None:
        self._client = client
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def of(self, run_id: str) -> Run:
        """The run at its end."""
        self._waiting[run_id] = asyncio.get_running_loop().create_future()
        await self._waiting[run_id]
        return await self._client.get_run(run_id)

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            waiting = list(self._waiting)
            if not waiting:
                continue
            async for run in self._client.iterate_runs(filter=Filter().is_in("run_id", waiting)):
                if run.runtime_state.is_terminal and run.run_id in self._waiting:
                    self._waiting.pop(run.run_id).set_result(None)


class _Conductor:
    def __init__(self, backend: Backend, client: KfpClient, ends: _Ends) -> None:
        self._backend = backend
        self._client = client
        self._ends = ends
        self._reader = backend.reader(client)
        # Pipelines are handed over one by one, in order: the backend's queue is first in, first out.
        self._turn = asyncio.Lock()

    async def perform(self, name: str, result: Future[list[SeenRun]]) -> None:
        try:
            seen = await self._runs(name, load(name))
        except asyncio.CancelledError:
            result.cancel()
            raise
        except Exception as error:
            # It is the test that has to hear of it.
            result.set_exception(error)
        else:
            result.set_result(seen)

    async def _runs(self, name: str, expectation: Expectation) -> list[SeenRun]:
        path = pipeline_file(name)
        assert path is not None, "only pipelines that are there are asked for"
        async with self._turn:
            version = await self._upload(name, path)
        seen = []
        for number, expected in enumerate(expectation.runs):
            seen.append(await self._run(f"{name} {number + 1}", version, expected))
        return seen

    async def _upload(self, name: str, path: Path) -> PipelineVersionReference:
        pipeline = await self._client.upload_pipeline(path.read_text(encoding="utf-8"), name)
        assert pipeline.pipeline_id is not None
        page = await self._client.list_versions(pipeline.pipeline_id)
        return PipelineVersionReference(
            pipeline_id=pipeline.pipeline_id,
            pipeline_version_id=page.pipeline_versions[0].pipeline_version_id,
        )

    async def _run(self, title: str, version: PipelineVersionReference, expected: ExpectedRun) -> SeenRun:
        scratch = self._backend.scratch / title.replace("/", "-").replace(" ", "-")
        scratch.mkdir(parents=True)
        known = {"scratch": str(scratch), "flights": str(_FLIGHTS)}
        started = await self._client.create_run(
            Run(
                display_name=title,
                pipeline_version_reference=version,
                runtime_config=RuntimeConfig(parameters=_filled(expected.arguments, known)),
            )
        )
        assert started.run_id is not None
        run = await self._ends.of(started.run_id)
        return await observe(
            self._client,
            self._reader,
            run,
            # The native API tells of an iteration's tasks and outputs, and not of the iteration.
            has_iterations=self._backend.metadata == "mlmd",
            known=known,
            scratch=scratch,
        )


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """An argument with its texts filled in, within lists and objects too."""
    if isinstance(value, Text):
        return value.fill(known)
    if isinstance(value, dict):
        return {name: _filled(one, known) for name, one in value.items()}
    return [_filled(one, known) for one in value] if isinstance(value, list) else value
