"""A pipeline that runs only when something changed: its spec, its arguments or its data. Run it by hand.

A second DagRun with the same name succeeds at once, with the references of the first one's run; the param
``force`` runs the pipeline all the same.
"""

from __future__ import annotations

from airflow.sdk import Param, dag
from flights.settings import compiled_pipeline

from bridge.provider.operators import KubeflowPipelineOperator


@dag(
    dag_id="hello_if_changed",
    schedule=None,
    params={
        "name": Param("world", type="string", description="Whom to greet."),
        "force": Param(False, type="boolean", description="Greet again, although nothing changed."),
    },
    tags=["example"],
    doc_md=__doc__,
)
def hello_if_changed() -> None:
    """One task; its XCom refers to the run that made the greeting, whenever that was."""
    KubeflowPipelineOperator(
        task_id="hello",
        pipeline=compiled_pipeline("hello"),
        arguments={"name": "{{ params.name }}"},
        skip_if_unchanged="{{ not params.force }}",
    )


hello_if_changed()
