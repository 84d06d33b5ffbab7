"""``kfbridge retention``: removes what the settings say is old enough."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from bridge.commands.failures import FAILED, SUCCEEDED, CommandError
from bridge.commands.options import add_command, add_json_option
from bridge.commands.serving import add_service_options, missing_extra, opened_database, read_settings

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.service.retaining import Removed
    from bridge.service.settings import ServiceSettings


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "retention",
        run_retention,
        help_text="remove what is old enough, or tell what would be",
        description="Remove the runs, artifacts, lines of logs and events that are older than the settings "
        "under [retention] say. Workers do the same every few hours.",
    )
    add_service_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    add_json_option(parser)


def run_retention(args: argparse.Namespace, console: Console) -> int:
    """Remove, and tell how much."""
    settings = read_settings(args, console, "retention")
    if settings.retention.keeps_everything:
        raise CommandError(
            "the settings keep everything",
            to_do="set runs_days, artifacts_days, logs_days or events_days under [retention].",
        )
    removed = _remove(settings, dry_run=args.dry_run)
    if args.json:
        console.result_json({"dry_run": args.dry_run, **removed.to_json()})
        return SUCCEEDED
    verb = "would be removed" if args.dry_run else "removed"
    console.result(
        f"{verb}: {removed.runs} runs, {removed.artifacts} links to artifacts, the logs of "
        f"{removed.logs} runs, {removed.events} events"
    )
    for reason, count in sorted(removed.staying.items()):
        console.result(f"  {count} runs stay: {reason}")
    return SUCCEEDED


def _remove(settings: ServiceSettings, *, dry_run: bool) -> Removed:
    try:
        from bridge.service.retaining import RetentionBusy, RetentionPass, readers_of
        from bridge.service.workers.hold import name_holder
    except ImportError as missing:
        raise missing_extra("retention", "service", missing) from missing
    with opened_database(settings.database_url, "retention") as database:
        one = RetentionPass(
            database,
            settings.retention,
            holder=f"{name_holder()}:retention",
            readers=readers_of(settings),
            dry_run=dry_run,
        )
        try:
            for _ in one.batches():
                time.sleep(0 if dry_run else settings.retention.pause_seconds)
        except RetentionBusy as busy:
            raise CommandError(str(busy), to_do="wait until it has done so.", exit_code=FAILED) from busy
    return one.removed
