"""Options that say how components run: as processes of this machine, or in containers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.commands.failures import CommandError

if TYPE_CHECKING:
    from bridge.local.settings import ContainerSettings

_NAME = re.compile(r"[^=\s]+")


def add_runner_options(parser: argparse.ArgumentParser) -> None:
    """How components run."""
    parser.add_argument(
        "--runner",
        choices=("subprocess", "docker"),
        default="subprocess",
        help="how components run: as processes, or in their images with Docker or Podman "
        "(default: subprocess)",
    )
    group = parser.add_argument_group("containers, with --runner docker")
    group.add_argument(
        "--container-engine",
        metavar="ENGINE",
        default="auto",
        help="docker, podman, or the path of one (default: the first of the two that answers)",
    )
    group.add_argument(
        "--container-network",
        metavar="NAME",
        help="the engine's network to join, such as none or host (default: the engine's own)",
    )
    group.add_argument(
        "--container-pull",
        choices=("missing", "always", "never"),
        default="missing",
        help="when images are pulled (default: missing)",
    )
    group.add_argument(
        "--container-user",
        choices=("host", "image"),
        default="host",
        help="run as the user who runs this, or as the image's own (default: host)",
    )
    group.add_argument(
        "--container-ca-bundle",
        metavar="FILE",
        type=Path,
        help="certificate authorities (PEM) that programs in containers shall trust",
    )
    group.add_argument(
        "--container-env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="a variable for every container; without a value, that of this environment (repeatable)",
    )
    group.add_argument(
        "--container-cache",
        metavar="DIR",
        type=Path,
        help="where pip and uv in containers keep downloads (default: in the data directory)",
    )


def container_settings(args: argparse.Namespace, environ: Mapping[str, str]) -> ContainerSettings:
    """The settings that the options give. Raises ``ValueError`` and ``CommandError``."""
    from bridge.local.settings import ContainerSettings

    return ContainerSettings(
        engine=args.container_engine,
        network=args.container_network,
        pull=args.container_pull,
        user=args.container_user,
        ca_bundle=_absolute(args.container_ca_bundle),
        env=dict(_variable(text, environ) for text in args.container_env),
        cache_dir=_absolute(args.container_cache),
    )


def runner_options(args: argparse.Namespace) -> list[str]:
    """The options again, for a backend that is started with them."""
    words = ["--runner", args.runner, "--container-engine", args.container_engine]
    words += ["--container-pull", args.container_pull, "--container-user", args.container_user]
    for name, value in (
        ("--container-network", args.container_network),
        ("--container-ca-bundle", _absolute(args.container_ca_bundle)),
        ("--container-cache", _absolute(args.container_cache)),
    ):
        if value is not None:
            words += [name, str(value)]
    return [*words, *(f"--container-env={text}" for text in args.container_env)]


def _absolute(path: Path | None) -> Path | None:
    return path.expanduser().resolve() if path is not None else None


def _variable(text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not _NAME.fullmatch(name):
        raise CommandError(f"--container-env {text}: write NAME=VALUE, or NAME to pass a variable on")
    if equals:
        return name, value
    if name not in environ:
        raise CommandError(
            f"--container-env {name}: there is no such variable here", to_do="set it, or write NAME=VALUE."
        )
    return name, environ[name]
