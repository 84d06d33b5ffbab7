"""Train, let a person decide, deploy: human approval with Airflow's own human-in-the-loop operator.

The gate has judged the numbers before anybody is asked; the request shows them, and the run's page. While
nobody answers, no slot is held and no triggerer is needed. Without an answer in time nothing is deployed. Run
it by hand.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, task
from flights.settings import compiled_pipeline

from bridge.provider.operators import KubeflowPipelineOperator

_BODY = """
{%- set run = ti.xcom_pull(task_ids="train") -%}
Run [{{ run.run_id }}]({{ run.urls.bridge }}) ended {{ run.state }}.

{% for name, value in run.metrics.items() %}- {{ name }}: {{ value }}
{% endfor %}
{% if run.gate %}Gate `{{ run.gate.expression }}`: {{ run.gate.reason }}{% endif %}
"""


@dag(
    dag_id="approved_deployment",
    schedule=None,
    params={"name": Param("world", type="string", description="What the pipeline is asked to do.")},
    tags=["example"],
    doc_md=__doc__,
)
def approved_deployment() -> None:
    """Rejecting skips the deployment; so does saying nothing for two days."""
    train = KubeflowPipelineOperator(
        task_id="train",
        pipeline=compiled_pipeline("hello"),
        arguments={"name": "{{ params.name }}"},
    )

    approve = ApprovalOperator(
        task_id="approve",
        subject="Deploy what {{ dag.dag_id }} trained?",
        body=_BODY,
        defaults="Reject",
        response_timeout=timedelta(days=2),
    )

    @task
    def deploy(reference: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """Where the deployment would begin: what is deployed, and who said so."""
        who = (answer.get("responded_by_user") or {}).get("name")
        models = [key for key, found in reference["artifacts"].items() if found["type"] == "system.Model"]
        print(f"deploying {models or reference['run_id']}, approved by {who}")
        return {"run_id": reference["run_id"], "approved_by": who}

    train >> approve
    deploy(train.output, approve.output)


approved_deployment()
