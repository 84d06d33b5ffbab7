"""``kfbridge``: the one command of the bridge.

Declaring the commands imports nothing but the standard library; what a command needs is imported when
it runs, so that ``submit`` works with the base installation and ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from bridge.commands import (
    apply,
    audit,
    backend,
    backup,
    cancel,
    compare,
    cost,
    doctor,
    explain,
    local,
    logs,
    oncall,
    push,
    quarantine,
    replay,
    reproduce,
    retention,
    retry,
    run,
    runs,
    serving,
    sessions,
    show,
    submit,
    tokens,
    webhooks,
)
from bridge.commands.console import Console
from bridge.commands.failures import INTERRUPTED, SUCCEEDED, USAGE, CommandError

_DESCRIPTION = """\
The bridge between Apache Airflow and Kubeflow Pipelines.

Ask a bridge (KFBRIDGE_URL, KFBRIDGE_TOKEN):   submit, push, runs, show, logs, explain, compare,
                                               cancel, retry, reproduce, quarantine, backend, webhooks,
                                               oncall, cost
Run something here:                            run, replay, local, serve, worker, migrate
Look after an installation:                    doctor, audit, retention, token, session, backup, restore,
                                               apply
"""
_EPILOG = """\
exit codes: 0 succeeded, 1 failed, 2 usage or refused, 3 canceled, 4 timeout, 5 bridge unreachable,
130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="kfbridge",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        submit,
        push,
        run,
        runs,
        show,
        logs,
        explain,
        compare,
        cancel,
        retry,
        reproduce,
        quarantine,
        backend,
        webhooks,
        oncall,
        cost,
        replay,
        local,
        serving,
        audit,
        doctor,
        retention,
        tokens,
        sessions,
        backup,
        apply,
    ):
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run the command line; returns the exit code."""
    console = console or Console()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args, unknown = build_parser().parse_known_args(words)
        if unknown:
            # The command's own parser shows the usage that helps.
            args.own_parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    except _WrongUsage as error:
        error.tell(console, as_json="--json" in words)
        return USAGE
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    try:
        code: int = args.run_command(args, console)
    except CommandError as error:
        error.print_to(console, as_json=getattr(args, "json", False))
        return error.exit_code
    except KeyboardInterrupt:
        console.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output, such as head, has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCEEDED
    return code


class _WrongUsage(Exception):
    """The command line cannot be read; what the options are is not known then."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self._parser = parser

    def tell(self, console: Console, *, as_json: bool) -> None:
        if as_json:
            to_do = f"'{self._parser.prog} --help' shows the usage."
            CommandError(f"{self._parser.prog}: {self}", to_do=to_do).print_to(console, as_json=True)
            return
        console.note(f"{self._parser.format_usage()}{self._parser.prog}: error: {self}")


class _Parser(argparse.ArgumentParser):
    """Its sub-parsers are of this class too."""

    def error(self, message: str) -> NoReturn:
        raise _WrongUsage(self, message)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"kfbridge {version('airflow-kfp-bridge')}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
