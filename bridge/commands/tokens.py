"""``kfbridge token``: API tokens of a bridge, made and taken back in its database."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.failures import USAGE, CommandError
from bridge.commands.options import add_command, add_json_option, seconds
from bridge.commands.serving import add_service_options, opened_database, read_settings
from bridge.domain.access import EVERY, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.commands.console import Console
    from bridge.lineage.database import Database
    from bridge.lineage.tokens import StoredToken

_EPILOG = """\
actions:
  list                all tokens, with their last use (without an action)
  create NAME         make one; prints it, which is shown only once
  rotate TOKEN        a new secret under the same id; with --both-for the old one is taken for a while, too
  revoke TOKEN        take it out of force

TOKEN is an id, or the name of the only token in force that has it.
"""
_MOST_NAME = 200
_ACTOR = "kfbridge token"


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "token",
        run,
        help_text="make, list, rotate and revoke API tokens",
        description="API tokens: who may ask the bridge, and for what. Works on the bridge's database; the "
        "service need not run.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "what", nargs="?", choices=("list", "create", "rotate", "revoke"), default="list", help="what to do"
    )
    parser.add_argument("token", nargs="?", metavar="TOKEN", help="create: its name; else which token")
    parser.add_argument(
        "--role", choices=[role.value for role in Role], help="create: what it may do (default: viewer)"
    )
    parser.add_argument(
        "--project",
        action="append",
        metavar="NAME",
        help="create: where it may do that; repeat for several, '*' for all",
    )
    parser.add_argument(
        "--expires", metavar="TIME", type=seconds, help="create, rotate: after how long, such as 90d"
    )
    parser.add_argument(
        "--both-for", metavar="TIME", type=seconds, help="rotate: how long the old one is taken, too"
    )
    add_service_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """List, create, rotate or revoke."""
    _check(args)
    settings = read_settings(args, console, "token")
    with opened_database(settings.database_url, "token") as database:
        if args.what == "list":
            _tell_all(database, args, console)
        elif args.what == "create":
            _create(database, args, console)
        elif args.what == "rotate":
            _rotate(database, args, console)
        else:
            _revoke(database, args, console)
    return 0


def _check(args: argparse.Namespace) -> None:
    if (args.what == "list") != (args.token is None):
        told = (
            f"'kfbridge token {args.what}' needs a name"
            if args.what == "create"
            else f"name the token: kfbridge token {args.what} TOKEN"
        )
        raise CommandError("'list' takes no name" if args.token else told, exit_code=USAGE)
    for option, of in (("role", "create"), ("project", "create"), ("both_for", "rotate")):
        if getattr(args, option) is not None and args.what != of:
            raise CommandError(f"--{option.replace('_', '-')} goes with '{of}' alone", exit_code=USAGE)
    if args.expires is not None and (args.what not in ("create", "rotate") or args.expires <= 0):
        raise CommandError(
            "--expires goes with 'create' and 'rotate', and is a time to come", exit_code=USAGE
        )
    if args.what == "create":
        if not args.project or not all(args.project):
            raise CommandError("say where it may do that: --project NAME, or --project '*'", exit_code=USAGE)
        if not args.token.isprintable() or not 0 < len(args.token) <= _MOST_NAME:
            raise CommandError(f"a name is 1 to {_MOST_NAME} printable characters", exit_code=USAGE)


def _create(database: Database, args: argparse.Namespace, console: Console) -> None:
    from bridge.lineage import tokens

    projects = (EVERY,) if EVERY in args.project else tuple(args.project)
    stored, text = database.transact(
        lambda s: tokens.create_token(
            s,
            name=args.token,
            role=Role(args.role or Role.VIEWER),
            projects=projects,
            lifetime=_lifetime(args),
            actor=_ACTOR,
        )
    )
    _tell_secret(stored, text, args, console)


def _rotate(database: Database, args: argparse.Namespace, console: Console) -> None:
    from bridge.lineage import tokens

    token_id = _one(database, args.token).token_id
    both_for = timedelta(seconds=args.both_for or 0.0)
    stored, text = database.transact(
        lambda s: tokens.rotate_token(s, token_id, both_for=both_for, lifetime=_lifetime(args), actor=_ACTOR)
    )
    _tell_secret(stored, text, args, console)


def _revoke(database: Database, args: argparse.Namespace, console: Console) -> None:
    from bridge.lineage import tokens

    token_id = _one(database, args.token).token_id
    stored = database.transact(lambda s: tokens.revoke_token(s, token_id, actor=_ACTOR), repeatable=True)
    if args.json:
        console.result_json(_shown(stored))
    else:
        console.result(
            f"token {stored.name} ({stored.token_id}) is revoked; services stop taking it within seconds "
            "(token_keep_seconds)"
        )


def _tell_all(database: Database, args: argparse.Namespace, console: Console) -> None:
    from bridge.lineage import tokens

    found = database.read(tokens.list_tokens)
    if args.json:
        console.result_json({"items": [_shown(one) for one in found]})
    elif not found:
        console.note("there are no tokens; 'kfbridge token create NAME --project NAME' makes one")
    else:
        console.result("\n".join(_table(found, console)))


def _one(database: Database, wanted: str) -> StoredToken:
    from bridge.lineage import tokens

    found = database.read(lambda s: tokens.tokens_named(s, wanted))
    if not found:
        raise CommandError(
            f"no token in force has the name or id {wanted}",
            to_do="'kfbridge token list' shows all.",
            exit_code=USAGE,
        )
    if len(found) > 1:
        ids = ", ".join(one.token_id for one in found)
        raise CommandError(f"several tokens are called {wanted}; give an id: {ids}", exit_code=USAGE)
    return found[0]


def _lifetime(args: argparse.Namespace) -> timedelta | None:
    return None if args.expires is None else timedelta(seconds=args.expires)


def _tell_secret(stored: StoredToken, text: str, args: argparse.Namespace, console: Console) -> None:
    if args.json:
        console.result_json({**_shown(stored), "token": text})
        return
    until = f", until {stored.expires_at:%Y-%m-%d %H:%M} UTC" if stored.expires_at else ""
    where = "all projects" if stored.projects == (EVERY,) else ", ".join(stored.projects)
    console.note(f"{stored.name}: {stored.role} in {where}{until}; the token is not shown again")
    console.result(text)


def _shown(stored: StoredToken) -> dict[str, Any]:
    moments = ("created_at", "expires_at", "last_used_at", "revoked_at")
    return {
        "token_id": stored.token_id,
        "name": stored.name,
        "role": stored.role.value,
        "projects": list(stored.projects),
        "in_force": stored.in_force,
        **{name: at.isoformat() if (at := getattr(stored, name)) else None for name in moments},
    }


def _table(found: Sequence[StoredToken], console: Console) -> list[str]:
    rows = [
        (
            one.token_id,
            one.name,
            one.role.value,
            ", ".join(one.projects),
            render.age(one.last_used_at) if one.last_used_at else "never",
            f"{one.expires_at:%Y-%m-%d}" if one.expires_at else "never",
            "in force" if one.in_force else "revoked" if one.revoked_at else "expired",
        )
        for one in found
    ]
    header = ("ID", "NAME", "ROLE", "PROJECTS", "LAST USED", "EXPIRES", "STATE")
    return render.table(header, rows, paint=console.paint, width=console.width)
