"""``kfbridge push``: register a version of a pipeline at the bridge, and move aliases to it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.connection import open_client
from bridge.commands.failures import SUCCEEDED, CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_compiling_options, add_json_option
from bridge.domain.aliases import alias_problem

if TYPE_CHECKING:
    from bridge.client.models import PipelineAliasModel, PipelineModel
    from bridge.commands.console import Console

_EPILOG = """\
examples:
  kfbridge push train.py --alias prod
  kfbridge push train.yaml --version 2026-11-21 --alias prod --alias nightly

A DAG's pipeline="train@prod" runs what prod means when its task runs; the run records the digest.
exit codes: 0 registered, 2 refused, 5 bridge unreachable
"""
_DIGEST_CHARACTERS = 12


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "push",
        run,
        help_text="register a version of a pipeline, and move aliases to it",
        description="Register a compiled pipeline at the bridge and move aliases such as 'prod' to it. "
        "Nothing runs. Pushing the same pipeline again changes nothing.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "pipeline", metavar="PIPELINE", type=Path, help="Python source (.py) or a compiled pipeline (.yaml)"
    )
    add_compiling_options(parser)
    parser.add_argument(
        "--alias",
        metavar="NAME",
        action="append",
        default=[],
        dest="aliases",
        help="a name that means this version from now on (repeatable)",
    )
    parser.add_argument("--version", metavar="NAME", help="the version's own name, which is never moved")
    parser.add_argument("--project", metavar="NAME", default="default", help="the project (default: default)")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Register, then move the aliases."""
    from bridge.client.errors import BridgeError
    from bridge.commands.pipelines import load_source

    # An alias that is none would be found out after the version was registered.
    problems = [problem for problem in map(alias_problem, args.aliases) if problem is not None]
    if problems:
        raise CommandError("nothing was sent", details=problems)
    pipeline = load_source(args.pipeline, function=args.function, python=args.python)
    with open_client(args, console) as client:
        try:
            pushed = client.register_pipeline(pipeline.text, version=args.version, project=args.project)
            moved = [
                client.set_alias(pushed.name, alias, digest=pushed.digest, project=args.project)
                for alias in dict.fromkeys(args.aliases)
            ]
        except BridgeError as error:
            raise explain_bridge_error(error, f"pushing {args.pipeline}") from error
    if args.json:
        console.result_json(
            {
                "pipeline": pushed.model_dump(mode="json"),
                "aliases": [alias.model_dump(mode="json") for alias in moved],
            }
        )
        return SUCCEEDED
    _report(console, pushed, moved)
    return SUCCEEDED


def _report(console: Console, pushed: PipelineModel, moved: list[PipelineAliasModel]) -> None:
    named = f"  {pushed.version_name}" if pushed.version_name else ""
    lines = [f"{console.paint(pushed.name, 'bold')}{named}  {pushed.digest}"]
    for alias in moved:
        earlier = alias.previous_digest
        if earlier == alias.digest:
            told = "as before"
        elif earlier is None:
            told = "new"
        else:
            told = f"was {earlier[:_DIGEST_CHARACTERS]}"
        lines.append(f"  {pushed.name}@{alias.alias}  {alias.digest[:_DIGEST_CHARACTERS]}  ({told})")
    console.result("\n".join(lines))
