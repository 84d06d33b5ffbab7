"""Lightweight Python components as the kfp SDK compiles them, run in real environments."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from bridge.domain.states import RuntimeState
from bridge.domain.uris import local_path
from bridge.local.driver import RunExecutor
from bridge.local.launcher import SubprocessRunner
from bridge.local.object_store import ObjectStore
from bridge.local.recording import Outcome, RunToExecute
from bridge.spec.load import load_pipeline
from tests.support.s3 import running_s3
from tests.unit.local.recorder import MemoryRecorder


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pipelines of ``sdk_pipelines.py``, compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    source = Path(__file__).with_name("sdk_pipelines.py")
    subprocess.run([sys.executable, str(source), str(folder)], check=True, capture_output=True, timeout=100)
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


async def run(
    path: Path,
    data_dir: Path,
    *,
    objects: ObjectStore | None = None,
    root: str | None = None,
    **parameters: object,
) -> tuple[Outcome, MemoryRecorder]:
    recorder = MemoryRecorder()
    executor = RunExecutor(
        RunToExecute(
            kfp_run_id=uuid4(),
            display_name="a run",
            pipeline=load_pipeline(path),
            parameters=parameters,
            data_dir=data_dir,
            pipeline_root=root,
            caching=False,
        ),
        recorder,
        SubprocessRunner(data_dir / "environments"),
        slots=asyncio.Semaphore(2),
        objects=objects,
    )
    return await executor.execute(), recorder


async def test_everything_the_sdk_offers_in_one_pipeline(compiled: Path, data_dir: Path) -> None:
    outcome, recorder = await run(compiled / "everything.yaml", data_dir)
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert outcome.result.parameters == {"Output": 12}

    made = recorder.result("make-data")
    assert made.parameters == {"count": 3, "names": ["a", "b"]}
    (data,) = made.artifacts["data"]
    assert dict(data.metadata) == {"rows": 3}
    assert Path(str(local_path(data.uri))).read_text() == "0\n1\n2"

    trained = recorder.result("train")
    assert trained.parameters == {"Output": 0.75}
    assert dict(trained.artifacts["metrics"][0].metadata) == {"auc": 0.75, "rows": 3}
    curves = trained.artifacts["curves"][0]
    assert curves.schema_title == "system.ClassificationMetrics"
    assert len(curves.metadata["confidenceMetrics"]) == 3
    assert curves.metadata["confusionMatrix"]["rows"] == [{"row": [3, 1]}, {"row": [2, 4]}]
    assert trained.artifacts["report"][0].schema_title == "system.HTML"
    assert trained.artifacts["notes"][0].schema_title == "system.Markdown"

    assert recorder.result("read").parameters == {"Output": "from a custom path"}
    hostname = Path("/etc/hostname").read_text()
    assert recorder.result("read-2").parameters == {"Output": hostname}
    assert recorder.result("importer").artifacts["artifact"][0].uri == "file:///etc/hostname"
    said = [end.result.parameters["Output"] for path, end in recorder.ends.items() if path == "say-3"]
    assert said == ["hi big!!"]


async def test_artifacts_in_buckets_are_as_on_a_cluster_to_components(compiled: Path, data_dir: Path) -> None:
    """URIs are the buckets' own; paths, of files and folders, can be read and written like any."""
    with running_s3() as s3:
        s3.bucket("lake").put_object(Key="days/1 a+b.txt", Body=b"rows")
        kept = s3.bucket("kept")
        outcome, recorder = await run(
            compiled / "in-buckets.yaml",
            data_dir,
            objects=ObjectStore(s3.options),
            root="s3://kept/ml",
            uri="s3://lake/days/1 a+b.txt",
        )
        assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
        objects = {one.key: one.get()["Body"].read() for one in kept.objects.all()}

    packed = recorder.result("pack")
    run_root = f"ml/in-buckets/{recorder.starts['pack'][0].kfp_run_id}"
    model = packed.artifacts["model"][0]
    assert model.uri == f"s3://kept/{run_root}/pack/model"
    assert packed.parameters["Output"] == {"rows": "s3://lake/days/1 a+b.txt", "model": model.uri}
    assert packed.artifacts["named"][0].uri == f"s3://kept/{run_root}/pack/by-name"
    assert objects == {
        f"{run_root}/pack/model": b"ROWS",
        f"{run_root}/pack/parts/a": b"a",
        f"{run_root}/pack/parts/b": b"b",
        f"{run_root}/pack/by-name": b"named",
    }
    assert recorder.result("unpack").parameters == {"Output": "bnamed"}
    metrics = recorder.result("unpack").artifacts["metrics"][0]
    assert (metrics.uri, dict(metrics.metadata)) == (f"s3://kept/{run_root}/unpack/metrics", {"parts": 2})
    log = recorder.starts["unpack"][0].log_path
    assert log is not None
    assert "Brought here: 2 artifacts" in log.read_text()
    assert not (log.parent / "buckets").exists()


async def test_a_nested_pipeline_gives_its_output(compiled: Path, data_dir: Path) -> None:
    outcome, recorder = await run(compiled / "with-inner.yaml", data_dir, base=7.0)
    assert outcome.result.parameters == {"Output": 24}, outcome.message
    assert repr(recorder.starts["everything"][0].parameters["base"]) == "7"


async def test_a_component_that_raises(compiled: Path, data_dir: Path) -> None:
    outcome, recorder = await run(compiled / "breaks.yaml", data_dir)
    assert outcome.state is RuntimeState.FAILED
    assert outcome.failed_tasks == ("exit-handler-1.fail",)
    log = recorder.starts["exit-handler-1.fail"][0].log_path
    assert log is not None
    assert "ValueError: no flights on this day" in log.read_text()
    assert recorder.result("record").parameters == {"Output": "exit-handler-1 FAILED"}
    assert recorder.states()["exit-handler-1.say"] == "SUCCEEDED"


async def test_an_environment_that_cannot_be_built_fails_the_task_with_the_resolvers_words(
    compiled: Path, tmp_path: Path
) -> None:
    text = (compiled / "breaks.yaml").read_text().replace("kfp==2.17.0", "kfp==0.0.0.dev999")
    broken = tmp_path / "broken.yaml"
    broken.write_text(text)
    outcome, recorder = await run(broken, tmp_path)
    assert outcome.state is RuntimeState.FAILED
    message = str(recorder.ends["exit-handler-1.say"].message)
    assert "could not be built" in message
    assert "0.0.0.dev999" in message
