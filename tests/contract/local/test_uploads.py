"""Every pipeline of KFP's own corpus is taken as it is."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.corpus import corpus_files

UPLOAD = "/apis/v2beta1/pipelines/upload"
pytestmark = pytest.mark.corpus


def upload(http: httpx.Client, path: Path) -> httpx.Response:
    with path.open("rb") as file:
        return http.post(UPLOAD, params={"name": path.name}, files={"uploadfile": (path.name, file)})


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
