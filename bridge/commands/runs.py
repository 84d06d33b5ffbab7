"""``kfbridge runs``: the runs there are, newest first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import open_client
from bridge.commands.failures import explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option, count, moment

if TYPE_CHECKING:
    from bridge.client.models import RunModel
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console

_STATES = ("PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED", "PAUSED")
_PAGE = 200


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "runs",
        run,
        help_text="list runs, newest first",
        description="List runs, newest first: those the bridge submitted and those it found on its backends.",
    )
    parser.add_argument(
        "--state",
        metavar="STATE",
        action="append",
        type=_state,
        help=f"only runs in this state (repeatable): {', '.join(_STATES)}",
    )
    for name, text in (
        ("pipeline", "of this pipeline"),
        ("experiment", "of this experiment"),
        ("backend", "on this backend"),
        ("project", "of this project"),
        ("dag-id", "that this DAG asked for"),
        ("dag-run-id", "that this DagRun asked for"),
        ("task-id", "that this task asked for"),
    ):
        parser.add_argument(f"--{name}", metavar="NAME", help=f"only runs {text}")
    parser.add_argument(
        "--text", metavar="TEXT", help="only runs that have these words, or beginnings of words"
    )
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help="only runs made since then: 2026-01-31, or 2h, 7d ago"
    )
    parser.add_argument("--until", metavar="TIME", type=moment, help="only runs made before then")
    parser.add_argument("--limit", metavar="N", type=count, default=20, help="how many (default: 20)")
    parser.add_argument("--cursor", metavar="TEXT", help="go on where an earlier listing ended")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """List the runs."""
    from bridge.client.errors import BridgeError

    with open_client(args, console) as client:
        try:
            found, cursor = _collect(client, args)
        except BridgeError as error:
            raise explain_bridge_error(error, "listing runs") from error
    if args.json:
        items = [item.model_dump(mode="json") for item in found]
        console.result_json({"items": items, "next_cursor": cursor})
        return 0
    if not found:
        console.note("no run fits" if _filters(args) else "no run yet; submit one with 'kfbridge submit'")
        return 0
    console.result("\n".join(_rows(found, console)))
    if cursor:
        console.note(f"there are more: --limit {args.limit * 2}, or --cursor {cursor}")
    return 0


def _collect(client: BridgeClient, args: argparse.Namespace) -> tuple[list[RunModel], str | None]:
    found: list[RunModel] = []
    cursor: str | None = args.cursor
    while len(found) < args.limit:
        page = client.list_runs(limit=min(_PAGE, args.limit - len(found)), cursor=cursor, **_filters(args))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return found, cursor


def _filters(args: argparse.Namespace) -> dict[str, Any]:
    wanted = {
        "state": args.state,
        "pipeline": args.pipeline,
        "experiment": args.experiment,
        "backend": args.backend,
        "project": args.project,
        "dag_id": args.dag_id,
        "dag_run_id": args.dag_run_id,
        "task_id": args.task_id,
        "text": args.text,
        "created_after": args.since,
        "created_before": args.until,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _rows(runs: list[RunModel], console: Console) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for item in runs:
        state = render.state_text(item.state, paint=console.paint, unicode=console.has_unicode)
        gate = (
            {True: "passed", False: "not passed", None: "not judged"}[item.gate.passed] if item.gate else ""
        )
        rows.append(
            (
                render.short_id(item.run_id),
                state + (" (stale)" if item.stale_since else " (queued)" if item.waiting else ""),
                item.pipeline.name,
                render.age(item.created_at),
                render.duration(render.run_seconds(item)),
                gate,
                render.asked_by(item.origin),
            )
        )
    header: tuple[str, ...] = ("RUN", "STATE", "PIPELINE", "CREATED", "TOOK", "GATE", "ASKED BY")
    if not any(row[5] for row in rows):
        header = header[:5] + header[6:]
        rows = [row[:5] + row[6:] for row in rows]
    return render.table(header, rows, paint=console.paint, width=console.width)


def _state(text: str) -> str:
    if text.upper() not in _STATES:
        raise argparse.ArgumentTypeError(f"{text!r} is no state; there are {', '.join(_STATES)}")
    return text.upper()
