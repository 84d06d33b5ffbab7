"""Both of KFP's own clients against a real local backend: they must not be able to tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import kfp_server_api
import pytest

from tests.support.kfp_swagger import Metadata
from tests.support.local_backend import LocalBackend, start_local_backend

pytestmark = pytest.mark.filterwarnings("ignore:This client only works with Kubeflow Pipeline:FutureWarning")
WAIT_SECONDS = 60


def start(client: Any, package: Path, experiment_id: str | None = None, **params: Any) -> Any:
    """A run of a package in an experiment, by default the default one."""
    if experiment_id is None:
        listed = client.list_experiments(filter=filtered("EQUALS", "name", string_value="Default"))
        experiment_id = listed.experiments[0].experiment_id
    return client.run_pipeline(
        experiment_id, f"a run of {package.stem}", pipeline_package_path=str(package), params=params
    )


def filtered(operation: str, key: str, **value: Any) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, **value}]})


def wait_for(client: Any, run_id: str, *states: str) -> Any:
    """The run once it has one of these states; ``wait_for_run_completion`` never notices CANCELED."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (run := client.get_run(run_id)).state not in states:
        assert time.monotonic() < deadline, f"the run is still {run.state}: {run}"
        time.sleep(0.05)
    return run


@pytest.fixture(scope="module", params=["mlmd", pytest.param("native", marks=pytest.mark.slow)])
def metadata_shape(request: pytest.FixtureRequest) -> Metadata:
    """KFP's published clients know one shape only, and must not mind the other."""
    shape: Metadata = request.param
    return shape


def task(backend: LocalBackend, run: Any, name: str) -> tuple[str, str, str]:
    """A task of a run in either shape: its state, its pod and why it failed."""
    if run.run_details is not None:
        told = next(one for one in run.run_details.task_details if one.display_name == name)
        return told.state, told.pod_name, told.error.message if told.error else ""
    listed = backend.get(f"/apis/v2beta1/runs/{run.run_id}/tasks").json()["tasks"]
    found = next(one for one in listed if one["name"] == {"root": "ROOT"}.get(name, name))
    pod = found["pods"][-1]["name"] if "pods" in found else ""
    return found["state"], pod, found.get("status_metadata", {}).get("message", "")


def test_upload_run_wait_and_list(client: Any, backend: LocalBackend, packages: dict[str, Path]) -> None:
    assert client.get_kfp_healthz().multi_user in (None, False)
    name = f"saying {uuid4()}"
    pipeline = client.upload_pipeline(str(packages["saying"]), pipeline_name=name, description="says it")
    assert (pipeline.display_name, pipeline.description) == (name, "says it")
    assert client.get_pipeline(pipeline.pipeline_id).created_at == pipeline.created_at
    version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    experiment = client.create_experiment(f"first steps {uuid4()}")
    created = client.run_pipeline(
        experiment.experiment_id,
        "a first run",
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
        # A text of its own, which no other run has left in the cache.
        params={"text": name},
    )
    run = client.wait_for_run_completion(created.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "SUCCEEDED"
    assert run.finished_at >= run.created_at
    assert run.runtime_config.parameters == {"text": name}
    assert [task(backend, run, name)[0] for name in ("root", "say", "say-2")] == ["SUCCEEDED"] * 3
    listed = client.list_runs(experiment_id=experiment.experiment_id)
    assert [(one.run_id, one.display_name, one.state) for one in listed.runs] == [
        (created.run_id, "a first run", "SUCCEEDED")
    ]
    _, pod, _ = task(backend, run, "say-2")
    log = backend.get(f"/apis/v1alpha1/runs/{run.run_id}/nodes/{pod}/log")
    assert f"saying again {name}" in log.text


def test_a_package_runs_without_an_upload(client: Any, packages: dict[str, Path]) -> None:
    result = start(client, packages["saying"], text="hi")
    run = client.wait_for_run_completion(result.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "SUCCEEDED"
    assert run.pipeline_spec["pipelineInfo"]["name"] == "saying"
    assert client.get_experiment(run.experiment_id).display_name == "Default"


def test_terminate(client: Any, packages: dict[str, Path]) -> None:
    created = start(client, packages["waiting"])
    wait_for(client, created.run_id, "RUNNING")
    assert client.terminate_run(created.run_id) == {}
    run = wait_for(client, created.run_id, "CANCELED")
    assert [step.state for step in run.state_history][-2:] == ["CANCELING", "CANCELED"]
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.terminate_run(created.run_id)
    assert caught.value.status == 400
    assert json.loads(caught.value.body)["code"] == 3


def test_a_failure_names_its_task_and_retry_runs_it_again(
    client: Any, backend: LocalBackend, packages: dict[str, Path]
) -> None:
    created = start(client, packages["failing"])
    run = client.wait_for_run_completion(created.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "FAILED"
    assert "fail" in run.error.message
    _, first_pod, message = task(backend, run, "fail")
    assert "3" in message
    client.runs.run_service_retry_run(created.run_id)
    run = client.wait_for_run_completion(created.run_id, timeout=WAIT_SECONDS, sleep_duration=0.1)
    assert run.state == "FAILED"
    assert task(backend, run, "fail")[1] != first_pod


def test_filters_sorting_and_pages(client: Any, packages: dict[str, Path]) -> None:
    experiment = client.create_experiment(f"filters {uuid4()}").experiment_id
    names = ["alpha", "beta", "gamma"]
    runs = {
        name: client.run_pipeline(experiment, name, pipeline_package_path=str(packages["saying"])).run_id
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
        str(packages["failing"]), "second", pipeline.pipeline_id, description="another"
    )
    assert second.pipeline_spec["pipelineInfo"]["name"] == "failing"
    listed = client.list_pipeline_versions(
        pipeline.pipeline_id, filter=filtered("EQUALS", "name", string_value="second")
    )
    assert [one.pipeline_version_id for one in listed.pipeline_versions] == [second.pipeline_version_id]
    found = client.pipelines.pipeline_service_get_pipeline_by_name(name=name)
    assert found.pipeline_id == pipeline.pipeline_id
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.upload_pipeline_version(str(packages["failing"]), "second", pipeline.pipeline_id)
    assert caught.value.status == 409
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.delete_pipeline(pipeline.pipeline_id)
    assert caught.value.status == 400
    for version in client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions:
        client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    client.delete_pipeline(pipeline.pipeline_id)
    by_name = filtered("EQUALS", "name", string_value=name)
    assert not client.list_pipelines(filter=by_name).pipelines


def test_experiments_and_runs_are_archived_restored_and_deleted(
    client: Any, packages: dict[str, Path]
) -> None:
    experiment = client.create_experiment(f"old {uuid4()}")
    run_id = start(client, packages["saying"], experiment.experiment_id).run_id
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
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client.get_experiment(experiment.experiment_id)
    assert caught.value.status == 404


def test_recurring_runs(client: Any, packages: dict[str, Path]) -> None:
    experiment = client.create_experiment(f"recurring {uuid4()}").experiment_id
    made = client.create_recurring_run(
        experiment,
        "Every second",
        interval_second=1,
        no_catchup=True,
        params={"text": "no. [[Index]]"},
        pipeline_package_path=str(packages["saying"]),
    )
    assert (made.status, made.mode, made.max_concurrency) == ("ENABLED", "ENABLE", "1")
    assert made.trigger.periodic_schedule.interval_second == "1"
    assert made.pipeline_spec["pipelineInfo"]["name"] == "saying"

    def runs() -> list[Any]:
        listed = client.list_runs(experiment_id=experiment, sort_by="created_at")
        return [run for run in listed.runs or [] if run.state == "SUCCEEDED"]

    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := runs()):
        assert time.monotonic() < deadline, "no run was made"
        time.sleep(0.05)
    client.disable_recurring_run(made.recurring_run_id)
    assert client.get_recurring_run(made.recurring_run_id).status == "DISABLED"
    assert found[0].recurring_run_id == made.recurring_run_id
    assert found[0].display_name.startswith("everysecond")
    assert found[0].runtime_config.parameters == {"text": "no. 1"}
    client.enable_recurring_run(made.recurring_run_id)
    other = client.create_recurring_run(
        experiment,
        "nightly",
        cron_expression="0 0 2 * * *",
        pipeline_package_path=str(packages["saying"]),
        enabled=False,
    )
    listed = client.list_recurring_runs(experiment_id=experiment, page_size=1, sort_by="display_name")
    rest = client.list_recurring_runs(
        experiment_id=experiment, page_size=1, sort_by="display_name", page_token=listed.next_page_token
    )
    assert listed.total_size == 2
    assert [one.display_name for one in [*listed.recurring_runs, *rest.recurring_runs]] == [
        "Every second",
        "nightly",
    ]
    by_name = filtered("IS_SUBSTRING", "display_name", string_value="NIGHT")
    (found_one,) = client.list_recurring_runs(experiment_id=experiment, filter=by_name).recurring_runs
    assert found_one.recurring_run_id == other.recurring_run_id
    assert (found_one.status, found_one.trigger.cron_schedule.cron) == ("DISABLED", "0 0 2 * * *")
    client.archive_experiment(experiment)
    assert client.get_recurring_run(made.recurring_run_id).status == "DISABLED"
    for recurring_run in (made, other):
        client.delete_recurring_run(recurring_run.recurring_run_id)
        with pytest.raises(kfp_server_api.ApiException) as caught:
            client.get_recurring_run(recurring_run.recurring_run_id)
        assert caught.value.status == 404
    assert client.get_run(found[0].run_id).state == "SUCCEEDED"


def test_what_is_wrong_with_a_recurring_run_is_told(client: Any, packages: dict[str, Path]) -> None:
    experiment = client.list_experiments().experiments[0].experiment_id
    for change, message in [
        ({"cron_expression": "whenever"}, "not a supported format"),
        ({"cron_expression": "@daily", "max_concurrency": 11}, "at most 10"),
        ({"interval_second": -5}, "at interval to least 1 second"),
        ({"interval_second": 5, "params": {"txet": "x"}}, "txet"),
    ]:
        with pytest.raises(kfp_server_api.ApiException) as caught:
            client.create_recurring_run(
                experiment, "wrong", pipeline_package_path=str(packages["saying"]), **change
            )
        assert caught.value.status == 400
        assert message in json.loads(caught.value.body)["message"]


def test_arguments_are_checked_before_anything_runs(client: Any, packages: dict[str, Path]) -> None:
    before = client.list_runs().total_size
    with pytest.raises(kfp_server_api.ApiException) as caught:
        start(client, packages["waiting"], secconds="1")
    assert caught.value.status == 400
    assert "secconds" in json.loads(caught.value.body)["message"]
    assert client.list_runs().total_size == before


def test_a_token(connect: Callable[..., Any], tmp_path: Path) -> None:
    with start_local_backend(tmp_path / "with-token", token="s3cret") as guarded:
        assert connect(guarded.url, existing_token="s3cret").list_experiments().total_size == 1
        with pytest.raises(kfp_server_api.ApiException) as caught:
            connect(guarded.url, existing_token="wrong").list_experiments()
    assert caught.value.status == 401
    assert json.loads(caught.value.body)["code"] == 16
