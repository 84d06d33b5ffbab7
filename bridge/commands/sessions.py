"""``kfbridge session``: who is signed in to the dashboard, and ending that."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.failures import USAGE, CommandError
from bridge.commands.options import add_command, add_json_option
from bridge.commands.serving import add_service_options, opened_database, read_settings

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.lineage.sessions import StoredSession

_EPILOG = """\
actions:
  list        who is signed in now, and until when (without an action)
  end NAME    end every session of that name; the account at the issuer, or the API token, goes on to count
"""
_ACTOR = "kfbridge session"


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "session",
        run,
        help_text="list and end the sessions of people with a browser",
        description="Sessions of people who signed in to the dashboard. Works on the bridge's database; the "
        "service need not run.",
        epilog=_EPILOG,
    )
    parser.add_argument("what", nargs="?", choices=("list", "end"), default="list", help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="end: whose sessions")
    add_service_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """List or end."""
    from bridge.lineage import sessions

    if (args.what == "end") != bool(args.name):
        told = "'list' takes no name" if args.name else "say whose sessions: kfbridge session end NAME"
        raise CommandError(told, exit_code=USAGE)
    settings = read_settings(args, console, "session")
    with opened_database(settings.database_url, "session") as database:
        if args.what == "list":
            _tell(database.read(sessions.list_sessions), args, console)
            return 0
        name = args.name
        ended = database.transact(lambda s: sessions.end_sessions_of(s, name, actor=_ACTOR), repeatable=True)
    if args.json:
        console.result_json({"name": args.name, "ended": ended})
    elif ended:
        console.result(f"ended {ended} of {args.name}; services stop taking them within seconds")
    else:
        console.note(f"{args.name} is not signed in; 'kfbridge session list' shows who is")
    return 0


def _tell(found: list[StoredSession], args: argparse.Namespace, console: Console) -> None:
    if args.json:
        console.result_json({"items": [_shown(one) for one in found]})
    elif not found:
        console.note("nobody is signed in")
    else:
        rows = [
            (
                one.signed_in.name,
                one.signed_in.kind,
                render.age(one.created_at),
                f"{one.expires_at:%Y-%m-%d %H:%M} UTC",
            )
            for one in found
        ]
        header = ("NAME", "BY", "SINCE", "UNTIL")
        console.result("\n".join(render.table(header, rows, paint=console.paint, width=console.width)))


def _shown(one: StoredSession) -> dict[str, Any]:
    return {
        "name": one.signed_in.name,
        "kind": one.signed_in.kind,
        "created_at": one.created_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
    }
