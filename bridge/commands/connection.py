"""The client that a command's options name, and the run that its RUN argument means."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING
from uuid import UUID

from bridge.commands.failures import CommandError

if TYPE_CHECKING:
    from bridge.client.models import RunModel
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console

DEFAULT_PATIENCE_SECONDS = 10.0
WAITING_PATIENCE_SECONDS = 300.0
_SHORTEST_PREFIX = 4
_SEARCHED_RUNS = 1000


def open_client(args: argparse.Namespace, console: Console, *, waiting: bool = False) -> BridgeClient:
    """A client as the options and the environment say; the caller closes it."""
    from bridge.client.sync import DEFAULT_URL, BridgeClient
    from bridge.client.wire import BadToken

    patience = args.patience
    if patience is None:
        patience = WAITING_PATIENCE_SECONDS if waiting else DEFAULT_PATIENCE_SECONDS
    url = args.url or console.environ.get("KFBRIDGE_URL") or DEFAULT_URL

    def tell(error: Exception, pause_seconds: float) -> None:
        if not args.json and pause_seconds >= 1.0:
            console.note(f"{error}; trying again in {pause_seconds:.0f} s")

    try:
        return BridgeClient(
            url,
            token=console.environ.get("KFBRIDGE_TOKEN") or None,
            patience_seconds=patience,
            transport=console.transport,
            on_trouble=tell,
        )
    except BadToken as error:
        raise CommandError(f"{error}", to_do="set KFBRIDGE_TOKEN to the API token of the bridge.") from error
    except ValueError as error:
        raise CommandError(
            f"{error}", to_do="name the bridge with --url or KFBRIDGE_URL, such as http://127.0.0.1:8700."
        ) from error


def find_run(client: BridgeClient, text: str) -> RunModel:
    """The run that a person means by ``latest``, an id, or the beginning of one (ours or KFP's)."""
    if text == "latest":
        newest = client.list_runs(limit=1).items
        if not newest:
            raise CommandError("this bridge has no run yet", to_do="submit one with 'kfbridge submit'.")
        return client.get_run(newest[0].run_id)
    whole = _uuid(text)
    if whole is not None:
        return _by_id(client, whole)
    wanted = text.lower()
    if len(wanted) < _SHORTEST_PREFIX or set(wanted) - set("0123456789abcdef-"):
        raise CommandError(
            f"{text!r} is no run id",
            to_do=f"give at least its first {_SHORTEST_PREFIX} characters, or 'latest'.",
        )
    return _by_prefix(client, wanted)


def _by_id(client: BridgeClient, run_id: UUID) -> RunModel:
    from bridge.client.errors import ProblemError

    try:
        return client.get_run(run_id)
    except ProblemError as error:
        if error.slug != "not-found":
            raise
    return _by_prefix(client, str(run_id))


def _by_prefix(client: BridgeClient, prefix: str) -> RunModel:
    found: dict[UUID, RunModel] = {}
    searched = 0
    for run in client.iterate_runs():
        if str(run.run_id).startswith(prefix) or str(run.kfp_run_id).startswith(prefix):
            found[run.run_id] = run
        searched += 1
        if searched >= _SEARCHED_RUNS:
            break
    if not found:
        raise CommandError(
            f"none of the newest {searched} runs has an id that begins with {prefix}",
            to_do="'kfbridge runs' lists them; older ones need their whole id.",
        )
    if len(found) > 1:
        raise CommandError(
            f"{len(found)} runs have an id that begins with {prefix}",
            details=[f"{run.run_id}  {run.state}  {run.pipeline.name}" for run in found.values()],
            to_do="give more of its characters.",
        )
    (run_id,) = found
    return client.get_run(run_id)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
