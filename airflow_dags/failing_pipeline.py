"""A pipeline whose second component raises: what a failure looks like in Airflow. Run it by hand."""

from __future__ import annotations

from airflow.sdk import Param, dag
from flights.settings import compiled_pipeline

from bridge.provider.notifiers import BridgeRunNotifier
from bridge.provider.operators import KubeflowPipelineOperator


@dag(
    dag_id="failing_example",
    schedule=None,
    default_args={"on_failure_callback": BridgeRunNotifier()},
    params={"message": Param("the fuse was lit", type="string", description="What the error says.")},
    tags=["example"],
    doc_md=__doc__,
)
def failing_example() -> None:
    """One task, which fails with the component's name and its last log lines in its own log."""
    KubeflowPipelineOperator(
        task_id="fail",
        pipeline=compiled_pipeline("failing"),
        arguments={"message": "{{ params.message }}"},
    )


failing_example()
