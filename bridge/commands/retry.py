"""``kfbridge retry``: run the failed tasks of a failed run again, or have Airflow ask for it again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, add_run_argument
from bridge.commands.submit import add_waiting_options, check_waiting_options
from bridge.commands.waiting import wait_and_report

if TYPE_CHECKING:
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "retry",
        run,
        help_text="run the failed tasks of a run again",
        description="Run the failed tasks of a failed run again, within the same run. A task of Airflow that "
        "waits for the run is better cleared in Airflow, so that both sides agree: --clear "
        "has the bridge do that.",
    )
    parser.add_argument(
        "--clear",
        action="store_true",
        help="clear the task of Airflow that asked for the run, and what comes after it, instead",
    )
    add_run_argument(parser)
    add_waiting_options(parser)
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Retry the run, and wait for it if asked."""
    from bridge.client.errors import BridgeError

    check_waiting_options(args)
    with open_client(args, console) as client:
        if args.clear:
            return _clear(client, args, console)
        try:
            after = client.retry(find_run(client, args.run).run_id)
        except BridgeError as error:
            raise explain_bridge_error(error, f"retrying run {args.run}") from error
    for warning in after.warnings:
        console.note(f"warning: {warning}")
    if args.wait:
        return wait_and_report(after, args, console)
    if args.json:
        console.result_json(after.model_dump(mode="json"))
    else:
        console.result(f"run {after.run_id} goes on ({after.state})")
    return 0


def _clear(client: BridgeClient, args: argparse.Namespace, console: Console) -> int:
    from bridge.client.errors import BridgeError

    if args.wait:
        raise CommandError("--wait and --clear do not go together: Airflow makes another run")
    try:
        cleared = client.clear(find_run(client, args.run).run_id)
    except BridgeError as error:
        raise explain_bridge_error(error, f"clearing the task of run {args.run}") from error
    if args.json:
        console.result_json(cleared.model_dump(mode="json"))
    else:
        console.result(f"cleared in {cleared.dag_id}, {cleared.dag_run_id}: {', '.join(cleared.tasks)}")
    return 0
