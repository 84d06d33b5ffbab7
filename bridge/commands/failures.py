"""Exit codes, and how a command says that it cannot do what was asked.

0 succeeded · 1 failed · 2 usage, or refused · 3 canceled · 4 timeout · 5 bridge unreachable ·
130 interrupted
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.client.errors import BridgeError, ProblemError
    from bridge.commands.console import Console

SUCCEEDED = 0
FAILED = 1
USAGE = 2
CANCELED = 3
TIMEOUT = 4
UNREACHABLE = 5
INTERRUPTED = 130

_TO_DO = {
    "invalid-arguments": "give every argument with -a NAME=VALUE, in the type that the pipeline declares.",
    "invalid-pipeline": "compile the pipeline again with kfp 2 and hand over the YAML that comes out.",
    "invalid-gate": "write the gate as a CEL expression, such as 'evaluate.auc >= last_good - 0.01'.",
    "unknown-backend": "name one of the backends above with --backend, or leave it out for the default one.",
    "unknown-pipeline": "hand over the compiled YAML file, or the name of a registered pipeline.",
    "key-reused": "use another --key for another submission, or the same file and arguments for the same.",
    "superseded": "a newer try has taken over; look at it with 'kfbridge runs'.",
    "not-found": "'kfbridge runs' lists the runs there are.",
    "not-retryable": "only a run that has failed or was canceled can be retried; submit it again instead.",
    "not-clearable": "look at the task in Airflow; 'kfbridge show' has the link.",
    "not-reproducible": "bring back what is gone, or leave out --exact.",
    "canceling": "wait until the earlier run is canceled, then try again.",
    "too-large": "make the pipeline or its arguments smaller; hand data over by URI, not by value.",
}


class CommandError(Exception):
    """A command that cannot go on: what happened, each detail on its own line, what to do about it."""

    def __init__(
        self,
        happened: str,
        *,
        details: Sequence[str] = (),
        to_do: str | None = None,
        exit_code: int = USAGE,
    ) -> None:
        super().__init__(happened)
        self.happened = happened
        self.details = tuple(details)
        self.to_do = to_do
        self.exit_code = exit_code

    def print_to(self, console: Console, *, as_json: bool) -> None:
        """Say it on ``err``, as text or as one JSON document."""
        if as_json:
            said = {
                "error": self.happened,
                "details": list(self.details),
                "to_do": self.to_do,
                "exit_code": self.exit_code,
            }
            console.note(json.dumps(said, ensure_ascii=False))
            return
        console.note(f"{console.paint('kfbridge:', 'red', stream=console.err)} {self.happened}")
        for detail in self.details:
            console.note(f"  {detail}")
        if self.to_do:
            console.note(f"What to do: {self.to_do}")


def explain_bridge_error(error: BridgeError, doing: str) -> CommandError:
    """What a failure of the client means for someone at a terminal; ``doing`` names what was tried."""
    from bridge.client.errors import BridgeBadAnswer, BridgeUnauthorized, BridgeUnreachable, ProblemError

    if isinstance(error, BridgeUnreachable):
        return CommandError(
            f"{doing} did not work: {error}.",
            to_do=f"see that 'kfbridge serve' runs at {error.url}, or name another bridge with --url or "
            "KFBRIDGE_URL.",
            exit_code=UNREACHABLE,
        )
    if isinstance(error, BridgeUnauthorized):
        return CommandError(
            f"{doing} was refused: {error}.", to_do="set KFBRIDGE_TOKEN to the API token of that bridge."
        )
    if isinstance(error, BridgeBadAnswer):
        return CommandError(
            f"{doing} did not work: {error}",
            to_do="check --url or KFBRIDGE_URL: it names the bridge (kfbridge serve), not KFP.",
            exit_code=UNREACHABLE,
        )
    if isinstance(error, ProblemError):
        return _explain_problem(error, doing)
    return CommandError(f"{doing} did not work: {error}")


def _explain_problem(error: ProblemError, doing: str) -> CommandError:
    problem = error.problem
    details = [field.detail for field in error.errors if field.detail]
    if problem.status >= 500:
        return CommandError(
            f"{doing} did not work: {problem.detail}",
            details=details,
            to_do="try again later; the log of 'kfbridge serve' tells more.",
            exit_code=UNREACHABLE,
        )
    said = problem.detail if not details else problem.title
    return CommandError(f"{doing} was refused: {said}", details=details, to_do=_TO_DO.get(error.slug))
