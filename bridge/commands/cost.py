"""``kfbridge cost``: what runs used and what that cost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option

if TYPE_CHECKING:
    from bridge.client.costs import CostModel, UsageModel
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "cost",
        run,
        help_text="tell CPU, memory and GPU hours, and what they cost",
        description="Tell the hours of cores, memory and accelerators by pipeline, team, project or month, "
        "and what they cost by the price table of the bridge.",
    )
    parser.add_argument(
        "--by",
        choices=("pipeline", "team", "project", "month"),
        default="pipeline",
        help="what is summed up (default: pipeline)",
    )
    parser.add_argument(
        "--from", dest="first", metavar="MONTH", help="the first month: 2026-01 (default: this)"
    )
    parser.add_argument("--to", dest="last", metavar="MONTH", help="the last month (default: this one)")
    parser.add_argument("--project", metavar="NAME", help="only of this project")
    parser.add_argument("--pipeline", metavar="NAME", help="only of this pipeline")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Tell it."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            found = client.cost(
                by=args.by, first=args.first, last=args.last, project=args.project, pipeline=args.pipeline
            )
        except BridgeError as error:
            raise explain_bridge_error(error, "asking for costs") from error
    if args.json:
        console.result_json(found.model_dump(mode="json"))
    else:
        console.result("\n".join(_lines(found, console)))
    return 0


def _lines(found: CostModel, console: Console) -> list[str]:
    header = (found.by.upper(), "RUNS", "CPU H", "GIB H", "GPU H", "UNKNOWN H", f"COST {found.currency}")
    rows = [(item.key or "-", str(item.runs), *_numbers(item)) for item in found.items]
    rows.append(("all", "", *_numbers(found.total)))
    lines = render.table(header, rows, paint=console.paint, width=console.width)
    if found.total.unpriced:
        lines += ["", f"without a price: {', '.join(found.total.unpriced)}"]
    if found.pending:
        lines += ["", f"{found.pending} events are not counted yet"]
    return lines


def _numbers(used: UsageModel) -> tuple[str, ...]:
    hours = (used.cpu_hours, used.memory_gib_hours, used.gpu_hours, used.unknown_hours)
    return (*(f"{value:,.2f}" for value in hours), "" if used.cost is None else f"{used.cost:,.2f}")
