"""``make demo``: the whole bridge on this machine, on real data."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from deploy.laptop.demo import play
from deploy.laptop.processes import ProcessEnded, TookTooLong, port_is_free
from deploy.laptop.report import print_places, print_result
from deploy.laptop.stack import ROOT, Ports, Stack

_USUAL = Ports(local=8888, service=8700, airflow=8080)


def main() -> int:
    """Plays the demo; 0 if both retrainings succeeded, 1 if not, 2 if it could not be played."""
    parser = argparse.ArgumentParser(prog="python -m deploy.laptop", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop at the end instead of waiting for Ctrl-C")
    parser.add_argument("--home", type=Path, default=ROOT / ".demo", help="where everything is kept")
    options = parser.parse_args()
    # Without a terminal there is no width to keep to: a log file holds whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    # A shell that starts this in the background has it ignore Ctrl-C, and what it starts with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A polite kill has to end what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {line}")

    say("starting local backend, bridge and Airflow")
    try:
        with Stack(options.home, ports=_ports(), say=say) as stack:
            say("Airflow is healthy")
            result = play(stack, say)
            print_result(console, result)
            print_places(console, stack, running=not options.once)
            if not options.once:
                _wait_for_interrupt(console)
        return 0 if result.succeeded else 1
    except (ProcessEnded, TookTooLong, RuntimeError) as error:
        console.print(f"[red]The demo could not be finished:[/] {error}", markup=True)
        console.print(f"The logs are in {options.home}/logs and {options.home}/airflow.")
        return 2
    except KeyboardInterrupt:
        return 0


def _ports() -> Ports:
    """The usual ports where they are free, so that the printed addresses are easy to remember."""
    usual = {name: getattr(_USUAL, name) for name in ("local", "service", "airflow")}
    return Ports(**{name: port if port_is_free(port) else 0 for name, port in usual.items()})


def _wait_for_interrupt(console: Console) -> None:
    console.print("Everything keeps running; Ctrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")


if __name__ == "__main__":
    sys.exit(main())
