"""``kfbridge cancel``: ask for a run to be stopped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, add_run_argument

if TYPE_CHECKING:
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "cancel",
        run,
        help_text="stop a run",
        description="Ask for a run to be stopped. The bridge sees to it even if the backend is away.",
    )
    add_run_argument(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why, for the audit log")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Cancel the run."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            found = find_run(client, args.run)
            after = found if found.over else client.cancel(found.run_id, reason=args.reason)
        except BridgeError as error:
            raise explain_bridge_error(error, f"canceling run {args.run}") from error
    if args.json:
        console.result_json(after.model_dump(mode="json"))
    elif found.over:
        console.result(f"run {found.run_id} is over already: {found.state}")
    else:
        console.result(
            f"run {after.run_id} is being canceled ({after.state}); "
            f"'kfbridge show {render.short_id(after.run_id)}' tells when it is"
        )
    return 0
