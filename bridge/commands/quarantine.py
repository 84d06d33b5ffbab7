"""``kfbridge quarantine``: work that the bridge has set aside, and having it tried again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import open_client
from bridge.commands.failures import USAGE, CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option

if TYPE_CHECKING:
    from bridge.client.status import QuarantineModel
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the command and its two parts."""
    parser = add_command(
        commands,
        "quarantine",
        run,
        help_text="list work that was set aside, or have it tried again",
        description="Work on a record that failed again and again for a reason of its own: list it, or have "
        "it tried again.",
    )
    parser.add_argument("what", choices=("list", "release"), help="what to do")
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="release: which, as listed")
    parser.add_argument("--all", action="store_true", help="release: everything")
    parser.add_argument("--backend", metavar="NAME", help="of this backend alone")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """List or release."""
    from bridge.client.errors import BridgeError

    releases = args.what == "release"
    if releases != bool(args.numbers or args.all):
        told = "name what to release, as 'kfbridge quarantine list' numbers it, or give --all"
        raise CommandError(told if releases else "'list' takes no numbers", exit_code=USAGE)
    with open_client(args, console) as client:
        try:
            found = client.quarantine(args.backend) if not releases or args.all else []
            if releases:
                numbers = args.numbers or [one.number for one in found]
                found = [client.release_quarantined(number) for number in numbers]
        except BridgeError as error:
            raise explain_bridge_error(error, "looking at what is set aside") from error
    if args.json:
        console.result_json({"items": [one.model_dump(mode="json") for one in found]})
    elif not found:
        console.note("nothing is set aside")
    elif releases:
        console.result("\n".join(f"to be tried again: {one.work} of {one.subject}" for one in found))
    else:
        console.result("\n".join(_rows(found, console)))
    return 0


def _rows(found: list[QuarantineModel], console: Console) -> list[str]:
    rows = [
        (
            str(one.number),
            one.work,
            render.short_id(one.run_id) if one.run_id else one.subject,
            one.backend,
            render.age(one.since),
            str(one.failures),
            one.reason,
        )
        for one in found
    ]
    header = ("NUMBER", "WORK", "RUN OR ROW", "BACKEND", "SINCE", "FAILURES", "REASON")
    return render.table(header, rows, paint=console.paint, width=console.width)
