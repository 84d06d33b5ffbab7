"""The same runs waited for in two ways; run by ``tests.bench.comparing`` in a real Airflow."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from airflow.sdk import DAG, task

from bridge.provider.operators import KubeflowPipelineOperator

RUNS = int(os.environ["BENCH_RUNS"])
SECONDS = os.environ["BENCH_SECONDS"]
PACKAGE = os.environ["BENCH_PACKAGE"]
KFP_URL = os.environ["BENCH_KFP_URL"]
KFP_PYTHON = os.environ["BENCH_KFP_PYTHON"]
OPTIONS: dict[str, Any] = {
    "schedule": None,
    "is_paused_upon_creation": False,
    "max_active_tasks": RUNS,
}


class TimedOperator(KubeflowPipelineOperator):
    """Notes when it was resumed."""

    def run_ended(self, context: Any, event: Mapping[str, Any]) -> Any:
        context["ti"].xcom_push("resumed_at", time.time())
        return super().run_ended(context, event)


with DAG("with_operator", **OPTIONS):
    TimedOperator.partial(task_id="run", pipeline=PACKAGE, caching=False).expand(
        arguments=[{"seconds": SECONDS}] * RUNS
    )

with DAG("with_kfp_client", **OPTIONS):

    @task.external_python(python=KFP_PYTHON, expect_airflow=False)
    def run(host: str, package: str, seconds: str) -> dict[str, object]:
        """What people write around ``kfp.Client``; kfp lives in an environment of its own."""
        import time

        from kfp import Client

        client = Client(host=host)
        made = client.create_run_from_pipeline_package(
            package, arguments={"seconds": seconds}, enable_caching=False
        )
        client.wait_for_run_completion(made.run_id, timeout=3600)
        return {"kfp_run_id": made.run_id, "resumed_at": time.time()}

    run.partial(host=KFP_URL, package=PACKAGE).expand(seconds=[SECONDS] * RUNS)
