"""An artifact's content: whole, in ranges, its beginning, and never as something that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunMirror
from bridge.lineage.database import Database
from bridge.service.passing import SIZE_HEADER
from bridge.service.ranges import Part, Unsatisfiable, part_of
from bridge.service.settings import ServiceSettings, SettingsError
from bridge.service.settings_sources import load_settings
from tests.unit.service.harness import Harness, harness, mirror_of

TEXT = bytes(range(256)) * 8


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 10),
        ("bytes=90-", 90, 10),
        ("bytes=90-1000", 90, 10),
        ("bytes=-7", 93, 7),
        ("bytes=-700", 0, 100),
        ("Bytes = 1 - 2", 1, 2),
    ],
)
def test_a_range_is_what_it_asks_for(header: str, start: int, length: int) -> None:
    assert part_of(header, 100) == Part(start, length, 100, whole=False)
    assert part_of(header, 100).content_range == f"bytes {start}-{start + length - 1}/100"


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=-", "bytes=5-2", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b"]
)
def test_what_is_no_single_range_is_as_good_as_none(header: str | None) -> None:
    assert part_of(header, 100) == Part(0, 100, 100, whole=True)


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-0", 0)])
def test_a_range_behind_the_end_cannot_be_given(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        part_of(header, size)


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Harness]:
    async with harness(database, max_content_bytes=4096) as made:
        yield made


async def address(service: Harness, uri: str | None, type: str = "system.Artifact") -> str:
    """Where the content of an artifact with that URI is."""
    use = ArtifactUse(task_id="2", task_path="train", key="out", direction=Direction.OUTPUT)
    one = Artifact(backend_artifact_id=uuid4().hex, type=type, uri=uri, uses=(use,))
    told = RunMirror(tasks=mirror_of().tasks, artifacts=(one,))
    run = await service.ended(await service.submitted(uuid4().hex), mirror=told)
    listed = (await service.client.get(f"/api/v1/runs/{run['run_id']}/artifacts")).json()["items"]
    return f"/api/v1/artifacts/{listed[0]['artifact_id']}/content"


async def test_a_file_is_given_whole_in_parts_and_in_its_beginning(service: Harness, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(TEXT)
    path = await address(service, f"file://{tmp_path}/data.bin")
    whole = await service.client.get(path)
    assert (whole.status_code, whole.content) == (200, TEXT)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-length"] == str(len(TEXT))
    assert whole.headers["content-disposition"].startswith("attachment;")
    part = await service.client.get(path, headers={"Range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, TEXT[256:512])
    assert part.headers["content-range"] == f"bytes 256-511/{len(TEXT)}"
    preview = await service.client.get(path, params={"preview": 10})
    assert (preview.status_code, preview.content) == (200, TEXT[:10])
    assert preview.headers[SIZE_HEADER] == str(len(TEXT))
    behind = await service.client.get(path, headers={"Range": "bytes=9999-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(TEXT)}")
    assert behind.json()["type"] == "urn:kfbridge:problem:range-not-satisfiable"


async def test_an_unchanged_content_is_not_sent_again_and_a_changed_one_whole(
    service: Harness, tmp_path: Path
) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(TEXT)
    path = await address(service, f"file://{file}")
    tag = (await service.client.get(path)).headers["etag"]
    again = await service.client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    resumed = {"Range": "bytes=1-2", "If-Range": tag}
    assert (await service.client.get(path, headers=resumed)).status_code == 206
    file.write_bytes(b"other")
    changed = await service.client.get(path, headers=resumed)
    assert (changed.status_code, changed.content) == (200, b"other")


async def test_more_than_is_passed_on_at_once_is_given_in_parts(service: Harness, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"x" * 5000)
    path = await address(service, f"file://{tmp_path}/large.bin")
    refused = await service.client.get(path)
    assert refused.status_code == 413
    assert "ask for a range" in refused.json()["detail"]
    assert len((await service.client.get(path, headers={"Range": "bytes=0-4095"})).content) == 4096
    assert (await service.client.get(path, headers={"Range": "bytes=0-4096"})).status_code == 413


@pytest.mark.parametrize(
    ("name", "type", "media_type", "disposition"),
    [
        ("report.html", "system.Artifact", "text/html; charset=utf-8", "inline"),
        ("report", "system.HTML", "text/html; charset=utf-8", "inline"),
        ("notes", "system.Markdown", "text/markdown; charset=utf-8", "inline"),
        ("roc.png", "system.Artifact", "image/png", "inline"),
        ("drawing.svg", "system.Artifact", "image/svg+xml", "inline"),
        ("code.js", "system.Artifact", "application/octet-stream", "attachment"),
        ("model", "system.Model", "application/octet-stream", "attachment"),
    ],
)
async def test_nothing_of_it_runs_in_a_browser(
    service: Harness, tmp_path: Path, name: str, type: str, media_type: str, disposition: str
) -> None:
    (tmp_path / name).write_bytes(b"<script>alert(1)</script>")
    shown = await service.client.get(await address(service, f"file://{tmp_path}/{name}", type))
    assert shown.headers["content-type"] == media_type
    assert shown.headers["content-disposition"] == f"{disposition}; filename*=UTF-8''{name}"
    assert shown.headers["x-content-type-options"] == "nosniff"
    (policy,) = shown.headers.get_list("content-security-policy")
    assert policy.startswith("sandbox; default-src 'none';")
    assert "script" not in policy


async def test_what_cannot_be_given_says_why(service: Harness, tmp_path: Path) -> None:
    for uri, told in [
        (f"file://{tmp_path}", "is a directory"),
        (f"file://{tmp_path}/gone", "there is nothing at"),
        ("file:///dev/zero", "is no file"),
        ("s3://bucket/key", "content_stores"),
        ("http://store/x", "is not passed through"),
        (None, "has no URI"),
    ]:
        answer = await service.client.get(await address(service, uri))
        assert answer.status_code == 404, uri
        assert told in answer.json()["detail"]


async def test_a_store_that_this_installation_cannot_read_is_said_to_be_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(protocol: str, **_: Any) -> Any:
        raise ImportError(f"Install {protocol}")

    monkeypatch.setattr("bridge.service.stores.fsspec.filesystem", missing)
    async with harness(database, content_stores=("gs://models",)) as service:
        answer = await service.client.get(await address(service, "gs://models/a"))
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert "airflow-kfp-bridge[gcs]" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("stores", "uri", "may"),
    [
        ("s3://lake", "s3://lake/a/b", True),
        ("s3://lake, gs://models/prod/", "gs://models/prod/x", True),
        ("gs://models/prod", "gs://models/production/x", False),
        ("s3://lake", "s3a://lake/a", True),
        ("s3://lake", "s3://other/lake", False),
        ("s3://lake", "file:///lake/a", False),
        ("s3://lake", "no uri", False),
    ],
)
def test_which_objects_may_be_read(stores: str, uri: str, may: bool) -> None:
    settings = ServiceSettings.model_validate({"content_stores": stores})
    assert settings.may_read_store(uri) is may
    if may:
        assert settings.may_look(uri)


def test_a_store_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="no beginning of an s3 or gs URI"):
        load_settings({"KFBRIDGE_CONTENT_STORES": "http://bucket"})
