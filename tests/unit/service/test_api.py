"""The API's manners: problems with pointers, limits, tokens, waiting, paging."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from bridge.client.models import Problem
from bridge.lineage.database import Database
from bridge.lineage.errors import DatabaseUnavailable
from bridge.service.limits import security_headers
from tests.unit.service.harness import SPEC, Harness, harness


def problem(answer: httpx.Response, status: int, slug: str) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = Problem.model_validate(answer.json())
    assert told.type == f"urn:kfbridge:problem:{slug}"
    return told


@pytest.mark.parametrize(
    ("body", "status", "slug", "pointer"),
    [
        ({"spec": "just: yaml"}, 422, "invalid-pipeline", "/spec"),
        ({"spec": "a: [1"}, 422, "invalid-pipeline", "/spec"),
        ({"arguments": {}}, 422, "invalid-arguments", "/arguments/epochs"),
        ({"arguments": {"epochs": "ten"}}, 422, "invalid-arguments", "/arguments/epochs"),
        ({"arguments": {"epochs": 1, "epoch": 2}}, 422, "invalid-arguments", "/arguments/epoch"),
        ({"backend": "nowhere"}, 422, "unknown-backend", "/backend"),
        ({"gate": "evaluate.auc >="}, 422, "invalid-gate", "/gate"),
        ({"spec": None}, 422, "invalid-request", "/spec"),
        ({"pipeline": {"name": "x"}}, 422, "invalid-request", "/spec"),
        ({"surprise": 1}, 422, "invalid-request", "/surprise"),
        ({"on_retry": "maybe"}, 422, "invalid-request", "/on_retry"),
        ({"arguments": {"epochs": 1, "note": "a\x00b"}}, 422, "invalid-request", "/arguments/note"),
        ({"inputs": [{"name": "flights", "uri": "relative"}]}, 422, "invalid-request", "/inputs/0/uri"),
        ({"inputs": [{"name": "nope", "uri": "file:///x"}]}, 422, "invalid-arguments", "/inputs/nope"),
        ({"spec": None, "pipeline": {"name": "x"}}, 422, "unknown-pipeline", "/pipeline/name"),
    ],
)
async def test_bad_submissions_are_refused_and_leave_nothing(
    service: Harness, body: dict[str, Any], status: int, slug: str, pointer: str
) -> None:
    told = problem(await service.submit(**body), status, slug)
    assert pointer in [item.pointer for item in told.errors]
    assert all(" " in item.detail for item in told.errors)
    assert told.detail
    assert await service.stored() == []


@pytest.mark.parametrize("name", ["map_index", "try_number", "max_tries"])
async def test_numbers_that_no_column_holds_are_refused(service: Harness, name: str) -> None:
    told = problem(await service.submit(origin={name: 2**31}), 422, "invalid-request")
    assert [item.pointer for item in told.errors] == [f"/origin/{name}"]
    assert await service.stored() == []


@pytest.mark.parametrize("target", ["/api/v1/runs?text=%00", "/api/v1/pipelines/a%00b", "/?text=a%00"])
async def test_an_address_with_a_nul_character_is_refused(service: Harness, target: str) -> None:
    problem(await service.client.get(target), 422, "invalid-request")


async def test_the_known_backends_are_named(service: Harness) -> None:
    assert "default" in problem(await service.submit(backend="x"), 422, "unknown-backend").detail


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"spec": "x", "arguments": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"spec": "x", "arguments": {"epochs": NaN}}',
        b'{"spec": "\xff"}',
    ],
)
async def test_bodies_that_are_no_request_are_refused(service: Harness, raw: bytes) -> None:
    answer = await service.client.post("/api/v1/runs", content=raw, headers={"Idempotency-Key": "k"})
    problem(answer, 422, "invalid-request")


async def test_a_yaml_bomb_is_refused(service: Harness) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [
        f"{new}: &{new} [{','.join(['*' + old] * 9)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    ]
    problem(await service.submit(spec="\n".join(lines)), 422, "invalid-pipeline")


async def test_a_body_beyond_the_limit_is_refused(database: Database) -> None:
    async with harness(database, max_request_bytes=2000) as service:
        problem(await service.submit(spec="x" * 3000), 413, "too-large")

        async def pieces() -> Any:
            for _ in range(5):
                yield b"x" * 1000

        answer = await service.client.post("/api/v1/runs", content=pieces(), headers={"Idempotency-Key": "k"})
        problem(answer, 413, "too-large")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_foreign_page_in_a_browser_changes_nothing(service: Harness, site: str) -> None:
    foreign = {"Sec-Fetch-Site": site}
    answer = await service.client.post("/api/v1/runs", json={}, headers={**foreign, "Idempotency-Key": "k"})
    problem(answer, 403, "foreign-page")
    assert (await service.client.get("/api/v1/runs", headers=foreign)).json()["items"] == []
    ours = await service.client.post("/api/v1/runs", json={}, headers={"Sec-Fetch-Site": "same-origin"})
    assert ours.status_code == 400


async def test_the_token_is_asked_for_everywhere_but_at_the_probes(database: Database) -> None:
    async with harness(database, api_token="secret") as service:
        for path in ("/api/v1/runs", "/api/v1/status", "/status"):
            answer = await service.client.get(path)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/", "/go?dag_id=a&dag_run_id=b&task_id=c"):
            answer = await service.client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            answer = await service.client.get(path, headers={"Accept": "text/html,*/*"})
            assert (answer.status_code, answer.headers["location"][:17]) == (303, "/login?return_to=")
        wrong = await service.client.get("/api/v1/runs", headers={"Authorization": "Bearer nope"})
        problem(wrong, 401, "unauthorized")
        right = await service.client.get("/api/v1/runs", headers={"Authorization": "Bearer secret"})
        assert right.status_code == 200
        for password, status in (("secret", 200), ("nope", 401)):
            assert (await service.client.get("/api/v1/runs", auth=("me", password))).status_code == status
        # A browser would send it along with a foreign page's form, too; the header it would not.
        problem(await service.client.post("/api/v1/runs", auth=("me", "secret")), 401, "unauthorized")
        ours = await service.client.post(
            "/api/v1/runs", auth=("me", "secret"), headers={"KFBridge-Page": "1"}
        )
        problem(ours, 400, "missing-key")
        assert (await service.client.get("/", headers={"Authorization": "Basic !"})).status_code == 401
        for path in ("/livez", "/readyz"):
            assert (await service.client.get(path)).status_code == 200


async def test_a_database_that_is_away_is_503_and_worth_a_repeat(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("connection refused", 0.1)

    monkeypatch.setattr(service.context.store.database, "transact", away)
    monkeypatch.setattr(service.context.store.database, "read", away)
    answer = await service.submit()
    assert problem(answer, 503, "database-unavailable").retryable is True
    assert answer.headers["retry-after"] == "5"
    assert (await service.client.get("/readyz")).status_code == 503
    assert (await service.client.get("/livez")).status_code == 200


async def test_what_is_not_there_is_a_problem_too(service: Harness) -> None:
    nothing = "00000000-0000-0000-0000-000000000000"
    for path in ("", "/tasks", "/artifacts", "/metrics", "/explain", "/logs"):
        problem(await service.client.get(f"/api/v1/runs/{nothing}{path}"), 404, "not-found")
    problem(await service.client.get(f"/api/v1/artifacts/{nothing}"), 404, "not-found")
    problem(await service.client.get(f"/api/v1/artifacts/{nothing}/lineage"), 404, "not-found")
    problem(await service.client.get("/api/v1/lineage?node=task:7"), 404, "not-found")
    for node in ("", "run", "run:7", "moon:7", "task:x", "task:99999999999999999999"):
        refused = await service.client.get("/api/v1/lineage", params={"node": node})
        problem(refused, 422, "invalid-request")
    problem(await service.client.get("/api/v1/nothing"), 404, "not-found")
    problem(await service.client.get("/api/v1/runs/no-uuid"), 422, "invalid-request")
    problem(await service.client.delete("/api/v1/runs"), 405, "method-not-allowed")


async def test_an_unexpected_error_is_a_problem_without_its_insides(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(service.app.state.acceptance, "accept", broken)
    answer = await service.submit()
    assert "secret" not in answer.text
    problem(answer, 500, "internal")


async def test_a_long_poll_ends_with_the_change_it_waits_for(service: Harness) -> None:
    run = await service.submitted()
    url = f"/api/v1/runs/{run['run_id']}"
    waiting = asyncio.create_task(service.client.get(url, params={"wait": "20s", "version": run["version"]}))
    while not service.context.wakeups.runs.watched:
        await asyncio.sleep(0)
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    answer = await asyncio.wait_for(waiting, 10)
    assert (answer.json()["state"], answer.json()["version"] > run["version"]) == ("RUNNING", True)


async def test_a_long_poll_sees_what_another_process_changed(service: Harness, database: Database) -> None:
    run = await service.submitted()
    url = f"/api/v1/runs/{run['run_id']}"
    waiting = asyncio.create_task(service.client.get(url, params={"wait": "20s", "version": run["version"]}))
    while not service.context.wakeups.runs.watched:
        await asyncio.sleep(0)
    async with harness(database) as other:
        await other.client.post(f"{url}:cancel", json={})
    answer = await asyncio.wait_for(waiting, 10)
    assert answer.json()["cancel_requested_at"] is not None


async def test_a_long_poll_ends_by_itself(service: Harness) -> None:
    run = await service.submitted()
    url = f"/api/v1/runs/{run['run_id']}"
    unchanged = await service.client.get(url, params={"wait": "20ms", "version": run["version"]})
    assert unchanged.json()["version"] == run["version"]
    at_once = await service.client.get(url, params={"wait": "60s", "version": 0})
    assert at_once.json()["version"] == run["version"]
    tag = at_once.headers["etag"]
    assert at_once.headers["cache-control"] == "private, no-cache"
    same = await service.client.get(url, params={"wait": "20ms"}, headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")
    problem(await service.client.get(url, params={"wait": "soon"}), 422, "invalid-request")
    ended = await service.ended(run)
    over = await service.client.get(url, params={"wait": "60s", "version": ended["version"]})
    assert over.json()["over"] is True


async def test_a_filter_that_there_is_not_is_refused(service: Harness) -> None:
    answer = await service.client.get("/api/v1/runs", params={"states": "FAILED"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/states", "detail": "there is no filter states; state is one"}
    ]


async def test_runs_are_listed_filtered_and_paged(service: Harness) -> None:
    for index in range(5):
        await service.submitted(f"k{index}", display_name=f"night {index}", labels={"n": str(index)})
    first = (await service.client.get("/api/v1/runs", params={"limit": 2})).json()
    assert [item["display_name"] for item in first["items"]] == ["night 4", "night 3"]
    second = (
        await service.client.get("/api/v1/runs", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    assert [item["display_name"] for item in second["items"]] == ["night 2", "night 1"]
    for params, count in (
        ({"text": "NIGHT 3"}, 1),
        ({"state": "PENDING,RUNNING"}, 5),
        ({"state": "FAILED"}, 0),
        ({"phase": "ACTIVE"}, 5),
        ({"pipeline": "training"}, 5),
        ({"project": "other"}, 0),
        ({"backend": "default"}, 5),
        ({"dag_id": "none"}, 0),
        ({"ids": f"{first['items'][0]['run_id']},{first['items'][1]['run_id']}"}, 2),
    ):
        found = (await service.client.get("/api/v1/runs", params=params)).json()["items"]
        assert len(found) == count, params
    for params in ({"state": "ASLEEP"}, {"metric": "auc"}, {"ids": "x"}, {"cursor": "x"}, {"limit": "0"}):
        problem(await service.client.get("/api/v1/runs", params=params), 422, "invalid-request")


async def test_runs_are_found_by_a_metric(service: Harness) -> None:
    from tests.unit.service.harness import mirror_of

    run = await service.submitted()
    await service.ended(run, mirror=mirror_of(metrics={"evaluate.auc": 0.8}))
    for metric, count in (("evaluate.auc>=0.8", 1), ("evaluate.auc > 0.8", 0), ("evaluate.f1<1", 0)):
        found = await service.client.get("/api/v1/runs", params={"metric": metric})
        assert len(found.json()["items"]) == count, metric


async def test_a_registered_pipeline_is_submitted_by_name(service: Harness) -> None:
    first = await service.submitted("a")
    body = {"spec": None, "pipeline": {"name": "training"}}
    second = await service.submitted("b", **body)
    assert second["pipeline"]["digest"] == first["pipeline"]["digest"]
    listed = (await service.client.get("/api/v1/pipelines")).json()["items"]
    assert [item["name"] for item in listed] == ["training"]


async def test_a_pipeline_known_only_to_the_backend_is_fetched_from_it(service: Harness) -> None:
    import yaml

    service.kfp.pipelines["p"] = {"pipeline_id": "p", "name": "there", "display_name": "there"}
    version = {"pipeline_id": "p", "pipeline_version_id": "v", "name": "one", "display_name": "one"}
    service.kfp.versions["v"] = {**version, "pipeline_spec": yaml.safe_load(SPEC)}
    wanted = {"name": "there", "version": "one"}
    run = await service.submitted(spec=None, pipeline=wanted)
    assert run["pipeline"]["name"] == "training"
    missing = await service.submit("x", spec=None, pipeline={"name": "there", "version": "two"})
    problem(missing, 422, "unknown-pipeline")
    service.kfp.down = True
    away = await service.submit("y", spec=None, pipeline={"name": "elsewhere"})
    assert problem(away, 503, "backend-unavailable").retryable


async def test_a_version_at_the_backend_is_found_among_hundreds(service: Harness) -> None:
    import yaml

    spec = yaml.safe_load(SPEC)
    service.kfp.pipelines["p"] = {"pipeline_id": "p", "name": "there", "display_name": "there"}
    for number in range(450):
        name = f"v{number}"
        image = {"image": f"python:{number}"}
        container = {**spec["deploymentSpec"]["executors"]["exec-train"]["container"], **image}
        changed = {**spec, "deploymentSpec": {"executors": {"exec-train": {"container": container}}}}
        version = {"pipeline_id": "p", "pipeline_version_id": name, "name": name, "display_name": name}
        service.kfp.versions[name] = {**version, "pipeline_spec": changed if number in (7, 449) else spec}
    newest = await service.submitted("a", spec=None, pipeline={"name": "there"})
    seventh = await service.submitted("b", spec=None, pipeline={"name": "there", "version": "v7"})
    other = await service.submitted("c", spec=None, pipeline={"name": "there", "version": "v8"})
    assert len({run["pipeline"]["digest"] for run in (newest, seventh, other)}) == 3
    assert seventh["pipeline"]["version_name"] == "v7"


async def test_inputs_are_handed_over_recorded_and_explained(service: Harness) -> None:
    uris = ["file:///data/flights/day=1", "/data/flights/day=2/"]
    inputs = [{"name": "flights", "uri": uri, "version": "v1", "version_kind": "sha256"} for uri in uris]
    run = await service.submitted(inputs=inputs)
    assert run["arguments"]["flights"] == ["file:///data/flights/day=1", "file:///data/flights/day=2"]
    explained = (await service.client.get(f"/api/v1/runs/{run['run_id']}/explain")).json()
    assert [item["uri"] for item in explained["inputs"]] == run["arguments"]["flights"]
    assert explained["images"] == {"exec-train": "python:3.11"}
    assert explained["parameters"]["epochs"] == 3
    own = await service.submitted("own", inputs=inputs, arguments={"epochs": 1, "flights": ["mine"]})
    assert own["arguments"]["flights"] == ["mine"]


async def test_the_status_tells_of_the_installation(service: Harness) -> None:
    await service.submit()
    told = (await service.client.get("/api/v1/status")).json()
    assert told["database"] == "sqlite"
    assert told["backends"][0]["queued_runs"] == 1
    assert (await service.client.get("/status")).json()["version"] == told["version"]


async def test_every_answer_forbids_foreign_content(service: Harness) -> None:
    for path in ("/", "/api/v1/runs", "/api/v1/nothing", "/livez"):
        answer = await service.client.get(path)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("airflow", "ancestors"),
    [
        (None, "'self'"),
        ("https://airflow.example:8443/home", "'self' https://airflow.example:8443"),
        ("http://a; script-src *", "'self'"),
    ],
)
def test_only_airflow_may_show_pages_in_a_frame(airflow: str | None, ancestors: str) -> None:
    policy = dict(security_headers(airflow))[b"content-security-policy"].decode()
    assert f"; frame-ancestors {ancestors}; base-uri 'none'" in policy


async def test_the_openapi_document_names_every_route(service: Harness) -> None:
    document = (await service.client.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "/api/v1/runs/{run_id}:cancel" in document["paths"]
    schemas = document["components"]["schemas"]
    assert "spec" in schemas["SubmitRequest"]["properties"]
    for name in re.findall(r"#/components/schemas/([\w-]+)", json.dumps(document)):
        assert name in schemas, name
