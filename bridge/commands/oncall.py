"""``kfbridge oncall``: what whoever is on call has to look at."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option

if TYPE_CHECKING:
    from bridge.client.oncall import OnCallModel
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "oncall",
        run,
        help_text="tell failures by cause, stuck runs, runs that never started",
        description="Tell what somebody has to look at: failures grouped by cause, runs stuck beyond their "
        "usual time, and expected runs that never started.",
    )
    parser.add_argument(
        "--window", metavar="TIME", default="24h", help="how far back failures count (24h; 7d)"
    )
    parser.add_argument("--project", metavar="NAME", help="only of this project")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Tell it."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            found = client.oncall(window=args.window, project=args.project)
        except BridgeError as error:
            raise explain_bridge_error(error, "asking what is wrong") from error
    if args.json:
        console.result_json(found.model_dump(mode="json"))
    else:
        console.result("\n".join(_lines(found, console)))
    return 0


def _lines(found: OnCallModel, console: Console) -> list[str]:
    failures = [
        (
            one.kind,
            str(one.count),
            ", ".join(pipeline.name for pipeline in one.pipelines[:3]),
            one.owner or "",
            render.age(one.last_at, found.now),
            render.value_text(one.message or ""),
        )
        for one in found.failures
    ]
    stuck = [
        (
            render.short_id(one.run_id),
            one.pipeline,
            render.duration(one.running_seconds),
            render.duration(one.usual_seconds),
            one.owner or "",
        )
        for one in found.stuck
    ]
    missing = [
        (
            one.pipeline,
            render.duration(one.every_seconds),
            render.time_text(one.expected_at),
            render.duration(one.late_seconds),
            one.owner or "",
        )
        for one in found.missing
    ]
    lines: list[str] = []
    for title, header, rows in (
        ("Failed", ("CAUSE", "RUNS", "PIPELINES", "OWNER", "LAST", "SAID"), failures),
        ("Stuck", ("RUN", "PIPELINE", "FOR", "USUALLY", "OWNER"), stuck),
        ("Never started", ("PIPELINE", "EVERY", "EXPECTED", "LATE", "OWNER"), missing),
    ):
        if rows:
            table = render.table(header, rows, paint=console.paint, width=console.width)
            lines += [
                *([""] if lines else []),
                console.paint(title, "bold"),
                *(f"  {line}" for line in table),
            ]
    if found.truncated:
        lines += ["", "there is more than was looked at; narrow it with --project or --window"]
    return lines or ["nothing failed, is stuck, or is overdue"]
