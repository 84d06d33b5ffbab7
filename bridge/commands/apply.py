"""``kfbridge apply``: what a file of settings changes; what lives in the database is changed at once."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.failures import SUCCEEDED, CommandError
from bridge.commands.options import add_command, add_json_option
from bridge.commands.serving import add_database_options, opened_database, read_settings

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.service.applying import Plan

_MARKS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "apply",
        run_apply,
        help_text="show what a file of settings changes, and make it so",
        description="Compare a file of settings with what is stored and with what the processes run with. "
        "Webhooks and prices live in the database and are changed at once; of every other setting it is told "
        "which process has to be restarted for it.",
    )
    parser.add_argument("config", metavar="FILE", type=Path, help="the TOML file of settings")
    add_database_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show the differences")
    parser.add_argument("--prune", action="store_true", help="remove webhooks that the file does not name")
    add_json_option(parser)


def run_apply(args: argparse.Namespace, console: Console) -> int:
    """Show the differences, and make those that are the database's."""
    settings = read_settings(args, console, "apply")
    with opened_database(settings.database_url, "apply") as database:
        from bridge.service.applying import carry_out, plan
        from bridge.service.settings import SettingsError

        def work(session: Any) -> Plan:
            planned = plan(session, settings, prune=args.prune)
            if not args.dry_run:
                carry_out(session, planned)
            return planned

        try:
            planned = database.read(work) if args.dry_run else database.transact(work)
        except SettingsError as error:
            raise CommandError(
                "the file cannot be applied", details=str(error).splitlines(), to_do="correct it."
            ) from error
    if args.json:
        told = [asdict(change) for change in planned.changes]
        console.result_json({"dry_run": args.dry_run, "changes": told, "secrets": planned.made})
    else:
        _tell(planned, console, dry_run=args.dry_run)
    return SUCCEEDED


def _tell(planned: Plan, console: Console, *, dry_run: bool) -> None:
    if not planned.changes:
        console.result("nothing differs")
        return
    for change in planned.changes:
        mark, style = _MARKS[change.kind]
        console.result(f"{console.paint(mark, style)} {change.subject}: {change.what}")
        for who in change.restart:
            console.result(f"    takes effect when this is started again: {who}")
    for url, secret in planned.made.items():
        console.result(f"the secret of {url}, shown this once: {secret}")
    console.result(f"changes in the database {'to make' if dry_run else 'made'}: {len(planned.work)}")
