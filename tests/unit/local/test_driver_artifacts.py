"""Artifacts: where they lie, what components see, what is recorded; importers; the cache."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from bridge.domain.states import RuntimeState
from bridge.domain.uris import local_path
from bridge.spec.load import Pipeline, load_pipeline
from tests.support.handmade import (
    artifact_from_task,
    artifacts,
    component,
    constant,
    from_input,
    parameters,
    pipeline,
    sh,
    task,
)
from tests.unit.local.conftest import Driver

READ = component(
    input_artifacts=artifacts(data="Dataset"), outputs=parameters(Output="str"), executorLabel="read"
)
READ_FILE = sh(
    'cat "$0" > "$1"',
    "{{$.inputs.artifacts['data'].path}}",
    "{{$.outputs.parameters['Output'].output_file}}",
)
CACHED = {"cachingOptions": {"enableCache": True}}


def giving(message: dict[str, Any]) -> dict[str, Any]:
    """A container that writes this as its executor_output.json."""
    return sh('printf "%s" "$0" > "$1"', json.dumps(message), "{{$.outputs.output_file}}")


async def test_an_artifact_is_a_plain_path_to_components_and_a_file_uri_on_record(driver: Driver) -> None:
    write = component(output_artifacts=artifacts(data="Dataset"), executorLabel="write")
    executors = {
        "write": sh('printf "rows of %s" "$0" > "$0"', "{{$.outputs.artifacts['data'].path}}"),
        "read": READ_FILE,
    }
    executor = driver.executor(
        pipeline(
            [
                task("write", "write"),
                task("read", "read", artifacts={"data": artifact_from_task("write", "data")}),
            ],
            {"write": write, "read": READ},
            executors,
        )
    )
    outcome = await executor.execute()
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    place = driver.folder / "artifacts" / "by-hand" / str(executor.run.kfp_run_id) / "write" / "data"
    (artifact,) = driver.recorder.result("write").artifacts["data"]
    assert local_path(artifact.uri) == str(place)
    assert artifact.uri.startswith("file:///")
    assert artifact.schema_title == "system.Dataset"
    assert driver.recorder.result("read").parameters == {"Output": f"rows of {place}"}
    assert driver.recorder.starts["read"][0].artifacts["data"][0].artifact_id == 1


async def test_a_pipeline_root_of_ones_own(driver: Driver, tmp_path: Path) -> None:
    write = component(output_artifacts=artifacts(data="Dataset"), executorLabel="write")
    executors = {"write": sh('echo x > "$0"', "{{$.outputs.artifacts['data'].path}}")}
    made = pipeline([task("write", "write")], {"write": write}, executors)
    for root in (str(tmp_path / "mine"), (tmp_path / "mine").as_uri()):
        await driver.execute(made, pipeline_root=root)
        (artifact,) = driver.recorder.result("write").artifacts["data"]
        assert artifact.uri.startswith((tmp_path / "mine" / "by-hand").as_uri())
        assert Path(str(local_path(artifact.uri))).read_text() == "x\n"


async def test_metadata_moved_uris_and_custom_paths_come_back(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("made elsewhere")
    metrics = {"accuracy": 0.5, "epochs": 3, "note": "ü", "confusionMatrix": {"rows": [{"row": [1, 2]}]}}
    message = {
        "artifacts": {
            "metrics": {"artifacts": [{"name": "m", "metadata": metrics}]},
            "model": {"artifacts": [{"uri": "s3://bucket/model", "metadata": {"framework": "x"}}]},
            "report": {"artifacts": [{"custom_path": str(tmp_path / "elsewhere")}]},
        }
    }
    outputs = artifacts(metrics="Metrics", model="Model", report="HTML")
    give = component(output_artifacts=outputs, executorLabel="give")
    await driver.execute(pipeline([task("give", "give")], {"give": give}, {"give": giving(message)}))
    given = driver.recorder.result("give").artifacts
    assert dict(given["metrics"][0].metadata) == metrics
    assert given["metrics"][0].schema_title == "system.Metrics"
    assert given["model"][0].uri == "s3://bucket/model"
    assert Path(str(local_path(given["report"][0].uri))).read_text() == "made elsewhere"


async def test_the_folder_of_the_output_file_is_that_of_the_artifacts_and_is_clean_at_each_attempt(
    driver: Driver,
) -> None:
    """dsl.get_uri() takes it for the root of the task's own artifacts."""
    give = component(
        output_artifacts=artifacts(model="Model"), outputs=parameters(Output="str"), executorLabel="g"
    )
    message = json.dumps({"parameterValues": {"Output": "first"}})
    script = 'test -e "$0" && exit 0; printf "%s" "$1" > "$0"; dirname "$0" > "$2"; exit 1'
    words = ("{{$.outputs.output_file}}", message, str(driver.folder / "seen"))
    retried = task("give", "give", retryPolicy={"maxRetryCount": 1, "backoffDuration": "0s"})
    executor = driver.executor(pipeline([retried], {"give": give}, {"g": sh(script, *words)}))
    outcome = await executor.execute()
    assert outcome.state is RuntimeState.FAILED
    place = driver.folder / "artifacts" / "by-hand" / str(executor.run.kfp_run_id) / "give"
    assert (driver.folder / "seen").read_text() == f"{place}\n"


async def test_an_executor_output_that_is_no_json_fails_the_task(driver: Driver) -> None:
    give = component(executorLabel="give", outputs=parameters(Output="str"))
    broken = sh('printf "{" > "$0"', "{{$.outputs.output_file}}")
    outcome = await driver.execute(pipeline([task("give", "give")], {"give": give}, {"give": broken}))
    assert "executor_output.json is no JSON" in str(outcome.message)
    assert "executor_output.json is no JSON" in driver.log("give")


def importing(uri: dict[str, Any], **more: Any) -> Pipeline:
    """A pipeline that imports a dataset and reads it."""
    importer = {"artifactUri": uri, "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    imports = component(
        inputs=parameters(uri="str?", tag="str?"),
        output_artifacts=artifacts(artifact="Dataset"),
        executorLabel="import",
    )
    return pipeline(
        [
            task("importer", "import", parameters={"uri": from_input("uri"), "tag": constant("t1")}),
            task("read", "read", artifacts={"data": artifact_from_task("importer", "artifact")}),
        ],
        {"import": imports, "read": READ},
        {"import": {"importer": {**importer, **more}}, "read": READ_FILE},
        inputs=parameters(uri="str?"),
    )


async def test_an_importer_takes_its_uri_from_a_parameter(driver: Driver, tmp_path: Path) -> None:
    place = tmp_path / "year=2013" / "part 1.txt"
    place.parent.mkdir()
    place.write_text("flights")
    metadata = {"tag": "{{$.inputs.parameters['tag']}}", "rows": 3}
    made = importing({"runtimeParameter": "uri"}, metadata=metadata)
    uri = f"file://{tmp_path}/year=2013/part%201.txt"
    outcome = await driver.execute(made, parameters={"uri": uri})
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("read").parameters == {"Output": "flights"}
    (artifact,) = driver.recorder.result("importer").artifacts["artifact"]
    assert (artifact.uri, dict(artifact.metadata)) == (uri, {"tag": "t1", "rows": 3})
    assert driver.recorder.created["importer"].kind == "importer"


async def test_an_importer_knows_what_was_imported_before_unless_told_to_reimport(
    driver: Driver, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("x")
    constant_uri = {"constant": f"file://{tmp_path}/data"}
    for _ in range(2):
        await driver.execute(importing(constant_uri))
    assert len(driver.recorder.artifacts) == 1
    await driver.execute(importing(constant_uri, reimport=True))
    assert len(driver.recorder.artifacts) == 2


async def test_an_importer_without_a_uri_fails(driver: Driver) -> None:
    outcome = await driver.execute(importing({"runtimeParameter": "uri"}))
    assert outcome.message == "The task importer failed: importer imports an artifact without a URI."


async def test_the_same_work_is_taken_from_the_cache(driver: Driver, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("one")
    made = importing({"constant": f"file://{data}"})
    spec = json.loads(json.dumps(made.document))
    spec["root"]["dag"]["tasks"]["read"].update(CACHED)
    cached = load_pipeline(json.dumps(spec))
    first = driver.executor(cached, uuid4())
    await first.execute()
    assert driver.recorder.ends["read"].fingerprint is not None
    task_id = driver.recorder.ends["read"].task_id

    again = driver.executor(cached, uuid4())
    outcome = await again.execute()
    assert outcome.state is RuntimeState.SUCCEEDED
    end = driver.recorder.ends["read"]
    assert (end.state, end.cached_task_id) == (RuntimeState.SKIPPED, task_id)
    assert end.result.parameters == {"Output": "one"}
    assert len(driver.recorder.pods()) == 1
    # A cached task has used its inputs all the same.
    assert driver.recorder.starts["read"][-1].artifacts.keys() == {"data"}


async def test_the_cache_is_not_used_when_the_run_or_the_data_says_no(driver: Driver, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("one")
    spec = json.loads(json.dumps(importing({"constant": f"file://{data}"}).document))
    spec["root"]["dag"]["tasks"]["read"].update(CACHED)
    cached = load_pipeline(json.dumps(spec))
    await driver.execute(cached)
    await driver.execute(cached, caching=False)
    assert driver.recorder.ends["read"].state is RuntimeState.SUCCEEDED
    data.write_text("other content")
    await driver.execute(cached)
    assert driver.recorder.result("read").parameters == {"Output": "other content"}
    assert len(driver.recorder.pods()) == 3


async def test_a_cached_result_whose_files_are_gone_is_made_again(driver: Driver) -> None:
    write = component(output_artifacts=artifacts(data="Dataset"), executorLabel="write")
    executors = {"write": sh('echo x > "$0"', "{{$.outputs.artifacts['data'].path}}")}
    made = pipeline([task("write", "write", **CACHED)], {"write": write}, executors)
    await driver.execute(made)
    (artifact,) = driver.recorder.result("write").artifacts["data"]
    Path(str(local_path(artifact.uri))).unlink()
    await driver.execute(made)
    (again,) = driver.recorder.result("write").artifacts["data"]
    assert driver.recorder.ends["write"].state is RuntimeState.SUCCEEDED
    assert replace(again, artifact_id=None) != replace(artifact, artifact_id=None)
