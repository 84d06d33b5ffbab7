"""Where a replay gets what a task was given."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import httpx
import pytest

from bridge.commands.failures import CommandError
from bridge.commands.replay_sources import GivenArtifact, GivenRun, GivenTask, bring
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.content import download
from bridge.kfp_api.errors import KfpNotFound
from bridge.local.replay import ReplayError, find_task, typed_parameters
from bridge.spec.load import load_pipeline
from tests.support import handmade


def given_run(**states: str) -> GivenRun:
    """A run of the loop pipeline whose tasks are in these states."""
    tasks = tuple(
        GivenTask(path=path.replace("__", "."), state=state, parameters={}, artifacts=())
        for path, state in states.items()
    )
    work = handmade.task("work", "comp-work")
    document = handmade.document(
        {"work": work}, {"comp-work": handmade.component(executorLabel="exec")}, {"exec": handmade.sh("true")}
    )
    return GivenRun(
        kfp_run_id=UUID(int=1), display_name="one", pipeline=load_pipeline(str(document)), tasks=tasks
    )


def artifact(uri: str, key: str = "rows") -> GivenArtifact:
    return GivenArtifact(key=key, index=0, type="system.Dataset", uri=uri, name=key, metadata={"n": 3})


def not_fetched(one: GivenArtifact, target: Path) -> None:
    raise CommandError("the store does not answer")


def test_the_failed_task_furthest_down_is_chosen() -> None:
    run = given_run(loop="FAILED", loop__body="FAILED", after="SKIPPED")
    assert run.task(None).path == "loop.body"
    assert run.task("after").state == "SKIPPED"
    with pytest.raises(CommandError, match="no task of the run failed"):
        given_run(work="SUCCEEDED").task(None)


def test_a_path_with_iterations_leads_to_what_they_run() -> None:
    pipeline = given_run().pipeline
    assert find_task(pipeline.model, "work[3]").component.executor == "exec"
    with pytest.raises(ReplayError, match="at other there are work"):
        find_task(pipeline.model, "other")


def test_numbers_of_a_metadata_store_become_what_the_component_declares() -> None:
    work = handmade.task("work", "comp-work")
    component = handmade.component(
        inputs=handmade.parameters(epochs="int", rate="float=0.5"), executorLabel="exec"
    )
    document = handmade.document({"work": work}, {"comp-work": component}, {"exec": handmade.sh("true")})
    found = find_task(load_pipeline(str(document)).model, "work")
    typed = typed_parameters(found.component, {"epochs": 3.0})
    assert typed == {"epochs": 3, "rate": 0.5}
    assert isinstance(typed["epochs"], int)


def test_files_of_this_machine_are_used_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1")
    brought = bring([artifact((tmp_path / "rows.csv").as_uri())], tmp_path / "in", not_fetched)
    assert brought["rows"][0].uri == (tmp_path / "rows.csv").as_uri()
    assert brought["rows"][0].metadata == {"n": 3}


def test_others_are_fetched(tmp_path: Path) -> None:
    def fetch(one: GivenArtifact, target: Path) -> None:
        target.write_text(one.uri or "")

    brought = bring([artifact("minio://bucket/deep/rows.csv")], tmp_path, fetch)
    path = tmp_path / "rows/0/rows.csv"
    assert brought["rows"][0].uri == path.as_uri()
    assert path.read_text() == "minio://bucket/deep/rows.csv"


def test_an_input_that_cannot_be_had_is_told_with_every_way_that_was_tried(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"rows cannot be fetched from memory://gone/x") as caught:
        bring([artifact("memory://gone/x")], tmp_path, not_fetched)
    assert caught.value.details == ("memory: FileNotFoundError: /gone/x", "the store does not answer")


async def test_kfps_ui_passes_on_what_lies_in_its_store(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/pipeline/artifacts/get"
        assert dict(request.url.params) == {
            "source": "gcs",
            "bucket": "b",
            "key": "a/b c",
            "namespace": "team",
        }
        return httpx.Response(200, content=b"weights")

    transport = httpx.MockTransport(answer)
    async with KfpClient("https://kfp.example.com/pipeline", transport=transport) as kfp:
        written = await download(kfp, "gs://b/a/b c", tmp_path / "x", namespace="team")
    assert (written, (tmp_path / "x").read_bytes()) == (7, b"weights")


async def test_what_its_store_lacks_is_an_error(tmp_path: Path) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(404, json={"error": "no such key"}))
    async with KfpClient("https://kfp.example.com", transport=transport) as kfp:
        with pytest.raises(KfpNotFound):
            await download(kfp, "s3://b/gone", tmp_path / "x")
        with pytest.raises(ValueError, match="not file:///x"):
            await download(kfp, "file:///x", tmp_path / "x")
