"""One test for each kind of hole that servers of this field have had; docs/security.md says what stands
against which."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.lineage.database import Database
from tests.unit.service.harness import Harness, harness
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
