"""Answers have the shape of KFP's own API description."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.contract.local.test_process import create, get, wait_for
from tests.support.local_backend import LocalBackend

_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "kfp-v2beta1.swagger.json"
SWAGGER = Path(os.environ.get("KFBRIDGE_KFP_SWAGGER", _BESIDE))
pytestmark = pytest.mark.skipif(
    not SWAGGER.is_file(), reason="KFP's API description is not on this machine (set KFBRIDGE_KFP_SWAGGER)"
)


@cache
def description() -> dict[str, Any]:
    """The swagger document, every object closed: a field that KFP does not know is an error."""
    document: dict[str, Any] = json.loads(SWAGGER.read_text())
    for name, definition in document["definitions"].items():
        if definition.get("properties") and name != "protobufAny":
            definition["additionalProperties"] = False
    return document


def check(body: Any, definition: str) -> None:
    jsonschema.validate(body, {"$ref": f"#/definitions/{definition}", **description()})


def test_answers_fit_their_definitions(backend: LocalBackend, packages: dict[str, Path]) -> None:
    runs = [create(backend, packages["saying"], text="x"), create(backend, packages["failing"])]
    for run_id in runs:
        wait_for(backend, run_id, "SUCCEEDED", "FAILED")
        check(get(backend, run_id), "v2beta1Run")
    for path, definition in [
        ("runs", "v2beta1ListRunsResponse"),
        ("experiments", "v2beta1ListExperimentsResponse"),
        ("pipelines", "v2beta1ListPipelinesResponse"),
        ("healthz", "v2beta1GetHealthzResponse"),
    ]:
        answer = httpx.get(f"{backend.url}/apis/v2beta1/{path}")
        assert answer.status_code == 200
        check(answer.json(), definition)
    pipeline = httpx.get(f"{backend.url}/apis/v2beta1/pipelines").json()["pipelines"][0]
    check(pipeline, "v2beta1Pipeline")
    versions = httpx.get(f"{backend.url}/apis/v2beta1/pipelines/{pipeline['pipeline_id']}/versions").json()
    check(versions, "v2beta1ListPipelineVersionsResponse")
