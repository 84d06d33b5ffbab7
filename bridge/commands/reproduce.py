"""``kfbridge reproduce``: make a run again, and say how exactly."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, add_run_argument
from bridge.commands.submit import add_waiting_options, check_waiting_options
from bridge.commands.waiting import wait_and_report

if TYPE_CHECKING:
    from bridge.client.reproduction import ReproducibilityModel
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "reproduce",
        run,
        help_text="make a run again, and tell how exactly",
        description="Submit a run again with the same pipeline, arguments and data, and tell how exactly "
        "that is the same: exact, same-spec (something moved, may have moved or is unknown) or impossible.",
    )
    add_run_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="only tell the grade")
    parser.add_argument("--exact", action="store_true", help="only if it can be made again exactly")
    parser.add_argument("--name", metavar="TEXT", help="the new run's name for people")
    parser.add_argument("--key", metavar="KEY", help="names the submission, so that repeats make one run")
    add_waiting_options(parser)
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Reproduce the run, and wait for it if asked."""
    from bridge.client.errors import BridgeError

    check_waiting_options(args)
    with open_client(args, console) as client:
        try:
            made = client.reproduce(
                find_run(client, args.run).run_id,
                allow="exact" if args.exact else "same-spec",
                dry_run=args.dry_run,
                display_name=args.name,
                idempotency_key=args.key,
            )
        except BridgeError as error:
            raise explain_bridge_error(error, f"reproducing run {args.run}") from error
    if made.run is not None and args.wait:
        console.note("\n".join(grade_lines(made.reproducibility)))
        return wait_and_report(made.run, args, console)
    if args.json:
        console.result_json(made.model_dump(mode="json"))
        return 0
    lines = grade_lines(made.reproducibility)
    if made.run is not None:
        lines.append(f"run {made.run.run_id} is of {made.of}")
    console.result("\n".join(lines))
    return 0


def grade_lines(found: ReproducibilityModel) -> list[str]:
    """The grade, and each reason that keeps it from being exact."""
    return [
        f"  {found.grade}",
        # Components with the same image have the same to say.
        *render.columns(list(dict.fromkeys((one.effect, one.kind, one.detail) for one in found.reasons))),
    ]
