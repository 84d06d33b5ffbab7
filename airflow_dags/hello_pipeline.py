"""The smallest DAG with a Kubeflow pipeline in it: run it by hand."""

from __future__ import annotations

from airflow.sdk import Param, dag
from flights.settings import compiled_pipeline

from bridge.provider.operators import KubeflowPipelineOperator


@dag(
    dag_id="hello_kubeflow",
    schedule=None,
    params={"name": Param("world", type="string", description="Whom to greet.")},
    tags=["example"],
    doc_md=__doc__,
)
def hello_kubeflow() -> None:
    """One task; its XCom is the reference to the run."""
    KubeflowPipelineOperator(
        task_id="hello",
        pipeline=compiled_pipeline("hello"),
        arguments={"name": "{{ params.name }}"},
    )


hello_kubeflow()
