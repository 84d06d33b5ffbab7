"""What is no pipeline is refused in KFP's error shape, with a sentence that names the fault."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx
import pytest
import yaml

from tests.contract.corpus.conducting import Backend
from tests.support.corpus import corpus_dir, corpus_file

pytestmark = pytest.mark.corpus

API = "/apis/v2beta1"
# The fault of each file, as one finds it by reading it.
FAULTS: Mapping[str, str] = {
    # comments alone
    "empty_file.yaml": "no pipeline|empty|pipelineInfo",
    # comments, in a file that is called a zip; KFP goes by the content of what is not called .yaml or .json
    "empty_zip.zip": "unexpected pipeline file format",
    # a zip that holds invalid_yaml.yaml
    "invalid-zip.zip": "components_1",
    # components are called components_1, a field that a PipelineSpec does not have
    "invalid_yaml.yaml": "components_1",
    # pipelineInfo.name is null
    "no_name.yaml": "name",
    # comments, in a file that is called a picture
    "wrong_format.png": "unexpected pipeline file format",
}


def assert_refused(answer: httpx.Response, fault: str) -> None:
    """google.rpc.Status as KFP's gateway writes it, INVALID_ARGUMENT, naming the fault."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, 3), answer.text
    assert body["message"] == body["error"]
    assert [detail["@type"] for detail in body["details"]] == ["type.googleapis.com/google.rpc.Status"]
    assert re.search(fault, body["message"], re.IGNORECASE), body["message"]


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_an_upload_is_refused(server: Backend, name: str) -> None:
    path = corpus_file(f"invalid/{name}")
    files = {"uploadfile": (name, path.read_bytes())}
    for place in ("pipelines/upload", "pipelines/upload_version"):
        params = {"name": f"invalid {name}"}
        if place.endswith("version"):
            params["pipelineid"] = "00000000-0000-0000-0000-000000000000"
        answer = httpx.post(f"{server.url}{API}/{place}", params=params, files=files)
        if place == "pipelines/upload":
            assert_refused(answer, FAULTS[name])
            # What KFP's upload handler, which is no gRPC, calls it.
            assert answer.json()["error_message"] == answer.json()["message"]
        assert 400 <= answer.status_code < 500, answer.text
    assert httpx.get(f"{server.url}{API}/pipelines/names/invalid {name}").status_code == 404
    assert httpx.get(f"{server.url}{API}/healthz").status_code == 200


@pytest.mark.parametrize("name", ["invalid_yaml.yaml", "no_name.yaml"])
def test_a_run_of_it_is_refused(server: Backend, name: str) -> None:
    spec = yaml.safe_load(corpus_file(f"invalid/{name}").read_text(encoding="utf-8"))
    body = {"display_name": f"invalid {name}", "pipeline_spec": spec}
    assert_refused(httpx.post(f"{server.url}{API}/runs", json=body), FAULTS[name])


def test_every_invalid_file_is_named() -> None:
    root = corpus_dir()
    if root is None:
        pytest.skip("KFP's test pipelines are not on this machine (set KFBRIDGE_CORPUS)")
    assert {path.name for path in (root / "invalid").iterdir()} == FAULTS.keys()
