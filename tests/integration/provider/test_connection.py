"""The hook in a task of one's own."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.client.models import OriginModel, PipelineVersionModel, SubmitRequest
from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.fake_bridge import End, FakeBridge

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings(IGNORED)]


def test_the_example(fake: FakeBridge, run_example: Any) -> None:
    for number, state in enumerate(("SUCCEEDED", "FAILED", "FAILED")):
        origin = OriginModel(dag_id="d", dag_run_id=str(number), task_id="t")
        fake.next_end = None
        request = SubmitRequest(pipeline=PipelineVersionModel(name=f"p{number}"), origin=origin)
        fake.finish(fake._submit(request)[1]["run_id"], End(state=state))
    ran: Ran = run_example("run_history.py", "run_history")
    assert ran.state == "success"
    assert {run["pipeline"] for run in ran.xcom("list_runs")} == {"p1", "p2"}
