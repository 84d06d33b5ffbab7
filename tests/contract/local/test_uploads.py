"""Every file of KFP's own corpus: what is a pipeline is taken as it is, what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.corpus import corpus_dir, corpus_files

UPLOAD = "/apis/v2beta1/pipelines/upload"
pytestmark = pytest.mark.corpus


def corpus(*folders: str) -> list[Path]:
    root = corpus_dir()
    return sorted(path for folder in folders for path in (root / folder).iterdir()) if root else []


def upload(http: httpx.Client, path: Path) -> httpx.Response:
    with path.open("rb") as file:
        return http.post(UPLOAD, params={"name": path.name}, files={"uploadfile": (path.name, file)})


@pytest.mark.skipif(corpus_dir() is None, reason="KFP's corpus is not on this machine (set KFBRIDGE_CORPUS)")
def test_invalid_files_are_refused_in_kfps_shape(http: httpx.Client) -> None:
    files = corpus("invalid")
    assert len(files) >= 6
    for path in files:
        answer = upload(http, path)
        body = answer.json()
        assert (answer.status_code, body["code"]) == (400, 3), path.name
        # The gateway's fields, and those of KFP's upload handler.
        assert body["message"] == body["error"] == body["error_message"]
        assert "Traceback" not in answer.text
    listed = http.get("/apis/v2beta1/pipelines").json()
    assert not [one for one in listed.get("pipelines", []) if one["name"] in {path.name for path in files}]
    assert http.get("/apis/v2beta1/healthz").status_code == 200


@pytest.mark.parametrize(
    "path", corpus_files("critical", "parallel_and_nested", "local_execution"), ids=lambda path: path.stem
)
def test_a_pipeline_comes_back_as_it_was_sent(http: httpx.Client, path: Path) -> None:
    answer = upload(http, path)
    assert answer.status_code == 200, answer.text
    versions = http.get(f"/apis/v2beta1/pipelines/{answer.json()['pipeline_id']}/versions").json()
    shown = versions["pipeline_versions"][0]["pipeline_spec"]
    documents = [one for one in yaml.safe_load_all(path.read_text()) if one]
    if len(documents) > 1:
        assert set(shown) == {"pipeline_spec", "platform_spec"}
        assert shown["platform_spec"] == as_json(documents[1])
        shown = shown["pipeline_spec"]
    assert shown == as_json(documents[0])


def as_json(document: object) -> object:
    return json.loads(json.dumps(document, default=str))
