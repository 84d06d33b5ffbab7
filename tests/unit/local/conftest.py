"""What tests of the driver share: a recorder in memory and one call that executes a pipeline."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from bridge.local.driver import RunExecutor
from bridge.local.launcher import SubprocessRunner
from bridge.local.object_store import ObjectStore
from bridge.local.recording import Outcome, RunToExecute
from bridge.spec.load import Pipeline
from tests.unit.local.recorder import MemoryRecorder


class Driver:
    """Executes pipelines in a folder of its own, all recorded by one recorder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recorder = MemoryRecorder()
        self.slots = asyncio.Semaphore(8)
        self.runner = SubprocessRunner(folder / "environments")
        self.objects: ObjectStore | None = None

    def executor(self, pipeline: Pipeline, kfp_run_id: UUID | None = None, **more: Any) -> RunExecutor:
        more = {"parameters": {}, "data_dir": self.folder, "display_name": "a run", **more}
        run = RunToExecute(kfp_run_id=kfp_run_id or uuid4(), pipeline=pipeline, **more)
        return RunExecutor(run, self.recorder, self.runner, slots=self.slots, objects=self.objects)

    async def execute(self, pipeline: Pipeline, **more: Any) -> Outcome:
        return await self.executor(pipeline, **more).execute()

    def log(self, path: str) -> str:
        """The log of the last attempt of a task."""
        found = self.recorder.starts[path][-1].log_path
        assert found is not None
        return found.read_text()


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)
