"""Artifacts on an S3 server: what tasks give and get, what the cache sees, and what is said when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.domain.states import RuntimeState
from bridge.local.app import create_app
from bridge.local.object_store import ObjectStore, ObjectStoreError
from bridge.local.recording import StoredArtifact
from bridge.local.settings import LocalSettings
from bridge.local.staging import Staging
from bridge.spec.load import Pipeline
from deploy.laptop.processes import free_port
from tests.support.handmade import (
    artifact_from_task,
    artifacts,
    component,
    document,
    from_input,
    parameters,
    pipeline,
    sh,
    task,
)
from tests.support.s3 import SECRET, S3Server, running_s3
from tests.unit.local.conftest import Driver

ROOT = "s3://kept/ml"
QUICK: dict[str, Any] = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
WRITE = component(output_artifacts=artifacts(data="Dataset", more="Dataset"), executorLabel="write")
READ = component(
    input_artifacts=artifacts(data="Dataset"), outputs=parameters(Output="str"), executorLabel="read"
)
READ_FILE = sh(
    'cat "$0" > "$1"',
    "{{$.inputs.artifacts['data'].path}}",
    "{{$.outputs.parameters['Output'].output_file}}",
)
WRITE_FILES = sh(
    'printf "%s" "$1" > "$0"; mkdir "$2"; echo x > "$2/x"',
    "{{$.outputs.artifacts['data'].path}}",
    "{{$.outputs.artifacts['data'].uri}}",
    "{{$.outputs.artifacts['more'].path}}",
)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        server.bucket("kept")
        server.bucket("lake")
        yield server


@pytest.fixture
def driver(tmp_path: Path, s3: S3Server) -> Driver:
    driver = Driver(tmp_path)
    driver.objects = ObjectStore(s3.options)
    return driver


def writing_and_reading(**more: Any) -> Pipeline:
    reads = {"data": artifact_from_task("write", "data")}
    tasks = [task("write", "write", **more), task("read", "read", artifacts=reads)]
    return pipeline(tasks, {"write": WRITE, "read": READ}, {"write": WRITE_FILES, "read": READ_FILE})


def reading(**more: Any) -> Pipeline:
    """A pipeline that imports what is at ``uri`` and reads it."""
    importer = {
        "artifactUri": {"runtimeParameter": "uri"},
        "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
    }
    imports = component(
        inputs=parameters(uri="str"), output_artifacts=artifacts(artifact="Dataset"), executorLabel="import"
    )
    reads = {"data": artifact_from_task("importer", "artifact")}
    return pipeline(
        [
            task("importer", "import", parameters={"uri": from_input("uri")}),
            task("read", "read", artifacts=reads, **more),
        ],
        {"import": imports, "read": READ},
        {"import": {"importer": importer}, "read": READ_FILE},
        inputs=parameters(uri="str"),
    )


async def test_a_command_line_has_paths_and_the_record_has_uris(driver: Driver, s3: S3Server) -> None:
    outcome = await driver.execute(writing_and_reading(), pipeline_root=ROOT)
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    run = driver.recorder.starts["write"][0].kfp_run_id
    written = driver.recorder.result("write").artifacts
    assert written["data"][0].uri == f"{ROOT}/by-hand/{run}/write/data"
    assert driver.recorder.result("read").parameters == {"Output": written["data"][0].uri}
    keys = {one.key for one in s3.bucket("kept").objects.filter(Prefix=f"ml/by-hand/{run}")}
    assert keys == {f"ml/by-hand/{run}/write/data", f"ml/by-hand/{run}/write/more/x"}
    assert not list(driver.folder.rglob("buckets"))


async def test_a_result_is_cached_as_long_as_its_objects_are_there(driver: Driver, s3: S3Server) -> None:
    made = writing_and_reading(cachingOptions={"enableCache": True})
    await driver.execute(made, pipeline_root=ROOT)
    await driver.execute(made, pipeline_root=ROOT)
    assert driver.recorder.states()["write"] == "SKIPPED"
    (kept,) = driver.recorder.result("write").artifacts["data"]
    ObjectStore(s3.options).remove(kept.uri)
    await driver.execute(made, pipeline_root=ROOT)
    assert driver.recorder.states()["write"] == "SUCCEEDED"


async def test_an_object_that_was_written_anew_is_not_answered_from_the_cache(
    driver: Driver, s3: S3Server
) -> None:
    made = reading(cachingOptions={"enableCache": True})
    for content, state in [("one", "SUCCEEDED"), ("one", "SKIPPED"), ("two", "SUCCEEDED")]:
        if state == "SUCCEEDED":
            s3.bucket("lake").put_object(Key="a day.txt", Body=content.encode())
        outcome = await driver.execute(made, parameters={"uri": "s3://lake/a day.txt"})
        assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
        assert driver.recorder.states()["read"] == state
        assert driver.recorder.result("read").parameters == {"Output": content}


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("s3://lake/nothing", "There is nothing at s3://lake/nothing on the S3 server http://"),
        ("s3://nowhere/x", "there is no bucket nowhere on the S3 server http://"),
        ("minio://lake/../../x", "would lie outside of its bucket's folder"),
    ],
)
async def test_what_cannot_be_brought_fails_the_task_and_says_why(
    driver: Driver, uri: str, told: str
) -> None:
    outcome = await driver.execute(reading(), parameters={"uri": uri})
    assert outcome.state is RuntimeState.FAILED
    assert told in str(driver.recorder.ends["read"].message)
    log = driver.recorder.starts["read"][0].log_path
    assert log is not None
    assert told in log.read_text()


async def test_what_a_component_did_not_write_is_no_error_of_the_next_one(driver: Driver) -> None:
    reads = {"data": artifact_from_task("write", "data")}
    tasks = [task("write", "write"), task("read", "read", artifacts=reads)]
    looks = sh(
        'test -e "$0" || printf nothing > "$1"',
        "{{$.inputs.artifacts['data'].path}}",
        "{{$.outputs.parameters['Output'].output_file}}",
    )
    made = pipeline(tasks, {"write": WRITE, "read": READ}, {"write": sh("true"), "read": looks})
    outcome = await driver.execute(made, pipeline_root=ROOT)
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("read").parameters == {"Output": "nothing"}


async def test_links_are_not_followed_into_this_machine(driver: Driver, s3: S3Server) -> None:
    links = sh('mkdir "$0"; ln -s /etc/hostname "$0/mine"', "{{$.outputs.artifacts['data'].path}}")
    made = pipeline([task("write", "write")], {"write": WRITE}, {"write": links})
    outcome = await driver.execute(made, pipeline_root=ROOT)
    assert outcome.state is RuntimeState.FAILED
    assert "mine is a link to /etc/hostname" in str(driver.recorder.ends["write"].message)
    run = driver.recorder.starts["write"][0].kfp_run_id
    assert not list(s3.bucket("kept").objects.filter(Prefix=f"ml/by-hand/{run}"))


def test_what_is_on_its_way_when_a_task_is_ended_goes_no_further(tmp_path: Path, s3: S3Server) -> None:
    s3.bucket("lake").put_object(Key="large", Body=bytes(1 << 22))
    large = StoredArtifact(schema_title="system.Dataset", uri="s3://lake/large")
    staging = Staging(tmp_path / "buckets", ObjectStore(s3.options))
    staging.stop()
    with pytest.raises(ObjectStoreError, match="ended while its artifacts were on their way"):
        staging.bring({"data": [large]})
    written = tmp_path / "buckets" / "s3" / "lake" / "large"
    written.write_bytes(b"what was written")
    with pytest.raises(ObjectStoreError, match="ended while"):
        staging.take([large])


async def test_a_folder_is_brought_whole_beside_an_input_that_lies_in_it(
    tmp_path: Path, s3: S3Server
) -> None:
    for name in ("one", "two", "three"):
        s3.bucket("lake").put_object(Key=f"within/{name}.csv", Body=name.encode())
    staging = Staging(tmp_path / "buckets", ObjectStore(s3.options))
    given = [
        StoredArtifact(schema_title="system.Dataset", uri=f"s3://lake/{key}")
        for key in ("within/one.csv", "within", "within/two.csv")
    ]
    staging.bring({"inputs": given})
    place = staging.place("s3://lake/within")
    assert place is not None
    assert {one.name: one.read_text() for one in place.iterdir()} == {
        "one.csv": "one",
        "two.csv": "two",
        "three.csv": "three",
    }


def test_what_is_removed_is_named_and_no_pattern(s3: S3Server) -> None:
    store = ObjectStore(s3.options)
    for key in ("r[1]/run/t/a", "r[1]/run/t/b*", "r[1]/run/t2/c", "r1/run/t/a"):
        s3.bucket("kept").put_object(Key=key, Body=b"x")
    store.remove("s3://kept/r[1]/run/t")
    store.remove("s3://kept/nothing")
    left = {one.key for one in s3.bucket("kept").objects.all() if one.key.startswith("r")}
    assert left == {"r[1]/run/t2/c", "r1/run/t/a"}


async def test_what_an_attempt_uploaded_that_failed_is_removed_by_the_next(
    driver: Driver, s3: S3Server
) -> None:
    script = (
        'if [ -e "$3" ]; then mkdir -p "$0" && echo b > "$0/part-B" && echo x > "$1"; '
        'else touch "$3"; mkdir -p "$0" && echo a > "$0/part-A" && ln -s /etc/hostname "$1"; fi'
    )
    places = ("{{$.outputs.artifacts['data'].path}}", "{{$.outputs.artifacts['more'].path}}")
    write = sh(script, *places, "", str(driver.folder / "tried"))
    made = pipeline(
        [task("write", "write", retryPolicy={"maxRetryCount": 1})], {"write": WRITE}, {"write": write}
    )
    outcome = await driver.execute(made, pipeline_root=ROOT)
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    run = driver.recorder.starts["write"][0].kfp_run_id
    keys = {one.key for one in s3.bucket("kept").objects.filter(Prefix=f"ml/by-hand/{run}")}
    assert keys == {f"ml/by-hand/{run}/write/data/part-B", f"ml/by-hand/{run}/write/more"}


async def test_with_caching_too_a_server_that_fails_is_met_by_attempts_with_a_log(
    driver: Driver, s3: S3Server
) -> None:
    driver.objects = ObjectStore({**s3.options, **QUICK, "endpoint_url": f"http://127.0.0.1:{free_port()}"})
    made = reading(cachingOptions={"enableCache": True}, retryPolicy={"maxRetryCount": 1})
    outcome = await driver.execute(made, parameters={"uri": "s3://lake/anything"})
    assert outcome.state is RuntimeState.FAILED
    attempts = driver.recorder.starts["read"]
    assert len(attempts) == 2
    assert attempts[0].log_path is not None
    assert "does not answer" in attempts[0].log_path.read_text()


def test_a_folder_that_is_a_link_leads_nothing_of_this_machine_to_the_bucket(
    tmp_path: Path, s3: S3Server
) -> None:
    staging = Staging(tmp_path / "buckets", ObjectStore(s3.options))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "model").write_text("private")
    place = staging.place("s3://kept/linked/model")
    assert place is not None
    place.parent.parent.mkdir(parents=True)
    place.parent.symlink_to(tmp_path / "home")
    with pytest.raises(ObjectStoreError, match="behind a link"):
        staging.take([StoredArtifact(schema_title="system.Model", uri="s3://kept/linked/model")])
    assert not list(s3.bucket("kept").objects.filter(Prefix="linked"))


def test_an_object_whose_key_leads_out_of_its_folder_is_not_brought(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.bucket("lake").put_object(Key="tricky/../../../out", Body=b"x")
    staging = Staging(tmp_path / "a" / "b", ObjectStore(s3.options))
    folder = StoredArtifact(schema_title="system.Dataset", uri="s3://lake/tricky")
    with pytest.raises(ObjectStoreError, match="outside of its folder"):
        staging.bring({"data": [folder]})
    assert not list(tmp_path.rglob("out"))


def test_a_server_that_is_away_a_missing_bucket_and_wrong_credentials_are_told_apart(s3: S3Server) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ObjectStoreError, match=f"{away} does not answer .* see that it runs"):
        ObjectStore({**s3.options, **QUICK, "endpoint_url": away}).check(ROOT)
    with pytest.raises(ObjectStoreError, match=r"no bucket nowhere on .*: create it, or name another one"):
        ObjectStore(s3.options).check("s3://nowhere/ml")
    ObjectStore(s3.options).check(ROOT)
    # From now on the server looks at credentials; it knows none.
    httpx.post(f"{s3.url}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        with pytest.raises(
            ObjectStoreError, match=r"refuses \(InvalidAccessKeyId\).*AWS_ACCESS_KEY_ID"
        ) as told:
            ObjectStore({**s3.options, **QUICK}).check(ROOT)
    finally:
        httpx.post(f"{s3.url}/moto-api/reset-auth", content=b"inf").raise_for_status()
    assert SECRET not in str(told.value)


async def test_the_backend_passes_objects_of_its_artifacts_on_and_no_others(
    tmp_path: Path, s3: S3Server
) -> None:
    s3.bucket("kept").put_object(Key="stranger", Body=b"x")
    settings = LocalSettings(data_dir=tmp_path, artifacts=ROOT, artifact_options=s3.options)
    app = create_app(settings)
    spec = document({"write": task("write", "write")}, {"write": WRITE}, {"write": WRITE_FILES})
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        made = await client.post("/apis/v2beta1/runs", json={"display_name": "r", "pipeline_spec": spec})
        run = made.json()["run_id"]
        async with asyncio.timeout(20):
            while (await client.get(f"/apis/v2beta1/runs/{run}")).json()["state"] != "SUCCEEDED":
                await asyncio.sleep(0.02)
        key = f"ml/by-hand/{run}/write/data"
        place = {"source": "s3", "bucket": "kept", "key": key}
        whole = await client.get("/artifacts/get", params=place)
        assert (whole.status_code, whole.text) == (200, f"s3://kept/{key}")
        assert (await client.get("/artifacts/get", params={**place, "peek": "5"})).text == "s3://"
        inside = await client.get(f"/artifacts/s3/kept/ml/by-hand/{run}/write/more/x")
        assert inside.text == "x\n"
        for other, status in [("stranger", 404), (f"{key}/../../x", 404), ("", 400)]:
            answer = await client.get("/artifacts/get", params={**place, "key": other})
            assert answer.status_code == status, answer.text
        folder = await client.get("/artifacts/get", params={**place, "key": f"ml/by-hand/{run}/write/more"})
        assert "is a folder" in folder.text
