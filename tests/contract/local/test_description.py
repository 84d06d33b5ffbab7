"""The API against KFP's own description of it: every operation, whatever is sent to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fuzzing import fuzz
from tests.support.handmade import component, document, task
from tests.support.kfp_swagger import check_answer, swagger, swagger_file
from tests.support.local_backend import LocalBackend

pytestmark = pytest.mark.skipif(
    swagger_file() is None, reason="KFP's API description is not on this machine (set KFBRIDGE_KFP_SWAGGER)"
)
API = "/apis/v2beta1"
# Schemathesis removes some of what it is told of.
_OF_EACH = 5
SPEC = document(
    {"work": task("work", "comp-work")},
    {"comp-work": component(executorLabel="exec-work")},
    {"exec-work": {"container": {"image": "none", "command": ["true"]}}},
)
RUN = {"display_name": "fuzzed", "pipeline_spec": SPEC}
RECURRING = {
    **RUN,
    "max_concurrency": "1",
    "mode": "DISABLE",
    "trigger": {"periodic_schedule": {"interval_second": "3600"}},
}


def version(name: str) -> dict[str, Any]:
    return {"pipeline": {"name": name}, "pipeline_version": {"pipeline_spec": SPEC}}


def made(http: httpx.Client, path: str, key: str, bodies: list[dict[str, Any]]) -> list[str]:
    answers = [http.post(f"{API}/{path}", json=body) for body in bodies]
    return [str(answer.json()[key]) for answer in answers]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_nothing_that_is_sent_breaks_it(backend: LocalBackend, http: httpx.Client, tmp_path: Path) -> None:
    some = range(_OF_EACH)
    pipelines = made(http, "pipelines/create", "pipeline_id", [version(f"p{number}") for number in some])
    versions = [
        http.get(f"{API}/pipelines/{pipeline_id}/versions").json()["pipeline_versions"][0][
            "pipeline_version_id"
        ]
        for pipeline_id in pipelines
    ]
    experiments = [{"display_name": f"e{number}"} for number in some]
    known = {
        "run_id": made(http, "runs", "run_id", [RUN for _ in some]),
        "recurring_run_id": made(http, "recurringruns", "recurring_run_id", [RECURRING for _ in some]),
        "experiment_id": made(http, "experiments", "experiment_id", experiments),
        "name": ["p0", "p1"],
        # The same parameter under the names that several operations have for it.
        **dict.fromkeys(
            ("pipeline_id", "pipelineid", "pipeline_pipeline_id", "pipeline_version_pipeline_id"), pipelines
        ),
        **dict.fromkeys(("pipeline_version_id", "pipeline_version_pipeline_version_id"), versions),
    }
    examples = {
        "RunService_CreateRun": RUN,
        "RecurringRunService_CreateRecurringRun": RECURRING,
        "PipelineService_CreatePipelineAndVersion": version("fuzzed"),
    }
    found = fuzz(swagger(), backend.url, tmp_path, known=known, examples=examples, max_seconds=40)
    assert found.passed, found.said
    assert http.get(f"{API}/healthz").status_code == 200
    assert "Traceback" not in (backend.data_dir / "stderr.log").read_text()


def test_every_operation_is_there(http: httpx.Client) -> None:
    for path, item in swagger()["paths"].items():
        for method in item:
            concrete = path.replace("{", "").replace("}", "")
            answer = http.request(method, concrete, content=b"{}" * (method != "get"))
            # What nobody serves answers "Not Found"; what is served names what it did not find.
            unserved = answer.status_code == 404 and answer.json()["message"] == "Not Found"
            assert unserved == (path == f"{API}/filters"), f"{method} {path}: {answer.text}"
            assert answer.status_code < 500


def test_an_answer_that_does_not_fit_is_noticed() -> None:
    path = f"{API}/runs/1"
    check_answer("GET", path, 200, b'{"run_id": "1", "state": "SUCCEEDED"}')
    for status, body in [
        (200, {"run_id": "1", "colour": "red"}),
        (200, {"run_id": 1}),
        (200, {"state": "DONE"}),
        (404, {"code": 3, "message": "no"}),
        (404, {"code": 5, "message": ""}),
        (404, {"detail": "no"}),
    ]:
        with pytest.raises(AssertionError, match="GET /apis/v2beta1/runs/1"):
            check_answer("GET", path, status, json.dumps(body).encode())
    with pytest.raises(AssertionError, match="is not described"):
        check_answer("GET", f"{API}/robots", 200, b"{}")
