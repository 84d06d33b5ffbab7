"""``kfbridge backend``: the backends, and pausing or draining one."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import open_client
from bridge.commands.failures import TIMEOUT, USAGE, CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, seconds

if TYPE_CHECKING:
    from bridge.client.status import BackendStatus
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console

_ASK_SECONDS = 2.0


def register(commands: Any) -> None:
    """Declare the command and its four parts."""
    parser = add_command(
        commands,
        "backend",
        run,
        help_text="list the backends; pause, drain or resume one",
        description="The backends that runs are sent to: list them, send nothing new to one (pause), "
        "likewise and wait until nothing is under way there (drain), or send to it again (resume). "
        "Submissions are taken all the same and wait in the queue.",
    )
    parser.add_argument("what", choices=("list", "pause", "drain", "resume"), help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="pause, drain, resume: which backend")
    parser.add_argument("--reason", metavar="TEXT", help="pause, drain: why; whoever waits is told")
    parser.add_argument(
        "--no-wait", action="store_true", help="drain: do not wait until nothing is under way"
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
        help="drain: wait this long at most, such as 30m; then exit 4",
    )
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """List, pause, drain or resume."""
    from bridge.client.errors import BridgeError

    if (args.what == "list") != (args.name is None):
        told = "'list' takes no name" if args.name else f"name the backend: kfbridge backend {args.what} NAME"
        raise CommandError(told, exit_code=USAGE)
    with open_client(args, console) as client:
        try:
            if args.what == "list":
                found = client.status().backends
            elif args.what == "resume":
                found = [client.resume_backend(args.name)]
            else:
                found = [client.pause_backend(args.name, drain=args.what == "drain", reason=args.reason)]
            if args.what == "drain" and not args.no_wait:
                found = [_drained(client, found[0], args.timeout, console)]
        except BridgeError as error:
            raise explain_bridge_error(error, "asking about backends") from error
    if args.json:
        console.result_json({"items": [one.model_dump(mode="json") for one in found]})
    else:
        console.result("\n".join(_rows(found, console)))
    return 0


def _drained(
    client: BridgeClient, backend: BackendStatus, timeout: float | None, console: Console
) -> BackendStatus:
    deadline = None if timeout is None else time.monotonic() + timeout
    told = -1
    while backend.switch is not None and backend.switch.mode != "drained":
        if backend.switch.active_runs != told:
            told = backend.switch.active_runs
            console.note(f"backend {backend.name}: {told:,} runs under way")
        if deadline is not None and time.monotonic() >= deadline:
            raise CommandError(
                f"backend {backend.name} still has {told:,} runs under way; nothing new is sent to it",
                exit_code=TIMEOUT,
            )
        time.sleep(_ASK_SECONDS)
        backend = next((one for one in client.status().backends if one.name == backend.name), backend)
    if backend.switch is None:
        raise CommandError(f"backend {backend.name} was resumed meanwhile")
    return backend


def _rows(found: list[BackendStatus], console: Console) -> list[str]:
    rows = [
        (
            one.name,
            one.switch.mode if one.switch else "sending",
            "yes" if one.reachable else "no",
            str(one.active_runs),
            str(one.queued_runs),
            render.age(one.switch.since) if one.switch else "",
            (one.switch.reason or "") if one.switch else (one.last_error or ""),
        )
        for one in found
    ]
    header = ("BACKEND", "NEW RUNS", "ANSWERS", "ACTIVE", "QUEUED", "SINCE", "REASON")
    return render.table(header, rows, paint=console.paint, width=console.width)
