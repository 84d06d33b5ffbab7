"""A pipeline as a TaskFlow task: a function decides the arguments, for each of a list. Run it by hand."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task
from flights.settings import compiled_pipeline


@dag(
    dag_id="hello_taskflow",
    schedule=None,
    params={"names": Param(["world", "moon"], type="array", description="Whom to greet.")},
    tags=["example"],
    doc_md=__doc__,
)
def hello_taskflow() -> None:
    """One run of the pipeline for each name, all waited for in the triggerer."""

    @task
    def whom(params: dict[str, Any]) -> list[str]:
        """The names, decided when the DagRun is under way."""
        return list(params["names"])

    @task.kubeflow_pipeline(pipeline=compiled_pipeline("hello"), display_name="hello {{ ti.map_index }}")
    def greet(name: str) -> dict[str, Any]:
        """The pipeline's arguments."""
        return {"name": name.title()}

    @task
    def states(references: list[dict[str, Any]]) -> list[str]:
        """How the runs ended."""
        return [reference["state"] for reference in references]

    states(greet.expand(name=whom()))


hello_taskflow()
