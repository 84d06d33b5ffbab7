"""The server's answers and refusals, route by route, as KFP gives them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bridge.local.settings import LocalSettings
from tests.support.local_app import API, LocalApp, local_app, one_task


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalApp]:
    async with local_app(tmp_path) as started:
        yield started


def refused(answer: httpx.Response, status: int, code: int, message: str) -> None:
    """The answer is a google.rpc.Status with these values."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert message in body["message"]
    assert body["error"] == body["message"]
    (detail,) = body["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.Status"
    # KFP names the kind of the error before the sentence, but not in the details.
    assert body["message"].endswith(detail["message"])


def run_body(**fields: Any) -> dict[str, Any]:
    return {"display_name": "r", "pipeline_spec": one_task(), **fields}


async def test_a_pipeline_may_hold_any_character(local: LocalApp) -> None:
    document = one_task()
    document["pipelineInfo"]["description"] = "boom 💥"
    made = await local.client.post(f"{API}/runs", json=run_body(pipeline_spec=document))
    assert made.status_code == 200, made.text
    kept = await local.client.get(f"{API}/runs/{made.json()['run_id']}")
    assert kept.json()["pipeline_spec"]["pipelineInfo"]["description"] == "boom 💥"


async def test_a_link_to_the_kfp_ui_leads_to_a_page_that_says_what_this_is(local: LocalApp) -> None:
    answer = await local.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "has no pages of its own" in answer.text


async def test_healthz(local: LocalApp) -> None:
    answer = await local.client.get(f"{API}/healthz")
    assert answer.json() == {"multi_user": False, "pipeline_store": "database"}
    assert (await local.client.get("/apis/v1beta1/healthz")).json() == {"multi_user": False}


async def test_there_is_a_default_experiment(local: LocalApp) -> None:
    listed = (await local.client.get(f"{API}/experiments")).json()
    assert listed["total_size"] == 1
    assert listed["experiments"][0]["display_name"] == "Default"
    run = await local.get_run(await local.create_run())
    assert run["experiment_id"] == listed["experiments"][0]["experiment_id"]


async def test_the_life_of_an_experiment(local: LocalApp) -> None:
    made = (
        await local.client.post(f"{API}/experiments", json={"display_name": "e", "description": "d"})
    ).json()
    path = f"{API}/experiments/{made['experiment_id']}"
    assert made["storage_state"] == "AVAILABLE"
    assert made["last_run_created_at"] == "1970-01-01T00:00:00Z"
    run_id = await local.create_run(experiment_id=made["experiment_id"])
    refused(
        await local.client.post(f"{API}/experiments", json={"display_name": "e"}), 409, 6, "already exists"
    )
    refused(await local.client.post(f"{API}/experiments", json={}), 400, 3, "name is empty")

    assert (await local.client.post(f"{path}:archive")).json() == {}
    assert (await local.client.get(path)).json()["storage_state"] == "ARCHIVED"
    assert (await local.get_run(run_id))["storage_state"] == "ARCHIVED"
    assert (await local.client.post(f"{path}:unarchive")).json() == {}
    assert (await local.get_run(run_id))["storage_state"] == "ARCHIVED"

    listed = await local.client.get(f"{API}/runs", params={"experiment_id": made["experiment_id"]})
    assert [run["run_id"] for run in listed.json()["runs"]] == [run_id]
    assert (await local.client.delete(path)).json() == {}
    refused(await local.client.get(path), 404, 5, "not found")
    assert (await local.get_run(run_id))["run_id"] == run_id


async def test_the_life_of_a_pipeline_and_its_versions(local: LocalApp) -> None:
    pipeline_id, version_id = await local.upload("flow")
    path = f"{API}/pipelines/{pipeline_id}"
    assert (await local.client.get(f"{API}/pipelines/names/flow")).json()["pipeline_id"] == pipeline_id
    version = (await local.client.get(f"{path}/versions/{version_id}")).json()
    assert version["pipeline_spec"]["pipelineInfo"]["name"] == "flow"
    assert version["name"] == version["display_name"] == "flow"

    second = await local.client.post(
        f"{API}/pipelines/upload_version",
        params={"name": "two", "pipelineid": pipeline_id, "description": "d", "tags": '{"team": "ml"}'},
        files={"uploadfile": ("flow.json", json.dumps(one_task()))},
    )
    assert second.json()["tags"] == {"team": "ml"}
    by_name = json.dumps({"predicates": [{"operation": "EQUALS", "key": "name", "string_value": "two"}]})
    listed = (await local.client.get(f"{path}/versions", params={"filter": by_name})).json()
    assert [one["pipeline_version_id"] for one in listed["pipeline_versions"]] == [
        second.json()["pipeline_version_id"]
    ]
    changed = await local.client.patch(path, json={"display_name": "Flow!", "tags": {"a": "b"}})
    assert (changed.json()["display_name"], changed.json()["tags"]) == ("Flow!", {"a": "b"})
    changed = await local.client.patch(
        f"{path}/versions/{version_id}", json={"display_name": "First", "description": "not changed"}
    )
    assert (changed.json()["display_name"], changed.json().get("description")) == ("First", None)

    refused(await local.client.delete(path), 400, 3, "still has 2 version(s)")
    assert (await local.client.delete(f"{path}/versions/{version_id}")).json() == {}
    refused(await local.client.get(f"{path}/versions/{version_id}"), 404, 5, "not found")
    assert (await local.client.delete(path, params={"cascade": "true"})).json() == {}
    refused(await local.client.get(path), 404, 5, "not found")
    refused(await local.client.get(f"{path}/versions"), 404, 5, "not found")
    refused(await local.client.get(f"{API}/pipelines/names/flow"), 404, 5, "not found")


async def test_pipelines_can_be_made_without_an_upload(local: LocalApp) -> None:
    empty = (await local.client.post(f"{API}/pipelines", json={"display_name": "empty"})).json()
    body = run_body(pipeline_spec=None, pipeline_version_reference={"pipeline_id": empty["pipeline_id"]})
    refused(await local.client.post(f"{API}/runs", json=body), 400, 3, "has no version")
    made = await local.client.post(
        f"{API}/pipelines/{empty['pipeline_id']}/versions", json={"name": "v1", "pipeline_spec": one_task()}
    )
    assert made.status_code == 200
    both = {"pipeline": {"name": "both"}, "pipeline_version": {"pipeline_spec": one_task()}}
    assert (await local.client.post(f"{API}/pipelines/create", json=both)).json()["name"] == "both"
    url = {"pipeline": {"name": "u"}, "pipeline_version": {"package_url": {"pipeline_url": "http://x"}}}
    refused(await local.client.post(f"{API}/pipelines/create", json=url), 400, 9, "upload the file")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"# nothing but a comment\n", "the document is empty"),
        ("a.yaml", b"a: [", "not valid yaml"),
        ("a.yaml", b"just text", "no compiled pipeline"),
        ("a.zip", b"PK\x03\x04", "not a valid zip"),
        ("a.png", b"\x89PNG", "unexpected pipeline file format"),
        ("a.yaml", b"[" * 20_000, "nested"),
    ],
)
async def test_an_upload_that_is_no_pipeline(
    local: LocalApp, name: str, content: bytes, message: str
) -> None:
    answer = await local.client.post(f"{API}/pipelines/upload", files={"uploadfile": (name, content)})
    assert answer.status_code == 400
    assert message in answer.json()["message"].lower()
    assert answer.json()["error_message"] == answer.json()["message"]
    assert (await local.client.get(f"{API}/pipelines")).json() == {}


async def test_uploads_that_are_refused_for_other_reasons(local: LocalApp) -> None:
    files = {"uploadfile": ("f.json", json.dumps(one_task()))}
    upload = f"{API}/pipelines/upload"
    refused(await local.client.post(upload, files={"other": ("f", b"x")}), 400, 3, "uploadfile is missing")
    refused(await local.client.post(upload, params={"tags": "[]"}, files=files), 400, 3, "tags")
    refused(await local.client.post(upload, params={"name": "x" * 129}, files=files), 400, 3, "too long")
    assert (await local.client.post(upload, params={"name": "n"}, files=files)).status_code == 200
    refused(await local.client.post(upload, params={"name": "n"}, files=files), 409, 6, "already exists")
    version = f"{API}/pipelines/upload_version"
    refused(await local.client.post(version, files=files), 400, 3, "pipelineid is missing")
    refused(
        await local.client.post(version, params={"pipelineid": "12345"}, files=files), 400, 3, "not found"
    )


async def test_a_body_that_is_too_large_is_not_read(local: LocalApp) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    refused(await local.client.post(f"{API}/runs", content=endless()), 413, 3, "too large")


async def test_a_caller_that_hangs_up_leaves_nothing_and_no_noise(
    local: LocalApp, caplog: pytest.LogCaptureFixture
) -> None:
    events = [{"type": "http.request", "body": b'{"display', "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"{API}/runs"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await local.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records
    assert (await local.client.get(path)).json() == {}


async def test_the_run_id_that_the_client_sets_is_honoured_once(local: LocalApp) -> None:
    run_id = str(uuid4())
    assert await local.create_run(run_id=run_id) == run_id
    again = await local.client.post(f"{API}/runs", json=run_body(run_id=run_id))
    refused(again, 500, 13, "already exists")
    await local.wait_for(run_id, "SUCCEEDED")
    assert len(local.runner.launches) == 1


async def test_a_run_by_reference_shows_no_spec_and_one_inline_does(local: LocalApp) -> None:
    pipeline_id, version_id = await local.upload("flow", epochs="int=3")
    reference = {"pipeline_id": pipeline_id, "pipeline_version_id": version_id}
    body = {
        "display_name": "r",
        "pipeline_version_reference": reference,
        "runtime_config": {"parameters": {"epochs": 5}, "pipeline_root": ""},
    }
    made = (await local.client.post(f"{API}/runs", json=body)).json()
    assert made["pipeline_version_reference"] == reference
    assert made["runtime_config"] == {"parameters": {"epochs": 5}}
    assert made["state"] == "PENDING"
    assert made["finished_at"] == "1970-01-01T00:00:00Z"
    assert "pipeline_spec" not in made
    wrapped = {"pipeline_spec": one_task(), "platform_spec": {"platforms": {"kubernetes": {}}}}
    inline = await local.get_run(await local.create_run(pipeline_spec=wrapped))
    assert inline["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "flow"
    assert "pipeline_version_reference" not in inline


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"display_name": " "}, "run name is empty"),
        ({"pipeline_spec": None}, "specify a pipeline either"),
        ({"pipeline_version_reference": {"pipeline_id": "x"}}, "not by both"),
        ({"run_id": "not-a-uuid"}, "run_id must be a UUID"),
        ({"colour": "red"}, 'unknown field "colour"'),
        ({"runtime_config": {"parameters": {"epochs": 1, "epoks": 1}}}, "epoks"),
        ({"runtime_config": {"parameters": {}}}, "epochs is missing"),
        ({"runtime_config": {"parameters": {"epochs": "ten"}}}, "epochs takes an integer"),
        ({"pipeline_spec": {"kind": "Workflow", "apiVersion": "v1"}}, "no compiled pipeline"),
    ],
)
async def test_runs_that_are_refused_leave_nothing(
    local: LocalApp, change: dict[str, Any], message: str
) -> None:
    body = run_body(pipeline_spec=one_task(epochs="int"), runtime_config={"parameters": {"epochs": 1}})
    refused(await local.client.post(f"{API}/runs", json={**body, **change}), 400, 3, message)
    assert (await local.client.get(f"{API}/runs")).json() == {}


async def test_what_does_not_exist(local: LocalApp) -> None:
    missing = str(uuid4())
    for method, path in [
        ("GET", f"/runs/{missing}"),
        ("DELETE", f"/runs/{missing}"),
        ("POST", f"/runs/{missing}:terminate"),
        ("POST", f"/runs/{missing}:retry"),
        ("POST", f"/runs/{missing}:archive"),
        ("GET", f"/experiments/{missing}"),
        ("DELETE", f"/pipelines/{missing}"),
        ("PATCH", f"/pipelines/{missing}"),
        ("GET", f"/pipelines/{missing}/versions/{missing}"),
        ("GET", "/nothing/here"),
    ]:
        body = {"json": {}} if method == "PATCH" else {}
        refused(await local.client.request(method, f"{API}{path}", **body), 404, 5, "ot ")
    body = run_body(experiment_id=missing)
    refused(await local.client.post(f"{API}/runs", json=body), 404, 5, "Experiment")
    body = run_body(pipeline_spec=None, pipeline_version_reference={"pipeline_version_id": missing})
    refused(await local.client.post(f"{API}/runs", json=body), 404, 5, "PipelineVersion")


async def test_archive_and_unarchive(local: LocalApp) -> None:
    run_id = await local.create_run()
    await local.client.post(f"{API}/runs/{run_id}:archive")
    shown = {"operation": "EQUALS", "key": "storage_state", "string_value": "ARCHIVED"}
    params = {"filter": json.dumps({"predicates": [shown]})}
    assert (await local.client.get(f"{API}/runs", params=params)).json()["total_size"] == 1
    await local.client.post(f"{API}/runs/{run_id}:unarchive")
    assert (await local.client.get(f"{API}/runs", params=params)).json() == {}


async def test_unfinished_runs_are_found_by_their_zero_end(local: LocalApp) -> None:
    done = await local.create_run()
    await local.wait_for(done, "SUCCEEDED")
    going = await local.create_run("wait")
    zero = {"operation": "EQUALS", "key": "finished_at", "timestamp_value": "1970-01-01T00:00:00Z"}
    params = {"filter": json.dumps({"predicates": [zero]})}
    listed = (await local.client.get(f"{API}/runs", params=params)).json()
    assert [run["run_id"] for run in listed["runs"]] == [going]
    assert "task_details" not in listed["runs"][0]["run_details"]


@pytest.mark.parametrize(
    "params", [{"page_size": "many"}, {"page_size": "-1"}, {"sort_by": "x"}, {"page_token": "!"}]
)
async def test_lists_that_are_refused(local: LocalApp, params: dict[str, str]) -> None:
    for path in ("runs", "experiments", "pipelines"):
        refused(await local.client.get(f"{API}/{path}", params=params), 400, 3, "")


async def test_what_only_a_cluster_has_is_refused(local: LocalApp) -> None:
    wanted = {"type": "TABLE", "source": "/data.csv"}
    refused(await local.client.post(f"{API}/visualizations/ns", json=wanted), 400, 9, "visualizations")
    refused(await local.client.post(f"{API}/visualizations/ns", json={}), 400, 3, "requires a Source")
    for name in ("workflows", "scheduledworkflows"):
        refused(await local.client.post(f"{API}/{name}", json="{}"), 400, 3, "Report")
    refused(await local.client.get(f"{API}/filters"), 404, 5, "Not Found")


async def test_authorization_allows_what_is_asked_for_in_full(local: LocalApp) -> None:
    full = {"namespace": "n", "resources": "VIEWERS", "verb": "GET"}
    assert (await local.client.get(f"{API}/auth", params=full)).json() == {}
    for missing in full:
        params = {name: value for name, value in full.items() if name != missing}
        refused(await local.client.get(f"{API}/auth", params=params), 400, 3, "not valid")


async def test_a_run_of_an_archived_experiment_is_not_restored_alone(local: LocalApp) -> None:
    made = (await local.client.post(f"{API}/experiments", json={"display_name": "e"})).json()
    run_id = await local.create_run(experiment_id=made["experiment_id"])
    await local.client.post(f"{API}/experiments/{made['experiment_id']}:archive")
    answer = await local.client.post(f"{API}/runs/{run_id}:unarchive")
    refused(answer, 400, 9, "must be un-archived")
    await local.client.post(f"{API}/experiments/{made['experiment_id']}:unarchive")
    assert (await local.client.post(f"{API}/runs/{run_id}:unarchive")).json() == {}


async def test_logs(local: LocalApp) -> None:
    run_id = await local.create_run()
    run = await local.wait_for(run_id, "SUCCEEDED")
    pods = [one["pod_name"] for one in run["run_details"]["task_details"] if "pod_name" in one]
    log = f"/apis/v1alpha1/runs/{run_id}/nodes"
    for follow in ("false", "true"):
        answer = await local.client.get(f"{log}/{pods[0]}/log", params={"follow": follow})
        assert "running ok" in answer.text
    refused(await local.client.get(f"{log}/other/log"), 404, 5, "other")


async def test_a_log_can_be_followed_while_the_task_runs(local: LocalApp) -> None:
    run_id = await local.create_run("wait")

    async def released_once_there() -> str:
        await local.wait_for(run_id, "RUNNING")
        while True:
            details = (await local.get_run(run_id))["run_details"].get("task_details", [])
            pods = [one["pod_name"] for one in details if "pod_name" in one]
            if pods and local.runner.launches:
                local.runner.released.set()
                return str(pods[0])

    pod = await released_once_there()
    path = f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
    answer = await local.client.get(path, params={"follow": "true"})
    assert "running wait" in answer.text


async def test_a_token_is_wanted_everywhere_but_for_healthz(tmp_path: Path) -> None:
    async with local_app(tmp_path, token="s3cret") as local:
        assert (await local.client.get(f"{API}/healthz")).status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            refused(await local.client.get(f"{API}/runs", headers=headers), 401, 16, "Bearer token")
            answer = await local.client.post("/ml_metadata.MetadataStoreService/GetContexts", headers=headers)
            assert answer.status_code == 401
        right = {"authorization": "Bearer s3cret"}
        assert (await local.client.get(f"{API}/runs", headers=right)).json() == {}


async def test_what_breaks_inside_is_a_500_in_kfps_shape(
    local: LocalApp, caplog: pytest.LogCaptureFixture
) -> None:
    await local.backend.store.write(lambda connection: connection.execute("DROP TABLE tasks"))
    run_id = str(uuid4())
    await local.backend.store.write(
        lambda connection: connection.execute("ALTER TABLE runs RENAME TO gone") and None
    )
    caplog.set_level(logging.CRITICAL)
    refused(
        await local.client.get(f"{API}/runs/{run_id}"), 500, 13, "Internal Server Error: OperationalError"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 70000}, "port"),
        ({"max_parallel": 0}, "max_parallel"),
        ({"token": " "}, "token"),
        ({"secrets_dir": Path("nowhere")}, "the secrets directory nowhere does not exist"),
        ({"metadata": "none"}, "native"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalSettings(data_dir=tmp_path, **changes)


async def test_a_page_that_changed_the_meaning_of_its_name_reads_nothing(local: LocalApp) -> None:
    answer = await local.client.get(f"{API}/runs", headers={"Host": "evil.example:8888"})
    assert answer.status_code == 403
    assert "KFBRIDGE_LOCAL_ALLOWED_HOSTS" in answer.json()["message"]
    for own in ("127.0.0.1:8888", "localhost:8888", "[::1]:8888", "local"):
        assert (await local.client.get(f"{API}/runs", headers={"Host": own})).status_code == 200


async def test_another_sites_page_starts_no_run(local: LocalApp) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site"}
    answer = await local.client.post(f"{API}/runs", json=run_body(), headers=foreign)
    assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert "runs" not in (await local.client.get(f"{API}/runs", headers=foreign)).json()
