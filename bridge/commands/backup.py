"""``kfbridge backup`` and ``kfbridge restore``: the whole database in one file, and back."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.failures import FAILED, SUCCEEDED, CommandError
from bridge.commands.options import add_command, add_json_option
from bridge.commands.render import size_text
from bridge.commands.serving import add_service_options, missing_extra, opened_database, read_settings

if TYPE_CHECKING:
    from bridge.commands.console import Console


def register(commands: Any) -> None:
    """Declare the commands."""
    backup = add_command(
        commands,
        "backup",
        run_backup,
        help_text="write the whole database to a file",
        description="Write a consistent backup of the database to one file, while the bridge works. "
        "PostgreSQL's needs the program pg_dump.",
    )
    restore = add_command(
        commands,
        "restore",
        run_restore,
        help_text="make the database what a backup says",
        description="Make the database what it was when the backup was made, and migrate it to this version. "
        "Every process of the bridge has to be stopped. PostgreSQL's needs the programs pg_restore and psql.",
    )
    for parser in (backup, restore):
        parser.add_argument("file", metavar="FILE", type=Path, help="the backup")
        add_service_options(parser)
        parser.add_argument(
            "--pg-tools",
            metavar="DIR",
            type=Path,
            help="the folder of pg_dump, pg_restore and psql (default: by PATH)",
        )
        add_json_option(parser, "the backup's stamp as one JSON document")
    restore.add_argument("--force", action="store_true", help="also over a database that is not empty")


def run_backup(args: argparse.Namespace, console: Console) -> int:
    """Back up, and tell what was."""
    settings = read_settings(args, console, "backup")
    with opened_database(settings.database_url, "backup") as database:
        from bridge.lineage.backup import back_up
        from bridge.service.versions import package_version

        stamp = back_up(
            database, settings.database_url, args.file, version=package_version(), tools=args.pg_tools
        )
    if args.json:
        console.result_json(asdict(stamp))
    else:
        console.result(f"{args.file}: {size_text(stamp.bytes)} of schema revision {stamp.revision}")
    return SUCCEEDED


def run_restore(args: argparse.Namespace, console: Console) -> int:
    """Restore, and tell what was."""
    settings = read_settings(args, console, "restore")
    try:
        from bridge.lineage.backup import put_back
        from bridge.lineage.errors import LineageError
    except ImportError as missing:
        raise missing_extra("restore", "service", missing) from missing
    try:
        stamp = put_back(settings.database_url, args.file, force=args.force, tools=args.pg_tools)
    except (LineageError, OSError) as error:
        raise CommandError(
            f"nothing was restored: {error}", to_do="see docs/backup.md.", exit_code=FAILED
        ) from error
    if args.json:
        console.result_json(asdict(stamp))
    else:
        console.result(f"restored to {stamp.made_at}, from schema revision {stamp.revision}")
    return SUCCEEDED
