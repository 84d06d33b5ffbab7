"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import kills
from tests.bench.kills.plan import Plan, Result
from tests.bench.kills.playing import kill


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it as the command line says; 0 if nothing was lost or doubled, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills", description=kills.__doc__)
    parser.add_argument("--submissions", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=2, help="on PostgreSQL; SQLite has one")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--postgres", action="store_true", help="the default")
    kind.add_argument("--sqlite", action="store_true")
    parser.add_argument("--life", type=float, default=2.0, help="seconds that a process serves, on average")
    parser.add_argument(
        "--cold", action="store_true", help="start each process from nothing, imports included"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keep", type=Path, help="a folder for the logs, which are thrown away otherwise")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = Plan(
        submissions=options.submissions,
        kills=options.kills,
        replicas=options.replicas,
        postgresql=not options.sqlite,
        life_seconds=options.life,
        cold=options.cold,
        seed=options.seed,
    )
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        folder = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="kfbridge-kills-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        console = Console(stderr=True)
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        result = kill(plan, folder, progress=progress)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        print(json.dumps({"machine": machine, "plan": asdict(plan), **asdict(result)}, indent=2))
    else:
        print(_told(result, machine))
    return 0 if result.is_good else 1


def _told(result: Result, machine: str) -> str:
    attempts = ", ".join(f"{count} in attempt {attempt}" for attempt, count in result.attempts.items())
    lines = [
        f"{result.database}, {machine}, {result.seconds:.0f} s",
        f"{result.kills} kills ({result.killed_while_starting} of a process that was still starting)",
        f"{result.submissions} submissions accepted",
        f"{result.runs_at_backend} runs at the backend by {result.posts} POSTs, {result.doubled} doubled",
        f"attempts: {attempts}",
        f"{result.ends_mirrored} ends mirrored",
        *(f"WRONG: {failure}" for failure in result.failures),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
