"""``kfbridge audit``: the audit log, whether it is whole, and what must not be removed."""

from __future__ import annotations

import argparse
import getpass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bridge.commands import render
from bridge.commands.failures import FAILED, UNREACHABLE, USAGE, CommandError
from bridge.commands.options import add_command, add_json_option, count
from bridge.commands.serving import add_service_options, missing_extra, read_settings

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.lineage.audit import AuditRecord
    from bridge.lineage.audit_chain import Head
    from bridge.lineage.database import Database
    from bridge.lineage.holds import Hold


def register(commands: Any) -> None:
    """Declare the command and its parts."""
    parser = add_command(
        commands,
        "audit",
        run,
        help_text="list and verify the audit log; hold what must not be removed",
        description="The audit log as the database holds it: list it, or verify that nothing in it was "
        "changed, removed or put in (exit 1 if something was). A hold keeps a run, a project or everything "
        "from being removed by retention until it is released; 'holds' lists them.",
    )
    parser.add_argument("what", choices=("list", "verify", "holds", "hold", "release"), help="what to do")
    parser.add_argument("number", nargs="?", type=count, metavar="NUMBER", help="release: the hold's number")
    parser.add_argument("--project", metavar="NAME", help="list, hold: this project")
    parser.add_argument("--run", metavar="RUN_ID", type=UUID, help="list, hold: this run")
    parser.add_argument("--everything", action="store_true", help="hold: all there is")
    parser.add_argument("--reason", metavar="TEXT", help="hold: why, such as the case's number")
    parser.add_argument(
        "--limit", metavar="N", type=count, default=50, help="list: how many, newest first (default: 50)"
    )
    parser.add_argument(
        "--head",
        metavar="NUMBER:HASH",
        help="verify: the head of the chain that an earlier verify told; it must still be on it",
    )
    add_service_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """List, verify, hold or release."""
    _check(args)
    settings = read_settings(args, console, "audit")
    try:
        from bridge.lineage.database import Database
        from bridge.lineage.errors import DatabaseUnavailable, LineageError
    except ImportError as error:
        raise missing_extra("audit", "service", error) from error
    try:
        database = Database(settings.database_url)
        try:
            database.check_schema()
            return _PARTS[args.what](args, console, database)
        finally:
            database.close()
    except DatabaseUnavailable as error:
        raise CommandError(
            f"{error}",
            to_do="see that the database runs, and that --database-url or KFBRIDGE_DATABASE_URL names it.",
            exit_code=UNREACHABLE,
        ) from error
    except LineageError as error:
        raise CommandError(f"the audit log cannot be read: {error}", exit_code=FAILED) from error


def _check(args: argparse.Namespace) -> None:
    told = None
    if args.what == "hold":
        if sum((args.run is not None, args.project is not None, args.everything)) != 1:
            told = "name what to hold: --run, --project or --everything"
        elif not args.reason:
            told = "say why with --reason: whoever finds the hold in years has to know"
    elif (args.what == "release") != (args.number is not None):
        told = "'release' takes the number of a hold, which 'kfbridge audit holds' tells"
    if told is not None:
        raise CommandError(told, exit_code=USAGE)


def _list(args: argparse.Namespace, console: Console, database: Database) -> int:
    from bridge.lineage import audit

    found = database.read(lambda s: audit.newest(s, limit=args.limit, project=args.project, run_id=args.run))
    if args.json:
        console.result_json({"items": [_plain(one) for one in found]})
    elif found:
        header = ("ROW", "TIME", "ACTOR", "ACTION", "ABOUT", "CHANGE")
        rows = [_row(one) for one in found]
        console.result("\n".join(render.table(header, rows, paint=console.paint, width=console.width)))
    else:
        console.note("nothing was audited yet")
    return 0


def _verify(args: argparse.Namespace, console: Console, database: Database) -> int:
    from bridge.lineage import audit_chain

    known = _head(args.head)
    verdict = database.read(lambda s: audit_chain.verify(s, known))
    head = str(verdict.head)
    if args.json:
        whole = not verdict.findings
        told = {"whole": whole, "head": head, "waiting": verdict.waiting, "findings": verdict.findings}
        console.result_json(told)
    elif verdict.findings:
        console.result("\n".join(verdict.findings))
    else:
        later = f"; {verdict.waiting} newer rows wait for their entries" if verdict.waiting else ""
        console.result(f"the audit log is whole: {verdict.head.number} entries, head {head}{later}")
    return FAILED if verdict.findings else 0


def _holds(args: argparse.Namespace, console: Console, database: Database) -> int:
    from bridge.lineage import holds

    return _show_holds(args, console, database.read(holds.list_holds))


def _hold(args: argparse.Namespace, console: Console, database: Database) -> int:
    from bridge.lineage import holds
    from bridge.lineage.errors import NotStored

    try:
        made = database.transact(
            lambda s: holds.hold(
                s, reason=args.reason, project=args.project or "", run_id=args.run, actor=_actor()
            )
        )
    except NotStored as error:
        raise CommandError(f"{error}, so nothing was held", exit_code=USAGE) from error
    if args.project and not database.read(lambda s: holds.has_runs(s, args.project)):
        console.note(f"project {args.project} has no run yet: is that its name? What comes to it is held")
    return _show_holds(args, console, [made])


def _release(args: argparse.Namespace, console: Console, database: Database) -> int:
    from bridge.lineage import holds

    released = database.transact(lambda s: holds.release(s, args.number, actor=_actor()))
    if released is None:
        raise CommandError(f"no hold {args.number} is in force", exit_code=USAGE)
    return _show_holds(args, console, [released])


def _show_holds(args: argparse.Namespace, console: Console, found: list[Hold]) -> int:
    if args.json:
        console.result_json({"items": [_plain(one) for one in found]})
    elif found:
        header = ("NUMBER", "HELD", "SINCE", "RELEASED", "REASON")
        rows = [
            (
                str(one.number),
                one.subject,
                f"{one.since:%Y-%m-%d %H:%M}",
                f"{one.released_at:%Y-%m-%d %H:%M}" if one.released_at else "",
                one.reason,
            )
            for one in found
        ]
        console.result("\n".join(render.table(header, rows, paint=console.paint, width=console.width)))
    else:
        console.note("nothing is held")
    return 0


_PARTS = {"list": _list, "verify": _verify, "holds": _holds, "hold": _hold, "release": _release}


def _head(text: str | None) -> Head | None:
    from bridge.lineage.audit_chain import Head

    if text is None:
        return None
    number, _, digest = text.partition(":")
    if not number.isdigit() or not digest:
        raise CommandError(f"--head {text} is no number and hash, as verify tells them", exit_code=USAGE)
    return Head(int(number), digest)


def _actor() -> str:
    try:
        return f"kfbridge audit: {getpass.getuser()}"
    except (KeyError, OSError):
        # A container's user may have a number and no name.
        return "kfbridge audit"


def _row(one: AuditRecord) -> tuple[str, ...]:
    about = f"run {render.short_id(one.run_id)}" if one.run_id else one.backend or one.project
    change = ""
    if one.before is not None or one.after is not None:
        before, after = one.before or {}, one.after or {}
        changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        change = ", ".join(f"{name}: {before.get(name)} -> {after.get(name)}" for name in changed)
    return str(one.id), f"{one.time:%Y-%m-%d %H:%M:%S}", one.actor, one.action, about, change


def _plain(one: AuditRecord | Hold) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        name: value if isinstance(value, (dict, int, str, type(None))) else str(value)
        for name, value in asdict(one).items()
    }
