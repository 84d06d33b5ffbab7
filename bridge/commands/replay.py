"""``kfbridge replay``: one task of an earlier run, here, on the inputs it had there."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bridge.commands import render
from bridge.commands.failures import FAILED, SUCCEEDED, UNREACHABLE, CommandError, explain_bridge_error
from bridge.commands.lognoise import without_noise
from bridge.commands.options import (
    add_bridge_options,
    add_command,
    add_json_option,
    add_secrets_option,
)
from bridge.commands.places import cache_dir

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.commands.replay_sources import Fetch, GivenArtifact, GivenRun, GivenTask
    from bridge.kfp_api.client import KfpClient
    from bridge.local.replay import Replayed

_EPILOG = """\
examples:
  kfbridge replay latest --pdb                    the failed task of the newest run, stopped at its line
  kfbridge replay 4f7a0c12 train                  one task of a run that the bridge knows
  kfbridge replay RUN train --kfp-url https://kubeflow.example.com/pipeline
  kfbridge replay RUN train --data-dir DIR        a run of 'kfbridge run --data-dir DIR' or 'kfbridge local'

exit codes: 0 it succeeded here, 1 it failed here, 2 usage, 5 bridge or backend unreachable
"""
_LOG_TAIL_LINES = 30


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "replay",
        run,
        help_text="run one task of an earlier run here, under the debugger if wanted",
        description="Fetch what a task of a run was given and run its component on this machine, in an "
        "environment with its packages. Nothing is recorded, and nothing of the run is changed.",
        epilog=_EPILOG,
    )
    parser.add_argument("run", metavar="RUN", help="the run's id, its first characters, or 'latest'")
    parser.add_argument(
        "task",
        metavar="TASK",
        nargs="?",
        help="the task's path, such as loop[3].train (default: the failed one)",
    )
    parser.add_argument(
        "--pdb", action="store_true", help="stop in Python's debugger at the line that raises"
    )
    parser.add_argument(
        "--folder",
        metavar="DIR",
        type=Path,
        help="where fetched inputs and what it writes are kept (default: in the user's cache directory)",
    )
    add_secrets_option(parser)
    source = parser.add_argument_group(
        "where the run is kept, if not at the bridge"
    ).add_mutually_exclusive_group()
    source.add_argument(
        "--kfp-url", metavar="URL", help="ask this backend (token: KFBRIDGE_KFP_TOKEN); RUN is KFP's whole id"
    )
    source.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="a local backend's data directory that nothing serves now",
    )
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Replay the task."""
    try:
        from bridge.local.replay import Replay, ReplayError, find_task, replay
    except ImportError as error:
        from bridge.commands.serving import missing_extra

        raise missing_extra("replay", "local", error) from error
    import asyncio

    from bridge.commands.replay_sources import bring

    given, task, fetch = _given(args, console)
    _tell_hidden(console, task)
    cache = cache_dir(console.environ)
    folder: Path = args.folder or cache / "replay" / str(given.kfp_run_id)[:8] / task.path
    # What an earlier replay wrote would be taken for this one's.
    for part in ("inputs", "runs", "artifacts"):
        shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Before anything is fetched.
        found = find_task(given.pipeline.model, task.path)
        wanted = Replay(
            kfp_run_id=given.kfp_run_id,
            display_name=given.display_name,
            pipeline=given.pipeline,
            path=task.path,
            parameters=task.parameters,
            artifacts=bring(task.artifacts, folder.resolve() / "inputs", fetch),
            folder=folder.resolve(),
            environments_dir=(cache / "environments").resolve(),
            secrets_dir=args.secrets_dir,
        )
        if not args.json:
            _introduce(console, given, task, folder)
        ended = asyncio.run(replay(wanted, found, debug=args.pdb))
    except ReplayError as error:
        raise CommandError(str(error), exit_code=FAILED) from error
    _report(args, console, given, task, ended)
    return SUCCEEDED if ended.succeeded else FAILED


def _tell_hidden(console: Console, task: GivenTask) -> None:
    """What the bridge does not show, the task does not get here."""
    from bridge.domain.redaction import HIDDEN

    hidden = [name for name, value in task.parameters.items() if HIDDEN in str(value)]
    if hidden:
        console.note(
            f"the bridge takes secrets out of what it shows: {', '.join(hidden)} has {HIDDEN} where one "
            "stood. --kfp-url or --data-dir asks the backend itself."
        )


def _given(args: argparse.Namespace, console: Console) -> tuple[GivenRun, GivenTask, Fetch]:
    if args.kfp_url or args.data_dir:
        given = _from_backend(args, console)
        return (
            given,
            given.task(args.task),
            lambda artifact, target: _download(args, console, artifact, target),
        )
    return _from_bridge(args, console)


def _from_bridge(args: argparse.Namespace, console: Console) -> tuple[GivenRun, GivenTask, Fetch]:
    from bridge.client.errors import BridgeError
    from bridge.commands.connection import find_run, open_client
    from bridge.commands.replay_sources import from_bridge

    client = open_client(args, console)
    try:
        given = from_bridge(client, find_run(client, args.run).run_id)
    except BridgeError as error:
        raise explain_bridge_error(error, f"looking up run {args.run}") from error
    finally:
        client.close()

    def fetch(artifact: GivenArtifact, target: Path) -> None:
        assert artifact.artifact_id is not None, "the bridge gives every artifact an id"
        try:
            with (
                open_client(args, console) as again,
                again.open_artifact(artifact.artifact_id) as content,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(content, file)
        except BridgeError as error:
            raise explain_bridge_error(error, f"reading {artifact.uri}") from error

    return given, given.task(args.task), fetch


def _from_backend(args: argparse.Namespace, console: Console) -> GivenRun:
    import asyncio

    from bridge.commands.private_backend import private_backend
    from bridge.commands.replay_sources import from_backend
    from bridge.kfp_api.errors import KfpError, KfpNotFound

    try:
        kfp_run_id = UUID(args.run)
    except ValueError:
        raise CommandError(f"{args.run!r} is no whole run id, as a backend needs it") from None

    async def ask(url: str, token: str | None) -> GivenRun:
        async with _kfp_client(url, token) as kfp:
            return await from_backend(kfp, kfp_run_id)

    async def ask_directory() -> GivenRun:
        if not (args.data_dir / "local.db").is_file():
            # A backend would make a new one there, and say no more than that it has no such run.
            raise CommandError(
                f"{args.data_dir} is no data directory of a local backend",
                to_do="give the --data-dir of the 'kfbridge local' or 'kfbridge run' that ran it.",
            )
        async with private_backend(args.data_dir.resolve(), max_parallel=1) as backend:
            return await ask(await backend.url(), None)

    try:
        if args.data_dir:
            return asyncio.run(ask_directory())
        return asyncio.run(ask(args.kfp_url, _kfp_token(console)))
    except KfpNotFound as error:
        raise CommandError(f"the backend has no run {kfp_run_id}") from error
    except KfpError as error:
        raise CommandError(
            f"the backend does not say what the run was: {error}", exit_code=UNREACHABLE
        ) from error


def _download(args: argparse.Namespace, console: Console, artifact: GivenArtifact, target: Path) -> None:
    import asyncio

    from bridge.kfp_api.content import can_pass_on, download
    from bridge.kfp_api.errors import KfpError

    uri = artifact.uri or ""
    if not args.kfp_url or not can_pass_on(uri):
        raise CommandError("it is not on this machine", exit_code=FAILED)

    async def fetch() -> None:
        async with _kfp_client(args.kfp_url, _kfp_token(console)) as kfp:
            await download(kfp, uri, target)

    try:
        asyncio.run(fetch())
    except KfpError as error:
        raise CommandError(f"{args.kfp_url} does not pass it on: {error}", exit_code=FAILED) from error


def _kfp_client(url: str, token: str | None) -> KfpClient:
    from bridge.kfp_api.auth import TokenSource
    from bridge.kfp_api.client import KfpClient

    return KfpClient(url, token=TokenSource.from_value(token) if token else None)


def _kfp_token(console: Console) -> str | None:
    return console.environ.get("KFBRIDGE_KFP_TOKEN") or None


def _introduce(console: Console, given: GivenRun, task: GivenTask, folder: Path) -> None:
    paint = console.paint
    console.note(
        f"replaying {paint(task.path, 'bold', stream=console.err)} of {given.display_name} "
        f"({given.kfp_run_id}), where it is {task.state}"
    )
    pairs = {name: render.value_text(value) for name, value in task.parameters.items()}
    pairs |= {f"{one.key}": one.uri or "" for one in task.artifacts}
    for line in render.pairs(pairs):
        console.note(line)
    console.note(f"everything it writes: {folder}")


def _report(
    args: argparse.Namespace,
    console: Console,
    given: GivenRun,
    task: GivenTask,
    ended: Replayed,
) -> None:
    log = ended.log_path.read_text(encoding="utf-8", errors="replace")
    outputs = dict(ended.result.parameters)
    artifacts = {name: [artifact.uri for artifact in found] for name, found in ended.result.artifacts.items()}
    if args.json:
        console.result_json(
            {
                "kfp_run_id": str(given.kfp_run_id),
                "task": task.path,
                "succeeded": ended.succeeded,
                "exit_code": ended.exit_code,
                "error": ended.message,
                "inputs": task.parameters,
                "outputs": outputs,
                "artifacts": artifacts,
                "folder": str(ended.folder),
                "log": log,
            }
        )
        return
    lines = without_noise(log.splitlines())
    if len(lines) > _LOG_TAIL_LINES:
        console.note(f"… the whole log: {ended.log_path}")
    for line in lines[-_LOG_TAIL_LINES:]:
        console.note(line)
    state = render.state_text(
        "SUCCEEDED" if ended.succeeded else "FAILED", paint=console.paint, unicode=console.has_unicode
    )
    told = [f"{task.path}  {state}" + (f"  {ended.message}" if ended.message else "")]
    told += render.pairs({name: render.value_text(value) for name, value in outputs.items()})
    told += render.pairs({name: ", ".join(uris) for name, uris in artifacts.items()})
    console.result("\n".join(told))
