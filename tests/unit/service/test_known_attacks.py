"""One test for each kind of hole that servers of this field have had; docs/security.md says what stands
against which."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bridge.lineage import deliveries
from bridge.lineage.database import Database
from tests.unit.service.harness import SPEC, Harness, harness
from tests.unit.service.test_api import problem
from tests.unit.service.test_content import address


@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/api/v1/openapi.json", "/readyz", "/metrics"])
async def test_dns_rebinding_a_page_under_a_name_of_its_own_reads_nothing(
    service: Harness, path: str
) -> None:
    answer = await service.client.get(path, headers={"Host": "evil.example:8700"})
    assert "allowed_hosts" in (problem(answer, 421, "unknown-host").detail or "")


async def test_dns_rebinding_the_bridges_own_names_are_answered(database: Database) -> None:
    names = ("*.bridge.svc",)
    async with harness(database, allowed_hosts=names, public_url="https://bridge.example/") as service:
        for host in ("127.0.0.1:8700", "localhost", "api.bridge.svc:8700", "Bridge.Example", "10.0.0.7:8700"):
            assert (await service.client.get("/api/v1/runs", headers={"Host": host})).status_code == 200
        answer = await service.client.get("/api/v1/runs", headers={"Host": "bridge.svc.evil.example"})
        problem(answer, 421, "unknown-host")


async def test_dns_rebinding_who_has_to_say_who_they_are_may_ask_by_any_name(database: Database) -> None:
    asks: dict[str, Any] = {"host": "0.0.0.0", "api_token": "t", "content_roots": (Path("/nowhere"),)}
    for names, status in (((), 200), (("bridge.example",), 421)):
        async with harness(database, allowed_hosts=names, **asks) as service:
            headers = {"Host": "kfbridge.airflow.svc:8700", "Authorization": "Bearer t"}
            assert (await service.client.get("/api/v1/runs", headers=headers)).status_code == status
            del headers["Authorization"]
            assert (await service.client.get("/api/v1/runs", headers=headers)).status_code in (401, 421)


async def test_path_traversal_an_artifact_outside_of_the_roots_is_not_given(
    database: Database, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("a secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    async with harness(database, content_roots=(root,)) as service:
        for way in ("../secret", "%2e%2e/secret", "link", "folder/secret", "./.././secret"):
            answer = await service.client.get(await address(service, f"file://{root}/{way}"))
            told = problem(answer, 404, "not-found").detail or ""
            assert "content_roots" in told, way
            assert "a secret" not in answer.text


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..%5cetc", "/etc/passwd"]
)
async def test_path_traversal_pages_and_ids_are_no_paths(service: Harness, path: str) -> None:
    for where in ("/assets/", "/api/v1/artifacts/", "/api/v1/runs/"):
        answer = await service.client.get(where + path)
        assert answer.status_code in (404, 422), where
        assert "root:" not in answer.text


async def test_path_traversal_no_route_takes_a_path_or_a_uri_of_content(service: Harness) -> None:
    for name in ("uri", "path", "key", "bucket"):
        answer = await service.client.get("/api/v1/artifacts/content", params={name: "file:///etc/passwd"})
        assert answer.status_code == 422


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://metadata.google.internal/",
        "gopher://127.0.0.1:6379/x",
        "s3://somebody-elses/key",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "urn:x:y",
    ],
)
async def test_ssrf_by_uri_nothing_is_fetched_that_the_settings_do_not_name(
    database: Database, tmp_path: Path, uri: str
) -> None:
    reachable = {"host": "0.0.0.0", "api_token": "t", "content_roots": (tmp_path,)}
    async with harness(database, **reachable) as service:
        service.client.headers["Authorization"] = "Bearer t"
        problem(await service.client.get(await address(service, uri)), 404, "not-found")
        assert not service.context.settings.may_look(uri)


async def test_a_body_of_endless_small_values_is_refused_before_it_is_built(service: Harness) -> None:
    many = b"[" + b"{}," * 600_000 + b"{}]"
    for path in ("/api/v1/lineage", "/api/v1/runs", "/api/v1/webhooks"):
        answer = await service.client.post(path, content=many)
        assert "values" in (problem(answer, 413, "too-large").detail or "")
    text = b'{"spec": "' + b"a, " * 300_000 + b'"}'
    problem(await service.client.post("/api/v1/runs", content=text), 400, "missing-key")
    deep = b"[" * 100_000 + b"]" * 100_000
    problem(await service.client.post("/api/v1/lineage", content=deep), 422, "invalid-request")


async def test_ssrf_by_namespace_a_namespace_is_never_a_host_or_a_path(service: Harness) -> None:
    for number, namespace in enumerate(
        ("evil.example/#", "../../admin", "a@evil.example:80", "a?x=http://evil")
    ):
        await service.submit(f"k{number}", namespace=namespace)
        await service.send()
    assert service.kfp.requests
    assert all(path.startswith("/apis/v2beta1/") and ".." not in path for _, path in service.kfp.requests)
    assert not any("evil" in path for _, path in service.kfp.requests)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://100.100.100.200/latest",
        "http://127.0.0.1:8700/api/v1/runs",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f.1/",
    ],
)
async def test_webhook_ssrf_no_address_of_ones_own_is_asked(database: Database, url: str) -> None:
    async with harness(database, host="0.0.0.0", api_token="t") as service:
        service.client.headers["Authorization"] = "Bearer t"
        added = await service.client.post("/api/v1/webhooks", json={"url": url})
        tried = await service.client.post(f"/api/v1/webhooks/{added.json()['webhook_id']}:test")
    assert tried.status_code == 200
    assert (tried.json()["taken"], tried.json()["status"]) == (False, None)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x", "javascript:alert(1)", "//evil", ""])
async def test_webhook_ssrf_only_the_web_is_taken(service: Harness, url: str) -> None:
    problem(await service.client.post("/api/v1/webhooks", json={"url": url}), 422, "invalid-request")


async def test_idor_what_belongs_to_another_object_is_not_reached_through_this_one(service: Harness) -> None:
    mine = (await service.client.post("/api/v1/webhooks", json={"url": "https://mine.example"})).json()
    other = (await service.client.post("/api/v1/webhooks", json={"url": "https://other.example"})).json()
    await service.submitted()
    await service.sequencer.step()
    await service.context.store.transact(deliveries.fan_out)
    owed = (await service.client.get(f"/api/v1/webhooks/{other['webhook_id']}/deliveries")).json()["items"]
    place = f"/api/v1/webhooks/{mine['webhook_id']}/deliveries/{owed[0]['delivery_id']}:redeliver"
    problem(await service.client.post(place), 404, "not-found")


async def test_idor_a_version_of_another_project_is_not_found_by_its_digest(service: Harness) -> None:
    made = await service.client.post(
        "/api/v1/pipelines", params={"project": "secret"}, json={"spec": SPEC, "version": "v1"}
    )
    for asked in ({"version": "v1"}, {"version": made.json()["digest"]}, {"alias": "v1"}):
        pipeline = {"name": made.json()["name"], **asked}
        answer = await service.submit("k", spec=None, pipeline=pipeline, project="mine")
        problem(answer, 422, "unknown-pipeline")
    alias = await service.client.put(
        f"/api/v1/pipelines/{made.json()['name']}/aliases/prod",
        params={"project": "mine"},
        json={"digest": made.json()["digest"]},
    )
    problem(alias, 422, "unknown-pipeline")


async def test_idor_ids_cannot_be_counted_up(service: Harness, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    path = await address(service, f"file://{tmp_path}/a")
    UUID(path.split("/")[4])
    for guessed in ("1", "0", "-1", str(UUID(int=1))):
        for where in ("artifacts", "runs", "webhooks"):
            assert (await service.client.get(f"/api/v1/{where}/{guessed}")).status_code in (404, 422)


INJECTION = "' OR 1=1; DROP TABLE runs; --"


def tampered(cursor: str) -> list[str]:
    """The cursor with an injection in the place of each of its keys, and of its kind."""
    told = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    changed = [[*told[:place], INJECTION, *told[place + 1 :]] for place in range(len(told))]
    return [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in changed]


async def test_page_token_sql_injection_a_cursor_is_data(service: Harness, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        text = SPEC.replace("name: training", f"name: training-{name}")
        await service.client.post("/api/v1/pipelines", json={"spec": text})
        (tmp_path / name).write_text(name)
        await address(service, f"file://{tmp_path}/{name}")
    checked = 0
    for listing in ("runs", "pipelines", "artifacts"):
        first = (await service.client.get(f"/api/v1/{listing}", params={"limit": 1})).json()
        for cursor in tampered(first["next_cursor"]) if first.get("next_cursor") else []:
            checked += 1
            answer = await service.client.get(f"/api/v1/{listing}", params={"limit": 1, "cursor": cursor})
            assert answer.status_code in (200, 422), answer.text
            assert len(answer.json().get("items", [])) <= 1
    assert checked > 5
    for name in ("sort", "order", "metric", "text", "pipeline", "label"):
        await service.client.get("/api/v1/runs", params={name: INJECTION})
    assert len(await service.stored()) == 3


async def test_stored_xss_what_was_stored_is_never_a_page(service: Harness) -> None:
    script = "<script>alert(1)</script>"
    run = await service.submitted(
        display_name=script,
        labels={"x": script},
        origin={"dag_id": script, "url": "javascript:alert(1)"},
    )
    for path in (f"/api/v1/runs/{run['run_id']}", "/api/v1/runs", f"/api/v1/runs/{script}"):
        answer = await service.client.get(path)
        assert answer.headers["content-type"].startswith(("application/json", "application/problem+json"))
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
    assert run["links"]["scheduler"] is None
    for page in (f"/runs/{run['run_id']}", f"/runs/{script}", f"/?text={script}"):
        answer = await service.client.get(page)
        assert script not in answer.text or answer.headers["content-type"] == "application/problem+json"


async def test_stored_xss_a_page_of_a_component_is_shown_in_a_sandbox(
    service: Harness, tmp_path: Path
) -> None:
    for name in ("report.html", "drawing.svg", "page.xhtml", "code.js"):
        (tmp_path / name).write_text(
            "<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>"
        )
        shown = await service.client.get(await address(service, f"file://{tmp_path}/{name}", "system.HTML"))
        policies = shown.headers.get_list("content-security-policy")
        assert [policy.startswith("sandbox; default-src 'none'") for policy in policies] == [True], name
        assert "allow-scripts" not in policies[0]
        assert shown.headers["x-content-type-options"] == "nosniff"
