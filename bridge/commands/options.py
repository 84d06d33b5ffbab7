"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.commands.console import Console

_HELP_COLUMNS = 90
Runner = Callable[[argparse.Namespace, "Console"], int]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNIT_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_command(
    commands: Any, name: str, runner: Runner, *, help_text: str, description: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A sub-parser that leads to ``runner``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=textwrap.fill(description, _HELP_COLUMNS),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run_command=runner, own_parser=parser)
    return parser


def add_bridge_options(parser: argparse.ArgumentParser) -> None:
    """How to reach the bridge."""
    group = parser.add_argument_group("the bridge")
    group.add_argument(
        "--url", metavar="URL", help="the bridge's address (KFBRIDGE_URL; default: http://127.0.0.1:8700)"
    )
    group.add_argument(
        "--patience",
        metavar="TIME",
        type=seconds,
        help="how long to go on trying while the bridge does not answer, such as 30s or 5m (default: 10s; "
        "while waiting for a run: 5m)",
    )


def add_json_option(parser: argparse.ArgumentParser, what: str = "one JSON document") -> None:
    """Output for machines."""
    parser.add_argument("--json", action="store_true", help=f"print {what}, for programs")


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument(
        "run", metavar="RUN", help="the run's id, the first characters of it, or 'latest' for the newest run"
    )


def add_secrets_option(parser: argparse.ArgumentParser) -> None:
    """What stands in for a cluster's secrets and config maps."""
    parser.add_argument(
        "--secrets-dir",
        metavar="DIR",
        type=existing_folder,
        help="secrets and config maps that pipelines name: DIR/<name>/<key>, one file per key",
    )


def add_compiling_options(parser: argparse.ArgumentParser) -> None:
    """How Python source is compiled."""
    parser.add_argument(
        "--function",
        metavar="NAME",
        help="which pipeline function of the Python source, if there are several",
    )
    parser.add_argument(
        "--python", metavar="PATH", help="the Python that has kfp, to compile with (default: this one)"
    )


def seconds(text: str) -> float:
    """``90``, ``90s``, ``15m``, ``1h30m`` or ``2d`` in seconds."""
    total, position = 0.0, 0
    stripped = text.strip()
    for match in _DURATION.finditer(stripped):
        if match.start() != position:
            break
        total += float(match[1]) * _UNIT_SECONDS[match[2]]
        position = match.end()
    if not stripped or position != len(stripped):
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 90s, 15m, 2h or 1h30m")
    return total


def moment(text: str) -> datetime:
    """An ISO 8601 time (UTC if it names no zone), or how long ago, such as ``2h`` or ``7d``."""
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(text))
    except argparse.ArgumentTypeError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2026-01-31, 2026-01-31T02:00:00Z, or how long ago: 2h, 7d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def existing_folder(text: str) -> Path:
    """A folder that is there, as an absolute path."""
    found = Path(text).expanduser().resolve()
    if not found.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {found}")
    return found


def pair(text: str) -> tuple[str, str]:
    """``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value
