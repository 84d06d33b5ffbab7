"""What the demo prints at its end."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from bridge.client.models import ExplainModel, OriginModel, RunModel
from deploy.laptop.demo import DemoResult
from deploy.laptop.stack import Stack


def print_result(console: Console, result: DemoResult) -> None:
    """The table of retrainings and the lineage of the newest model."""
    table = Table(title="Retrainings", show_lines=True)
    for column in ("DAG run", "KFP run", "state", "duration", "AUC", "gate", "model"):
        table.add_column(column, overflow="fold")
    by_dag_run = {run.origin.dag_run_id: run for run in result.runs}
    for dag_run in result.dag_runs:
        run = by_dag_run.get(dag_run["dag_run_id"])
        table.add_row(dag_run["dag_run_id"], *(_cells(run, result) if run else ["–"] * 6))
    console.print(table)
    if result.explained is not None:
        console.print(lineage_tree(result.explained))


def _cells(run: RunModel, result: DemoResult) -> list[str]:
    name = str(run.run_id)
    auc = result.auc.get(name)
    gate = "–" if run.gate is None else {True: "passed", False: "failed", None: "not judged"}[run.gate.passed]
    seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at else None
    return [
        str(run.kfp_run_id),
        run.state,
        "–" if seconds is None else f"{seconds:.0f} s",
        "–" if auc is None else f"{auc:.4f}",
        gate,
        result.models.get(name, "–"),
    ]


def lineage_tree(explained: ExplainModel) -> Tree:
    """The newest model back to the Parquet partitions and the Airflow tasks that wrote them."""
    models = ", ".join(model.uri or str(model.artifact_id) for model in explained.models) or "no model"
    tree = Tree(f"[bold]model[/] {models}")
    run = tree.add(f"made by KFP run {explained.run.kfp_run_id} ({explained.run.state})")
    if explained.parent:
        run.add(f"asked for by Airflow {_task(explained.parent)}")
    data = run.add("from the data")
    for item in explained.inputs:
        leaf = data.add(f"{item.uri}  version {(item.version or 'unknown')[:12]}")
        if item.producer:
            leaf.add(f"written by Airflow {_task(item.producer)}")
    return tree


def _task(origin: OriginModel) -> str:
    return f"{origin.dag_id} / {origin.dag_run_id} / {origin.task_id}"


def print_places(console: Console, stack: Stack, *, running: bool) -> None:
    """Where to look while the stack runs, and where everything lies."""
    if running:
        console.print(f"Airflow   {stack.airflow.url}  (no login needed)")
        console.print(f"Bridge    {stack.bridge_url}/  (API under {stack.bridge_url}/api/v1, docs at /docs)")
        console.print(f"Backend   {stack.kfp_url}  (KFP v2beta1)")
    console.print(f"Files     {stack.home}  (remove the folder to begin again)")
