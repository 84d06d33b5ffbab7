"""Which content is given as whose: projects with folders of their own, and artifacts that several have."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from bridge.domain.access import Role
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunMirror
from bridge.lineage.database import Database
from bridge.service.backend_settings import ProjectSettings
from bridge.service.settings import ServiceSettings
from tests.unit.service.harness import Harness, harness, mirror_of
from tests.unit.service.test_access import bearer, made


async def mirrored(service: Harness, project: str, uri: str, backend_id: str | None = None) -> dict[str, Any]:
    """The artifact of a run of the project that put out, or imported, what is at the URI."""
    use = ArtifactUse(task_id="2", task_path="train", key="out", direction=Direction.OUTPUT)
    one = Artifact(backend_artifact_id=backend_id or uuid4().hex, type="system.Model", uri=uri, uses=(use,))
    told = RunMirror(tasks=mirror_of().tasks, artifacts=(one,))
    run = await service.ended(await service.submitted(uuid4().hex, project=project), mirror=told)
    listed = await service.client.get(f"/api/v1/runs/{run['run_id']}/artifacts")
    found: dict[str, Any] = listed.json()["items"][0]
    return found


async def test_a_project_with_folders_of_its_own_is_given_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(f"of {name}")
    projects = {name: ProjectSettings(content_roots=(tmp_path / name,)) for name in ("ours", "theirs")}
    settings: dict[str, Any] = {"content_roots": (tmp_path,), "projects": projects}
    async with harness(database, **settings) as service:
        for project, folder, status in (
            *(("ours", "ours", 200), ("ours", "theirs", 404), ("theirs", "ours", 404)),
            *(("another", "ours", 200), ("another", "theirs", 200)),
        ):
            artifact = await mirrored(service, project, f"file://{tmp_path}/{folder}/model")
            answer = await service.client.get(f"/api/v1/artifacts/{artifact['artifact_id']}/content")
            assert answer.status_code == status, (project, folder)
            assert ("of " in answer.text) is (status == 200)


async def test_who_imports_what_another_project_made_sees_it_and_is_not_given_its_content(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model").write_text("of theirs")
    projects = {
        "ours": ProjectSettings(content_roots=(tmp_path / "ours",)),
        "theirs": ProjectSettings(content_roots=(tmp_path / "theirs",)),
    }
    tokens = {name: bearer(made(database, Role.VIEWER, name)) for name in ("ours", "theirs", "third")}
    settings: dict[str, Any] = {"projects": projects, "content_roots": (tmp_path,), "api_token": "root"}
    async with harness(database, **settings) as service:
        service.client.headers["Authorization"] = "Bearer root"
        uri = f"file://{tmp_path}/theirs/model"
        artifact = await mirrored(service, "theirs", uri, "7")
        assert (await mirrored(service, "ours", uri, "7"))["artifact_id"] == artifact["artifact_id"]
        path = f"/api/v1/artifacts/{artifact['artifact_id']}"
        for who, shown, content in (("theirs", 200, 200), ("ours", 200, 404), ("third", 404, 404)):
            assert (await service.client.get(path, headers=tokens[who])).status_code == shown, who
            answer = await service.client.get(f"{path}/content", headers=tokens[who])
            assert answer.status_code == content, who
        listed = (await service.client.get("/api/v1/artifacts", headers=tokens["ours"])).json()["items"]
        assert [(one["artifact_id"], one["project"]) for one in listed] == [(artifact["artifact_id"], "")]
        graph = await service.client.get(f"{path}/lineage", headers=tokens["ours"])
        assert "theirs" not in graph.text.replace(uri, "")


def test_stores_of_a_project_stand_for_the_general_ones() -> None:
    settings = ServiceSettings(
        content_stores=("s3://lake",), projects={"ours": ProjectSettings(content_stores=("s3://ours/",))}
    )
    told = {
        (project, uri): settings.may_read_store(uri, project)
        for project in ("ours", "another", "")
        for uri in ("s3://lake/x", "s3://ours/x")
    }
    assert [key for key, may in told.items() if may] == [
        *(("ours", "s3://ours/x"), ("another", "s3://lake/x"), ("", "s3://lake/x")),
    ]
    assert settings.may_look("s3://ours/x", "ours")
    with pytest.raises(ValidationError, match="no beginning"):
        ProjectSettings(content_stores=("http://x",))
