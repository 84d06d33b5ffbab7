"""The real ``kfp.Client`` against a real local backend: it must not be able to tell."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import kfp_server_api
import pytest

from tests.support.local_backend import LocalBackend, start_local_backend

pytestmark = pytest.mark.filterwarnings("ignore:This client only works with Kubeflow Pipeline:FutureWarning")
WAIT_SECONDS = 60


@pytest.fixture
def client(backend: LocalBackend) -> Any:
    return connect(backend.url)


def connect(url: str, **more: Any) -> Any:
    import kfp

    return kfp.Client(host=url, **more)


def filtered(operation: str, key: str, **value: Any) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, **value}]})


def wait_for(client: Any, run_id: str, *states: str) -> Any:
    """The run once it has one of these states; ``wait_for_run_completion`` never notices CANCELED."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (run := client.get_run(run_id)).state not in states:
        assert time.monotonic() < deadline, f"the run is still {run.state}"
        time.sleep(0.05)
    return run


def task(run: Any, name: str) -> Any:
    return next(one for one in run.run_details.task_details if one.display_name == name)


def test_upload_run_wait_and_list(client: Any, backend: LocalBackend, packages: dict[str, Path]) -> None:
    assert client.get_kfp_healthz().multi_user in (None, False)
    pipeline = client.upload_pipeline(str(packages["saying"]), pipeline_name="saying", description="says it")
    assert (pipeline.display_name, pipeline.description) == ("saying", "says it")
    assert client.get_pipeline_id("saying") == pipeline.pipeline_id
    version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    experiment = client.create_experiment("first steps")
    created = client.run_pipeline(
        experiment.experiment_id,
        "a first run",
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
        params={"text": "good morning"},
    )
    run = client.wait_for_run_completion(created.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "SUCCEEDED"
    assert run.finished_at >= run.created_at
    assert run.runtime_config.parameters == {"text": "good morning"}
    assert [task(run, name).state for name in ("root", "say", "say-2")] == ["SUCCEEDED"] * 3
    listed = client.list_runs(experiment_id=experiment.experiment_id)
    assert [(one.run_id, one.display_name, one.state) for one in listed.runs] == [
        (created.run_id, "a first run", "SUCCEEDED")
    ]
    pod = task(run, "say-2").pod_name
    log = httpx.get(f"{backend.url}/apis/v1alpha1/runs/{run.run_id}/nodes/{pod}/log")
    assert "saying again good morning" in log.text


def test_a_package_runs_without_an_upload(client: Any, packages: dict[str, Path]) -> None:
    result = client.create_run_from_pipeline_package(
        str(packages["saying"]), arguments={"text": "hi"}, run_name="inline", enable_caching=False
    )
    run = client.wait_for_run_completion(result.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "SUCCEEDED"
    assert run.pipeline_spec["pipelineInfo"]["name"] == "saying"
    assert client.get_experiment(run.experiment_id).display_name == "Default"


def test_terminate(client: Any, packages: dict[str, Path]) -> None:
    created = client.create_run_from_pipeline_package(str(packages["waiting"]), run_name="long")
    wait_for(client, created.run_id, "RUNNING")
    assert client.terminate_run(created.run_id) == {}
    run = wait_for(client, created.run_id, "CANCELED")
    assert [step.state for step in run.state_history][-2:] == ["CANCELING", "CANCELED"]
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.terminate_run(created.run_id)
    assert caught.value.status == 400
    assert json.loads(caught.value.body)["code"] == 3


def test_a_failure_names_its_task_and_retry_runs_it_again(client: Any, packages: dict[str, Path]) -> None:
    created = client.create_run_from_pipeline_package(str(packages["failing"]), run_name="woe")
    run = client.wait_for_run_completion(created.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "FAILED"
    assert "fail" in run.error.message
    assert "3" in task(run, "fail").error.message
    first_pod = task(run, "fail").pod_name
    client.runs.run_service_retry_run(created.run_id)
    run = client.wait_for_run_completion(created.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "FAILED"
    assert task(run, "fail").pod_name != first_pod


def test_filters_sorting_and_pages(client: Any, packages: dict[str, Path]) -> None:
    experiment = client.create_experiment(f"filters {uuid4()}").experiment_id
    names = ["alpha", "beta", "gamma"]
    runs = {
        name: client.create_run_from_pipeline_package(
            str(packages["saying"]), run_name=name, experiment_id=experiment
        ).run_id
        for name in names
    }
    for run_id in runs.values():
        wait_for(client, run_id, "SUCCEEDED")

    def found(filter: str, **more: Any) -> list[str]:
        listed = client.list_runs(experiment_id=experiment, filter=filter, **more)
        return [run.display_name for run in listed.runs or []]

    assert found(filtered("EQUALS", "run_id", string_value=runs["beta"])) == ["beta"]
    # The kfp SDK's own spelling: enum numbers and camelCase.
    assert found(filtered(1, "display_name", stringValue="gamma")) == ["gamma"]  # type: ignore[arg-type]
    assert (
        found(filtered("IS_SUBSTRING", "name", string_value="a"), sort_by="display_name desc") == names[::-1]
    )
    assert found(filtered("IN", "state", string_values={"values": ["FAILED", "CANCELED"]})) == []
    zero = "1970-01-01T00:00:00Z"
    assert found(filtered("EQUALS", "finished_at", timestamp_value=zero)) == []
    assert sorted(found(filtered("GREATER_THAN", "finished_at", timestamp_value=zero))) == names
    page = client.list_runs(experiment_id=experiment, page_size=2, sort_by="display_name")
    rest = client.list_runs(
        experiment_id=experiment, page_size=2, sort_by="display_name", page_token=page.next_page_token
    )
    assert page.total_size == 3
    assert [run.display_name for run in [*page.runs, *rest.runs]] == names
    assert not rest.next_page_token


def test_versions_by_name(client: Any, packages: dict[str, Path]) -> None:
    name = f"versions {uuid4()}"
    pipeline = client.upload_pipeline(str(packages["saying"]), pipeline_name=name)
    second = client.upload_pipeline_version(
        str(packages["failing"]), "second", pipeline_name=name, description="another"
    )
    assert second.pipeline_spec["pipelineInfo"]["name"] == "failing"
    listed = client.list_pipeline_versions(
        pipeline.pipeline_id, filter=filtered("EQUALS", "name", string_value="second")
    )
    assert [one.pipeline_version_id for one in listed.pipeline_versions] == [second.pipeline_version_id]
    found = client.pipelines.pipeline_service_get_pipeline_by_name(name=name)
    assert found.pipeline_id == pipeline.pipeline_id
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.upload_pipeline_version(str(packages["failing"]), "second", pipeline_id=pipeline.pipeline_id)
    assert caught.value.status == 409
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.delete_pipeline(pipeline.pipeline_id)
    assert caught.value.status == 400
    for version in client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions:
        client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    client.delete_pipeline(pipeline.pipeline_id)
    assert client.get_pipeline_id(name) is None


def test_experiments_and_runs_are_archived_restored_and_deleted(
    client: Any, packages: dict[str, Path]
) -> None:
    experiment = client.create_experiment(f"old {uuid4()}")
    assert client.create_experiment(experiment.display_name).experiment_id == experiment.experiment_id
    run_id = client.create_run_from_pipeline_package(
        str(packages["saying"]), experiment_id=experiment.experiment_id
    ).run_id
    wait_for(client, run_id, "SUCCEEDED")
    client.archive_run(run_id)
    assert client.get_run(run_id).storage_state == "ARCHIVED"
    client.unarchive_run(run_id)
    client.archive_experiment(experiment.experiment_id)
    assert client.get_experiment(experiment.experiment_id).storage_state == "ARCHIVED"
    assert client.get_run(run_id).storage_state == "ARCHIVED"
    client.delete_run(run_id)
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.get_run(run_id)
    assert caught.value.status == 404
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(ValueError, match="No experiment is found"):
        client.get_experiment(experiment_name=experiment.display_name)


def test_arguments_are_checked_before_anything_runs(client: Any, packages: dict[str, Path]) -> None:
    before = client.list_runs().total_size
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.create_run_from_pipeline_package(str(packages["waiting"]), arguments={"secconds": "1"})
    assert caught.value.status == 400
    assert "secconds" in json.loads(caught.value.body)["message"]
    assert client.list_runs().total_size == before


def test_a_token(tmp_path: Path) -> None:
    with start_local_backend(tmp_path / "with-token", token="s3cret") as guarded:
        assert connect(guarded.url, existing_token="s3cret").list_experiments().total_size == 1
        with pytest.raises(kfp_server_api.ApiException) as caught:
            connect(guarded.url, existing_token="wrong").list_experiments()
    assert caught.value.status == 401
    assert json.loads(caught.value.body)["code"] == 16
