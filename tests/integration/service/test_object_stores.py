"""Content of artifacts in a bucket, from a server that speaks S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.lineage.database import Database
from bridge.service.contents import Contents
from bridge.service.settings import ServiceSettings
from tests.support.s3 import running_s3
from tests.support.sqlite import migrated_sqlite
from tests.unit.service.harness import harness
from tests.unit.service.test_content import address

MODEL = bytes(range(256)) * 5000


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Where the server is, as options of fsspec; its bucket ``models`` holds a model."""
    with running_s3() as server:
        server.bucket("models").put_object(Key="runs/1/a model+1.bin", Body=MODEL)
        yield server.options


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_sqlite(tmp_path_factory.mktemp("stores"))


async def test_an_object_is_given_whole_in_parts_and_in_its_beginning(
    s3: dict[str, str], migrated: Path, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{shutil.copy(migrated, tmp_path / 'bridge.db')}")
    settings = {"content_stores": ("s3://models/runs",), "content_options": {"s3": s3}}
    async with harness(database, **settings) as service:
        path = await address(service, "s3://models/runs/1/a model+1.bin")
        whole = await service.client.get(path)
        assert (whole.status_code, whole.content) == (200, MODEL), whole.text
        part = await service.client.get(path, headers={"Range": "bytes=-300"})
        assert (part.status_code, part.content) == (206, MODEL[-300:])
        preview = await service.client.get(path, params={"preview": 1000})
        assert preview.content == MODEL[:1000]
        unchanged = await service.client.get(path, headers={"If-None-Match": whole.headers["etag"]})
        assert unchanged.status_code == 304
        gone = await service.client.get(await address(service, "s3://models/runs/2"))
        assert gone.status_code == 404
        assert "there is nothing at" in gone.json()["detail"]
        folder = await service.client.get(await address(service, "s3://models/runs/1"))
        assert "is a directory" in folder.json()["detail"]
        elsewhere = await service.client.get(await address(service, "s3://models/other"))
        assert "content_stores" in elsewhere.json()["detail"]
    database.close()


async def test_the_bridge_sees_whether_an_object_is_there(s3: dict[str, str]) -> None:
    settings = ServiceSettings(content_stores=("s3://models", "s3://nowhere"), content_options={"s3": s3})
    async with Contents(settings) as contents:
        for uri, state in [
            ("s3://models/runs/1/a model+1.bin", "available"),
            ("s3://models/runs/1", "available"),
            ("s3://models/runs/2", "unavailable"),
            ("s3://nowhere/x", "unavailable"),
        ]:
            assert settings.may_look(uri)
            assert (await contents.look(uri)).state == state
