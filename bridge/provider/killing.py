"""Whether a killed task's run is to be cancelled, and the cancelling itself.

A kill can mean that somebody ended the task, that it was cleared and its next attempt is on the way,
or only that a trigger or a worker moves. The task instance's state tells them apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bridge.client.errors import BridgeError, ProblemError

if TYPE_CHECKING:
    from bridge.client.api import AsyncBridgeClient
    from bridge.provider.origin import TaskKey

# For a cancel that nothing hurries: the task's time was up, and its worker lives on.
KILL_SECONDS = 20.0
_ENDED = frozenset({"failed", "success", "skipped", "removed", "upstream_failed"})


class Unknown(Enum):
    """The states for which there is no word: the task instance is gone, or could not be asked for."""

    GONE = "gone"
    UNASKED = "unasked"


State = str | None | Unknown


def ended_for_good(state: State) -> bool:
    """Whether nobody will follow the run of a task in this state: failed, success, skipped or gone.

    Every other state, ``None`` included, belongs to a next attempt, which decides by ``on_clear``.
    """
    return state is Unknown.GONE or (isinstance(state, str) and state in _ENDED)


def read_state(states: dict[str, Any], key: TaskKey) -> State:
    """The state in an answer of ``RuntimeTaskInstance.get_task_states``."""
    of_run = states.get(key.dag_run_id) or {}
    name = key.task_id if key.map_index < 0 else f"{key.task_id}_{key.map_index}"
    if name not in of_run:
        return Unknown.GONE
    state = of_run[name]
    return None if state is None else str(getattr(state, "value", state))


def ask_state(key: TaskKey) -> State:
    """The task instance's state now, asked of Airflow; blocks, so an event loop calls it in a thread."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=key.dag_id,
        task_ids=[key.task_id],
        run_ids=[key.dag_run_id],
        map_index=key.map_index if key.map_index >= 0 else None,
    )
    return read_state(states, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBehalf:
    """The try for which a cancel is sent; the bridge refuses one of a superseded try."""

    run_id: str
    submission_key: str | None
    try_number: int


async def cancel_run(
    client: AsyncBridgeClient,
    behalf: OnBehalf,
    *,
    reason: str,
    tell: Callable[[str], None],
    seconds: float = KILL_SECONDS,
) -> bool:
    """Sends the cancel, repeating what may pass within ``seconds``; whether the bridge took it."""
    until = time.monotonic() + seconds
    while True:
        try:
            await client.cancel(
                behalf.run_id,
                key=UUID(behalf.submission_key) if behalf.submission_key else None,
                try_number=behalf.try_number if behalf.submission_key else None,
                reason=reason,
            )
        except ProblemError as error:
            if not error.transient:
                tell(f"Run {behalf.run_id} was not cancelled: {error}")
                return False
            problem: BridgeError = error
        except BridgeError as error:
            problem = error
        else:
            tell(f"Asked the bridge to cancel run {behalf.run_id}: {reason}")
            return True
        if time.monotonic() + 1.0 > until:
            tell(f"Run {behalf.run_id} could not be cancelled: {problem}. Cancel it by hand: kfbridge cancel")
            return False
        await asyncio.sleep(1.0)
