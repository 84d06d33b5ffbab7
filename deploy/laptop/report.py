"""What the demo prints at its end. URIs stand on lines of their own, so that they can be copied whole."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from bridge.client.lineage import ExplainModel
from bridge.client.models import OriginModel, RunModel
from deploy.laptop.demo import DemoResult
from deploy.laptop.stack import Stack

_VERDICTS = {True: "passed", False: "failed", None: "not judged"}
_VERSION_CHARACTERS = 12


def print_result(console: Console, result: DemoResult) -> None:
    """The table of retrainings, their models, and the lineage of the newest model."""
    table = Table(title="Retrainings", title_justify="left")
    for column in ("", "DAG run", "KFP run", "state", "duration", "AUC", "gate"):
        table.add_column(column, overflow="fold")
    by_dag_run = {run.origin.dag_run_id: run for run in result.runs}
    for number, dag_run in enumerate(result.dag_runs, start=1):
        run = by_dag_run.get(dag_run["dag_run_id"])
        cells = _cells(run, result) if run else ["–"] * 5
        table.add_row(str(number), dag_run["dag_run_id"], *cells)
    console.print(table)
    for number, dag_run in enumerate(result.dag_runs, start=1):
        run = by_dag_run.get(dag_run["dag_run_id"])
        for uri in result.models.get(str(run.run_id), []) if run else []:
            _line(console, f"model {number}  {uri}")
    if result.explained is not None:
        _line(console, "")
        for line in lineage_lines(result.explained):
            _line(console, line)
        _line(console, "")


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


def _cells(run: RunModel, result: DemoResult) -> list[str]:
    auc = result.auc.get(str(run.run_id))
    seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at else None
    return [
        str(run.kfp_run_id),
        run.state,
        "–" if seconds is None else f"{seconds:.0f} s",
        "–" if auc is None else f"{auc:.4f}",
        "–" if run.gate is None else _VERDICTS[run.gate.passed],
    ]


def lineage_lines(explained: ExplainModel) -> Iterator[str]:
    """The newest model back to the Parquet partitions and the Airflow tasks that wrote them."""
    run = explained.run
    yield "Lineage of the newest model"
    yield from (f"  {model.uri}" for model in explained.models if model.uri)
    yield f"  made by    KFP run {run.kfp_run_id} of pipeline {run.pipeline.name} ({run.state})"
    if explained.parent:
        yield f"  asked by   Airflow {_task(explained.parent)}"
    for item in explained.inputs:
        version = (item.version or "unknown")[:_VERSION_CHARACTERS]
        yield f"  from data  {item.uri}  version {version}"
        if item.producer:
            yield f"             written by Airflow {_task(item.producer)}"


def _task(origin: OriginModel) -> str:
    return f"{origin.dag_id} / {origin.dag_run_id} / {origin.task_id}"


def print_places(console: Console, stack: Stack, *, running: bool) -> None:
    """Where to look while the stack runs, and where everything lies."""
    if running:
        console.print(f"Bridge    {stack.bridge_url}/  every run of both sides; API reference at /docs")
        console.print(f"Airflow   {stack.airflow.url}  DAGs and task logs; no login needed")
        console.print(f"Backend   {stack.kfp_url}  KFP v2beta1, for kfp.Client")
    console.print(f"Files     {stack.home}  remove the folder to begin again", soft_wrap=True)
