"""Every feature of the kfp SDK in a small pipeline of its own, compiled by the SDK and run by the driver."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge.local.driver import RunExecutor
from bridge.local.launcher import SubprocessRunner
from bridge.local.recording import Outcome, RunToExecute
from bridge.spec.arguments import check_arguments
from bridge.spec.load import load_pipeline
from tests.support.features import FEATURES, LOG, SOURCE, Feature, prepare_folder
from tests.unit.local.recorder import MemoryRecorder

BY_NAME = {feature.pipeline: feature for feature in FEATURES}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pipelines, compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    subprocess.run([sys.executable, str(SOURCE), str(folder)], check=True, capture_output=True, timeout=100)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


class Backend:
    """Runs compiled pipelines one after the other, all told to one recorder."""

    def __init__(self, compiled: Path, data_dir: Path) -> None:
        self._compiled = compiled
        self._data_dir = data_dir
        self.recorder = MemoryRecorder()

    async def run(self, name: str, arguments: dict[str, Any], **more: Any) -> Outcome:
        pipeline = load_pipeline(self._compiled / f"{name}.yaml")
        run = RunToExecute(
            kfp_run_id=uuid4(),
            display_name="a run",
            pipeline=pipeline,
            parameters=check_arguments(pipeline, arguments),
            data_dir=self._data_dir,
            **more,
        )
        runner = SubprocessRunner(self._data_dir / "environments")
        return await RunExecutor(run, self.recorder, runner, slots=asyncio.Semaphore(2)).execute()

    def log(self, path: str) -> str:
        found = self.recorder.starts[path][-1].log_path
        assert found is not None
        return found.read_text()


@pytest.fixture
def backend(compiled: Path, data_dir: Path) -> Backend:
    return Backend(compiled, data_dir)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.pipeline)
async def test_feature(feature: Feature, backend: Backend, tmp_path: Path) -> None:
    secrets = prepare_folder(tmp_path)
    outcome = await backend.run(feature.pipeline, feature.arguments_in(tmp_path), secrets_dir=secrets)
    states = backend.recorder.states()
    assert set(outcome.failed_tasks) == feature.failed, outcome.message
    assert outcome.state == ("FAILED" if feature.failed else "SUCCEEDED"), outcome.message
    assert repr(sorted(outcome.result.parameters.items())) == repr(sorted(feature.outputs.items()))
    assert {path for path, state in states.items() if state == "SKIPPED"} == feature.skipped
    if feature.logged:
        assert set((tmp_path / LOG).read_text().splitlines()) == feature.logged
    for path, attempts in feature.attempts.items():
        assert len(backend.recorder.starts[path]) == attempts


async def test_a_cached_task_is_skipped_with_its_outputs(backend: Backend, tmp_path: Path) -> None:
    arguments = {"log": str(tmp_path / "log")}
    for cached, fresh, keyed, states in (
        ("1", "1 2", "1 2 3", ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]),
        ("1", "1 2 3 2", "1 2 3", ["SKIPPED", "SUCCEEDED", "SKIPPED"]),
    ):
        outcome = await backend.run("caching", arguments)
        assert outcome.result.parameters == {"cached": cached, "fresh": fresh, "keyed": keyed}
        told = backend.recorder.states()
        assert [told[path] for path in ("note", "note-2", "note-3")] == states
    outcome = await backend.run("caching", arguments, caching=False)
    assert outcome.result.parameters["cached"] == "1 2 3 2 1"


@pytest.mark.parametrize(("side", "word"), [("heads", "heads!!"), ("tails", "tails!!"), ("?", "neither!!")])
async def test_each_branch(backend: Backend, side: str, word: str) -> None:
    outcome = await backend.run("conditions", {"side": side, "n": 1})
    assert outcome.result.parameters == {"Output": word}
    assert backend.recorder.states()["condition-5"] == "SKIPPED"


async def test_what_a_machine_is_to_have_is_said_and_not_given(backend: Backend) -> None:
    await backend.run("machine-of-a-task", {"cpu": "250m"})
    assert backend.recorder.created["say"].display_name == "Placed"
    log = backend.log("say")
    for part in (
        '"resourceCpuLimit": "250m"',
        '"resourceMemoryLimit": "1Gi"',
        '"resourceType": "nvidia.com/gpu"',
    ):
        assert part in log
    await backend.run("debug-pause", {})
    assert "Not honoured: set_debug_pause (ARGO_DEBUG_PAUSE_AFTER)" in backend.log("say")


async def test_an_importer_takes_what_is_known_unless_it_shall_import_anew(
    backend: Backend, tmp_path: Path
) -> None:
    prepare_folder(tmp_path)
    ids = []
    for _ in range(2):
        await backend.run("importers", BY_NAME["importers"].arguments_in(tmp_path))
        artifacts = [
            backend.recorder.starts[path][-1].artifacts["thing"][0].artifact_id
            for path in ("read", "metadata-of")
        ]
        ids.append(artifacts)
    assert ids[0][0] != ids[1][0]
    assert ids[0][1] == ids[1][1]
