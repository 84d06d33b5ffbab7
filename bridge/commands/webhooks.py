"""``kfbridge webhooks``: who is told of events, and what they did not take."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bridge.commands import render
from bridge.commands.connection import open_client
from bridge.commands.failures import FAILED, SUCCEEDED, CommandError, explain_bridge_error
from bridge.commands.options import add_bridge_options, add_command, add_json_option

if TYPE_CHECKING:
    from bridge.client.sync import BridgeClient
    from bridge.client.webhooks import WebhookModel
    from bridge.commands.console import Console

_EPILOG = """\
actions:
  list                what there is, and how deliveries go (without an action)
  add URL             tell URL of events; prints the secret, which is shown only once
  test WEBHOOK        send one test message now
  dead WEBHOOK        list the messages that were given up
  redeliver WEBHOOK   send these once more
  pause WEBHOOK       hold messages back;  resume WEBHOOK  sends them
  rotate WEBHOOK      a new secret; for a day messages are signed with both
  remove WEBHOOK

WEBHOOK is an id or its first characters.
exit codes: 0 done, 1 the test message was not taken, 2 refused, 5 bridge unreachable
"""
_SHORTEST_PREFIX = 4
_MOST_SHOWN = 50
Action = Callable[["BridgeClient", "WebhookModel", "Console"], tuple[Any, str, int]]


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "webhooks",
        run,
        help_text="tell other systems of events",
        description="Tell other systems of what happens to runs, by signed HTTP requests, and see to those "
        "that were not taken.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "action", metavar="ACTION", nargs="?", default="list", choices=["list", "add", *_ACTIONS]
    )
    parser.add_argument("target", metavar="URL|WEBHOOK", nargs="?", help="what the action is about")
    parser.add_argument(
        "--type",
        metavar="TYPE",
        action="append",
        default=[],
        dest="types",
        help="add: only events of this type, such as run.settled or 'run.*' (repeatable)",
    )
    parser.add_argument("--project", metavar="NAME", default="", help="add: only events of this project")
    parser.add_argument("--description", metavar="TEXT", default="", help="add: what it is for")
    add_bridge_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do the action."""
    from bridge.client.errors import BridgeError

    if args.action != "list" and not args.target:
        what = "the URL" if args.action == "add" else "a webhook's id"
        raise CommandError(f"'kfbridge webhooks {args.action}' needs {what}")
    with open_client(args, console) as client:
        try:
            value, text, code = _act(client, args, console)
        except BridgeError as error:
            raise explain_bridge_error(error, f"webhooks {args.action}") from error
    if args.json:
        console.result_json(value)
    else:
        console.result(text)
    return code


def _act(client: BridgeClient, args: argparse.Namespace, console: Console) -> tuple[Any, str, int]:
    if args.action == "list":
        found = client.webhooks.list()
        items = [hook.model_dump(mode="json") for hook in found]
        return {"items": items}, _table(found, console) if found else "no webhook yet", SUCCEEDED
    if args.action == "add":
        made = client.webhooks.add(
            args.target, types=args.types, project=args.project, description=args.description
        )
        return made.model_dump(mode="json"), _with_secret(made), SUCCEEDED
    return _ACTIONS[args.action](client, _find(client, args.target), console)


def _find(client: BridgeClient, text: str) -> WebhookModel:
    found = [hook for hook in client.webhooks.list() if str(hook.webhook_id).startswith(text.lower())]
    if len(found) != 1 or len(text) < _SHORTEST_PREFIX:
        told = f"{len(found)} webhooks begin with {text}" if found else f"no webhook begins with {text}"
        raise CommandError(told, to_do="'kfbridge webhooks' lists them.")
    return found[0]


def _test(client: BridgeClient, hook: WebhookModel, _: Console) -> tuple[Any, str, int]:
    outcome = client.webhooks.test(hook.webhook_id)
    text = f"{hook.url} took it" if outcome.taken else f"{hook.url} did not take it: {outcome.error}"
    return outcome.model_dump(mode="json"), text, SUCCEEDED if outcome.taken else FAILED


def _dead(client: BridgeClient, hook: WebhookModel, console: Console) -> tuple[Any, str, int]:
    page = client.webhooks.deliveries(hook.webhook_id, state="dead", limit=_MOST_SHOWN)
    rows: list[tuple[str, ...]] = [
        (
            str(one.number),
            one.type,
            render.short_id(one.run_id) if one.run_id else "",
            render.age(one.created_at),
            str(one.attempts),
            one.error or "",
        )
        for one in page.items
    ]
    header = ("EVENT", "TYPE", "RUN", "AGE", "ATTEMPTS", "ERROR")
    text = "nothing was given up"
    if rows:
        text = "\n".join(render.table(header, rows, paint=console.paint, width=console.width))
    return page.model_dump(mode="json"), text, SUCCEEDED


def _redeliver(client: BridgeClient, hook: WebhookModel, _: Console) -> tuple[Any, str, int]:
    count = client.webhooks.redeliver(hook.webhook_id)
    return {"redelivered": count}, f"{count} messages are sent once more", SUCCEEDED


def _pause(client: BridgeClient, hook: WebhookModel, _: Console) -> tuple[Any, str, int]:
    return _changed(client, hook, active=False)


def _resume(client: BridgeClient, hook: WebhookModel, _: Console) -> tuple[Any, str, int]:
    return _changed(client, hook, active=True)


def _changed(client: BridgeClient, hook: WebhookModel, *, active: bool) -> tuple[Any, str, int]:
    changed = client.webhooks.change(hook.webhook_id, active=active)
    told = "gets what happened meanwhile, and what comes" if active else "gets nothing until it is resumed"
    return changed.model_dump(mode="json"), f"{hook.url} {told}", SUCCEEDED


def _rotate(client: BridgeClient, hook: WebhookModel, _: Console) -> tuple[Any, str, int]:
    made = client.webhooks.rotate(hook.webhook_id)
    return made.model_dump(mode="json"), _with_secret(made), SUCCEEDED


def _remove(client: BridgeClient, hook: WebhookModel, _: Console) -> tuple[Any, str, int]:
    client.webhooks.remove(hook.webhook_id)
    return {"removed": str(hook.webhook_id)}, f"{hook.url} is told nothing more", SUCCEEDED


_ACTIONS: Mapping[str, Action] = {
    "test": _test,
    "dead": _dead,
    "redeliver": _redeliver,
    "pause": _pause,
    "resume": _resume,
    "rotate": _rotate,
    "remove": _remove,
}


def _with_secret(hook: WebhookModel) -> str:
    return f"webhook {hook.webhook_id} to {hook.url}\nsecret  {hook.secret}  (not shown again)"


def _table(hooks: Any, console: Console) -> str:
    rows: list[tuple[str, ...]] = []
    for hook in hooks:
        state = "active" if hook.active else "paused"
        if hook.failing_since is not None:
            state = f"{state}, failing for {render.age(hook.failing_since)}"
        counts = hook.deliveries
        rows.append(
            (
                render.short_id(hook.webhook_id),
                hook.url,
                ", ".join(hook.types) or "all",
                hook.project or "all",
                state,
                str(counts.get("pending", 0)),
                str(counts.get("dead", 0)),
            )
        )
    header = ("WEBHOOK", "URL", "EVENTS", "PROJECT", "STATE", "PENDING", "DEAD")
    return "\n".join(render.table(header, rows, paint=console.paint, width=console.width))
