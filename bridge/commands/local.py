"""``kfbridge local``: Kubeflow Pipelines without Kubernetes, in one process."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.containers import add_runner_options, container_settings
from bridge.commands.failures import FAILED, UNREACHABLE, CommandError
from bridge.commands.options import add_command, add_secrets_option, count
from bridge.commands.places import data_dir
from bridge.commands.serving import missing_extra
from bridge.local.object_store import OPTIONS_VARIABLE

if TYPE_CHECKING:
    from bridge.commands.console import Console

TOKEN_VARIABLE = "KFBRIDGE_LOCAL_TOKEN"  # noqa: S105 - the name of a variable
HOSTS_VARIABLE = "KFBRIDGE_LOCAL_ALLOWED_HOSTS"
ARTIFACTS_VARIABLE = "KFBRIDGE_LOCAL_ARTIFACTS"


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "local",
        run,
        help_text="run Kubeflow Pipelines here, without Kubernetes",
        description="Run a Kubeflow Pipelines backend on this machine, without Kubernetes: for laptops, CI "
        "and demos. It serves KFP's v2beta1 API on 127.0.0.1 and runs components as processes of this user "
        f"or in containers. {TOKEN_VARIABLE} makes it ask for that bearer token; {HOSTS_VARIABLE} "
        f"(with commas) are further names under which it answers. {OPTIONS_VARIABLE} is a JSON object "
        "that says where the S3 server of --artifacts is and who we are there: endpoint_url, key, secret; "
        "what it leaves out, AWS' own variables and files say.",
    )
    parser.add_argument(
        "--port", metavar="N", type=int, default=8888, help="the port; 0 chooses a free one (default: 8888)"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="where runs, artifacts, logs and environments are kept (default: the user's data directory)",
    )
    parser.add_argument(
        "--metadata",
        choices=("mlmd", "native"),
        default="mlmd",
        help="which API serves artifacts and metrics (default: mlmd, as published KFP has it)",
    )
    parser.add_argument(
        "--max-parallel", metavar="N", type=count, default=2, help="tasks that run at once (default: 2)"
    )
    add_secrets_option(parser)
    parser.add_argument(
        "--environments-dir",
        metavar="DIR",
        type=Path,
        help="where the Python environments of components are kept; several backends may share it "
        "(default: in the data directory)",
    )
    parser.add_argument(
        "--keep-runs", metavar="N", type=int, help="how many runs that are over are kept (default: all)"
    )
    parser.add_argument(
        "--keep-days",
        metavar="DAYS",
        type=float,
        help="how long runs are kept after their end (default: for ever)",
    )
    parser.add_argument(
        "--keep-gib", metavar="GIB", type=float, help="how much the files of all runs may take (default: any)"
    )
    parser.add_argument(
        "--artifacts",
        metavar="URI",
        help="where artifacts go, such as s3://bucket/prefix "
        f"({ARTIFACTS_VARIABLE}; default: to files in the data directory)",
    )
    add_runner_options(parser)
    # For whoever starts it as a child: it must not outlive its parent, however that ends.
    parser.add_argument("--stop-with-stdin", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve until interrupted."""
    try:
        from bridge.local.container_engine import EngineError
        from bridge.local.main import AlreadyServed
        from bridge.local.main import run as serve
        from bridge.local.object_store import ObjectStoreError
        from bridge.local.settings import LocalSettings
    except ImportError as error:
        raise missing_extra("local", "local", error) from error
    directory = (args.data_dir or data_dir(console.environ) / "local").expanduser().resolve()
    try:
        settings = LocalSettings(
            data_dir=directory,
            port=args.port,
            max_parallel=args.max_parallel,
            runner=args.runner,
            metadata=args.metadata,
            secrets_dir=args.secrets_dir,
            environments_dir=args.environments_dir and args.environments_dir.expanduser().resolve(),
            keep_runs=args.keep_runs,
            keep_days=args.keep_days,
            keep_gib=args.keep_gib,
            token=console.environ.get(TOKEN_VARIABLE) or None,
            allowed_hosts=_listed(console.environ.get(HOSTS_VARIABLE, "")),
            artifacts=args.artifacts or console.environ.get(ARTIFACTS_VARIABLE) or None,
            artifact_options=_options(console.environ.get(OPTIONS_VARIABLE, "")),
            containers=container_settings(args, console.environ),
        )
    except ValueError as error:
        raise CommandError(f"{error}") from error
    if args.stop_with_stdin:
        threading.Thread(target=_stop_when_stdin_closes, name="parent-watch", daemon=True).start()
    try:
        return serve(settings)
    except AlreadyServed as error:
        raise CommandError(f"{error}", exit_code=FAILED) from error
    except EngineError as error:
        raise CommandError(
            f"--runner docker: {error}",
            to_do="start Docker or Podman, or name another --container-engine.",
            exit_code=UNREACHABLE,
        ) from error
    except ObjectStoreError as error:
        raise CommandError(f"artifacts cannot go to {error}", exit_code=UNREACHABLE) from error
    except OSError as error:
        if error.filename is not None:
            # The port has no file name; what is kept has.
            raise CommandError(
                f"the data directory {directory} cannot be used: {error.filename}: {error.strerror}",
                to_do="give another --data-dir.",
                exit_code=FAILED,
            ) from error
        raise CommandError(
            f"'kfbridge local' cannot serve on port {args.port}: {error.strerror or error}",
            to_do="choose another --port, or 0 for a free one.",
            exit_code=FAILED,
        ) from error


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _options(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        # Not what it says: that may be a secret.
        raise CommandError(
            f"{OPTIONS_VARIABLE} is no JSON object",
            to_do='write it as {"endpoint_url": "http://127.0.0.1:9000", "key": "…", "secret": "…"}.',
        )
    return found


def _stop_when_stdin_closes() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
