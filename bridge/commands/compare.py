"""``kfbridge compare``: what differs between runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import find_run, open_client
from bridge.commands.failures import CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option

if TYPE_CHECKING:
    from bridge.client.comparison import CompareModel, CompareRow, CompareSection
    from bridge.commands.console import Console

_MOST_RUNS = 5
_VALUE_CHARACTERS = 40


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "compare",
        run,
        help_text="tell what differs between two to five runs",
        description="Tell what differs between two to five runs: outcome, parameters, metrics, pipeline, "
        "images, packages, data and environment. What cannot be told is said.",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run's id, the first characters of it, or 'latest'; two to five",
    )
    parser.add_argument("--all", action="store_true", help="show also what is the same")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Compare the runs."""
    from bridge.client.errors import BridgeError

    if not 2 <= len(args.runs) <= _MOST_RUNS:
        raise CommandError(f"{len(args.runs)} runs cannot be compared", to_do="name two to five runs.")
    with open_client(args, console) as client:
        try:
            ids = [find_run(client, text).run_id for text in args.runs]
            if len(set(ids)) < len(ids):
                raise CommandError("a run cannot be compared with itself", to_do="name different runs.")
            found = client.compare(*ids)
        except BridgeError as error:
            raise explain_bridge_error(error, "comparing runs") from error
    if args.json:
        console.result_json(found.model_dump(mode="json"))
    else:
        console.result("\n".join(_lines(found, console, whole=args.all)))
    return 0


def _lines(found: CompareModel, console: Console, *, whole: bool) -> list[str]:
    header = ("RUN", "STATE", "PIPELINE", "CREATED", "TOOK")
    rows = [
        (
            render.short_id(one.run_id),
            render.state_text(one.state, paint=console.paint, unicode=console.has_unicode),
            one.pipeline.name,
            render.age(one.created_at),
            render.duration(render.run_seconds(one)),
        )
        for one in found.runs
    ]
    lines = render.table(header, rows, paint=console.paint, width=console.width)
    ids = [render.short_id(one.run_id) for one in found.runs]
    for section in found.sections:
        lines += _section(section, ids, console, whole=whole)
    if not any(section.differing for section in found.sections):
        lines += ["", "nothing differs"]
    if found.unknown:
        lines += ["", console.paint("Not known", "bold"), *(f"  {text}" for text in found.unknown)]
    return lines


def _section(section: CompareSection, ids: list[str], console: Console, *, whole: bool) -> list[str]:
    shown = [row for row in section.rows if whole or row.differs]
    if not shown:
        return []
    count = f"{section.differing} of {section.total} differ"
    rows = [[row.name, *_values(row, marked=whole), _change(row)] for row in shown]
    header = ["", *ids, "CHANGE"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    title = f"{console.paint(section.title, 'bold')}  {console.paint(count, 'dim')}"
    body = render.table(header, rows, paint=console.paint, width=console.width)
    cut = ["  …"] if section.truncated else []
    return ["", title, *(f"  {line}" for line in body), *cut]


def _values(row: CompareRow, *, marked: bool) -> list[str]:
    texts = [
        render.value_text(value, _VALUE_CHARACTERS) if known else "-"
        for value, known in zip(row.values, row.known, strict=True)
    ]
    if marked and row.differs is not False:
        texts[0] = f"{'*' if row.differs else '?'} {texts[0]}"
    return texts


def _change(row: CompareRow) -> str:
    if row.change is None:
        return ""
    relative = f" ({row.relative:+.1%})" if row.relative is not None else ""
    return f"{row.change:+.6g}{relative}"
