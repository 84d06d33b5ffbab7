"""``kfbridge show``: one run, readable."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, add_run_argument
from bridge.commands.tasktree import task_lines

if TYPE_CHECKING:
    from bridge.client.lineage import ExplainInput
    from bridge.client.models import ArtifactModel, CauseModel, MetricsModel, RunModel, TaskModel
    from bridge.commands.console import Console

_MOST_ROWS = 40
_VERSION_CHARACTERS = 16


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "show",
        run,
        help_text="show a run: state, cause, tasks, metrics, artifacts",
        description="Show one run: state, why it failed, tasks, metrics, artifacts, inputs and links.",
    )
    add_run_argument(parser)
    parser.add_argument("--all", action="store_true", help="list every task, also of large loops")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Show the run."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            found = find_run(client, args.run)
            tasks, metrics = client.tasks(found.run_id), client.metrics(found.run_id)
            artifacts = client.artifacts(found.run_id)
            inputs = client.explain(found.run_id).inputs
        except BridgeError as error:
            raise explain_bridge_error(error, f"showing run {args.run}") from error
    if args.json:
        console.result_json(
            {
                "run": found.model_dump(mode="json"),
                "tasks": [task.model_dump(mode="json") for task in tasks],
                "metrics": metrics.model_dump(mode="json"),
                "artifacts": [artifact.model_dump(mode="json") for artifact in artifacts],
                "inputs": [item.model_dump(mode="json") for item in inputs],
            }
        )
        return 0
    lines = summary_lines(found, tasks, metrics, artifacts, console, inputs=inputs, whole=args.all)
    console.result("\n".join(lines))
    return 0


def summary_lines(
    run: RunModel,
    tasks: Sequence[TaskModel],
    metrics: MetricsModel,
    artifacts: Sequence[ArtifactModel],
    console: Console,
    *,
    inputs: Sequence[ExplainInput] = (),
    whole: bool = False,
) -> list[str]:
    """A run as a page of text."""
    page = _Page(console)
    page.head(run)
    if run.error is not None:
        why = render.error_lines(run.error, paint=console.paint)
        page.section("Why it did not succeed", why, cut=False)
    page.section("What it waits for", cause_lines([cause for cause in run.causes if cause.waiting]))
    told = run.error.message if run.error else ""
    ended = [cause for cause in run.causes if not cause.waiting]
    if len(ended) > 1 or any(cause.message != told for cause in ended):
        page.section("Likely causes", cause_lines(ended))
    page.section(
        "Tasks", task_lines(tasks, paint=console.paint, unicode=console.has_unicode, whole=whole), cut=False
    )
    if run.gate is not None:
        page.section(
            "Gate", [f"  {run.gate.expression}", f"  {render.gate_text(run.gate, paint=console.paint)}"]
        )
    outputs = next((task.outputs for task in tasks if task.path == ""), {})
    page.section("Outputs", render.pairs({name: render.value_text(value) for name, value in outputs.items()}))
    page.section(
        "Metrics", render.pairs([(item.key, render.value_text(item.value)) for item in metrics.scalars])
    )
    page.section(
        "Parameters", render.pairs({name: render.value_text(value) for name, value in run.arguments.items()})
    )
    page.section("Inputs", input_lines(inputs))
    page.section("Artifacts", artifact_lines(run, artifacts))
    links = (("bridge", run.links.bridge), ("kfp", run.links.kfp), ("scheduler", run.links.scheduler))
    page.section("Links", render.pairs([(name, url or "") for name, url in links]))
    page.section("Warnings", [f"  {warning}" for warning in run.warnings])
    return page.lines


def cause_lines(causes: Sequence[CauseModel]) -> list[str]:
    """Each cause with its kind and task, the likeliest first."""
    return render.columns([(cause.kind, cause.task or "the run", cause.message) for cause in causes])


def input_lines(inputs: Sequence[ExplainInput], *, whole: bool = False) -> list[str]:
    """Each input with its version (``whole`` or its beginning), its size and who wrote it."""
    lines = []
    for item in inputs:
        shown = item.version if whole or not item.version else item.version[:_VERSION_CHARACTERS]
        version = f"{item.version_kind or 'version'} {shown}" if shown else "version unknown"
        rows = f"{item.rows:,} rows" if item.rows is not None else ""
        facts = [version, rows, render.size_text(item.bytes), f"written {render.time_text(item.written_at)}"]
        lines.append(f"  {item.name}  {item.uri}")
        lines.append(f"      {', '.join(fact for fact in facts if fact and fact != 'written ')}")
        if item.producer is not None:
            lines.append(f"      by {render.asked_by(item.producer)}")
    return lines


def artifact_lines(run: RunModel, artifacts: Sequence[ArtifactModel]) -> list[str]:
    """What the run's tasks produced: key, type and URI."""
    rows = []
    for artifact in artifacts:
        for use in artifact.uses:
            if use.run_id == run.run_id and use.direction == "OUTPUT" and use.task_path:
                index = f"[{use.index}]" if use.index else ""
                rows.append((f"{use.task_path}.{use.key}{index}", artifact.type, artifact.uri or "no URI"))
    return render.columns(sorted(set(rows)))


class _Page:
    def __init__(self, console: Console) -> None:
        self._console = console
        self.lines: list[str] = []

    def head(self, run: RunModel) -> None:
        paint, state = self._console.paint, run.state
        shown = render.state_text(state, paint=paint, unicode=self._console.has_unicode)
        self.lines.append(f"{paint(run.display_name, 'bold')}  {shown}{self._how_long(run)}")
        version = f" ({run.pipeline.version_name})" if run.pipeline.version_name else ""
        asked = f"@{run.pipeline.alias}" if run.pipeline.alias else ""
        where = f"{run.backend}, project {run.project}" + (
            f", namespace {run.namespace}" if run.namespace else ""
        )
        times = (
            ("created", run.created_at),
            ("started", run.started_at),
            ("ended", run.finished_at),
        )
        facts = [
            ("run", str(run.run_id)),
            ("kfp run", str(run.kfp_run_id)),
            ("pipeline", f"{run.pipeline.name}{asked}{version}, digest {run.pipeline.digest[:16]}"),
            ("asked by", render.asked_by(run.origin)),
            ("backend", where),
            ("experiment", run.experiment or ""),
            ("labels", ", ".join(f"{name}={value}" for name, value in run.labels.items())),
        ]
        facts += [(name, f"{render.time_text(at)} ({render.age(at)})" if at else "") for name, at in times]
        facts += [("note", text) for text in _notes(run)]
        self.lines += render.pairs(facts)

    def section(self, title: str, lines: Sequence[str], *, cut: bool = True) -> None:
        if not lines:
            return
        self.lines += ["", self._console.paint(title, "bold"), *lines[: _MOST_ROWS if cut else None]]
        if cut and len(lines) > _MOST_ROWS:
            self.lines.append(f"  … {len(lines) - _MOST_ROWS} more lines; --json has all")

    def _how_long(self, run: RunModel) -> str:
        seconds = render.run_seconds(run)
        if seconds is None:
            return ""
        return f"  {'after' if run.over else 'for'} {render.duration(seconds)}"


def _notes(run: RunModel) -> list[str]:
    notes = []
    if run.stale_since is not None:
        notes.append(
            f"the backend has not answered since {render.time_text(run.stale_since)}; this may be old"
        )
    if run.cancel_requested_at is not None and not run.over:
        notes.append(f"to be canceled since {render.time_text(run.cancel_requested_at)}")
    if run.waiting is not None:
        notes.append(run.waiting)
    elif run.phase in ("QUEUED", "SUBMITTING"):
        notes.append("not yet confirmed by the backend")
    if run.phase == "LOST":
        notes.append("the backend no longer knows this run; this is what the bridge kept of it")
    if run.attempt > 1:
        notes.append(f"attempt {run.attempt} of its submission")
    if run.revivals:
        notes.append(f"retried {run.revivals} time{'s' if run.revivals > 1 else ''} in place")
    if run.over and run.mirror == "PARTIAL":
        notes.append("tasks, artifacts and metrics are not completely read yet")
    if run.mirror == "EXPIRED":
        notes.append("the backend has dropped the metadata; what was read before is shown")
    return notes
