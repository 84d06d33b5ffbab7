"""``kfbridge explain``: which DagRun, data, parameters and code made this run, and what came of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, add_run_argument
from bridge.commands.reproduce import grade_lines
from bridge.commands.show import input_lines

if TYPE_CHECKING:
    from bridge.client.lineage import ExplainModel
    from bridge.client.models import OriginModel
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "explain",
        run,
        help_text="tell what made a run: DagRun, data, parameters, code",
        description="Tell which DagRun, which data in which version, which parameters and which code made a "
        "run, and which models and metrics came of it. What is not known is said, never guessed.",
    )
    add_run_argument(parser)
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Explain the run."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            explained = client.explain(find_run(client, args.run).run_id)
        except BridgeError as error:
            raise explain_bridge_error(error, f"explaining run {args.run}") from error
    if args.json:
        console.result_json(explained.model_dump(mode="json"))
    else:
        console.result("\n".join(_lines(explained, console)))
    return 0


def _lines(explained: ExplainModel, console: Console) -> list[str]:
    run = explained.run
    state = render.state_text(run.state, paint=console.paint, unicode=console.has_unicode)
    good = " (a good run)" if run.good else ""
    asked = f"@{run.pipeline.alias}" if run.pipeline.alias else ""
    version = f" ({run.pipeline.version_name})" if run.pipeline.version_name else ""
    spec = f"{run.pipeline.name}{asked}{version}, digest {run.pipeline.digest}"
    sections: list[tuple[str, list[str]]] = [
        ("Asked for by", _origin_lines(explained.parent or run.origin)),
        ("OpenLineage", _ancestor_lines(explained)),
        ("Data", input_lines(explained.inputs, whole=True)),
        ("Parameters", render.pairs({k: render.value_text(v) for k, v in explained.parameters.items()})),
        ("Pipeline", [f"  {spec}"]),
        ("Images", render.pairs(explained.images)),
        ("Packages", render.pairs({name: "  ".join(found) for name, found in explained.packages.items()})),
        ("Models", [line for model in explained.models for line in _artifact(model)]),
        ("Metrics", render.pairs([(item.key, render.value_text(item.value)) for item in explained.metrics])),
        ("Gate", [f"  {render.gate_text(run.gate, paint=console.paint)}"] if run.gate else []),
        ("Environment", _environment_lines(explained)),
        ("Can be made again", grade_lines(explained.reproducibility) if explained.reproducibility else []),
        ("Not known", [f"  {text}" for text in explained.unknown]),
    ]
    lines = [
        f"{console.paint(run.display_name, 'bold')}  {state}{good}",
        f"  run {run.run_id} on {run.backend}",
    ]
    for title, content in sections:
        if content:
            lines += ["", console.paint(title, "bold"), *content]
    return lines


def _environment_lines(explained: ExplainModel) -> list[str]:
    caching = {None: "as compiled", True: "on", False: "off"}[explained.caching]
    bundle = explained.bundle
    facts = [
        ("backend", " ".join(part for part in (explained.backend, explained.backend_version) if part)),
        ("caching", caching),
        ("DAG bundle", " at ".join(part for part in (bundle.name, bundle.version) if part) if bundle else ""),
    ]
    return render.pairs(facts)


def _origin_lines(origin: OriginModel) -> list[str]:
    index = f"[{origin.map_index}]" if origin.map_index >= 0 else ""
    tries = f", try {origin.try_number}" if origin.task_id else ""
    facts = [
        ("scheduler", " at ".join(part for part in (origin.scheduler, origin.deployment) if part)),
        ("team", origin.team or ""),
        ("user", origin.user or ""),
        ("dag", origin.dag_id or ""),
        ("dag run", origin.dag_run_id or ""),
        ("task", f"{origin.task_id}{index}{tries}" if origin.task_id else ""),
        ("logical date", render.time_text(origin.logical_date)),
        ("partition", origin.partition_key or ""),
        ("page", origin.url or ""),
    ]
    return render.pairs(facts)


def _ancestor_lines(explained: ExplainModel) -> list[str]:
    """From the run's parent up to the root: job, run id, and how that was heard of last."""
    return render.pairs(
        [
            (
                "parent" if place == 0 else "its parent",
                f"{one.namespace}  {one.job}  {one.run_id}  {one.state or 'no event yet'}",
            )
            for place, one in enumerate(explained.ancestors)
        ]
    )


def _artifact(artifact: Any) -> list[str]:
    digest = f"sha256 {artifact.digest}" if artifact.digest else "digest unknown"
    keys = ", ".join(f"{use.task_path}.{use.key}" for use in artifact.uses if use.direction == "OUTPUT")
    return [f"  {keys or artifact.name or artifact.type}  {artifact.uri or 'no URI'}", f"      {digest}"]
