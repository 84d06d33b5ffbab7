"""What waits in the triggerer: for a run to be over, or for a bridge that is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bridge.provider.compat import conf
from bridge.provider.hooks import KubeflowBridgeHook
from bridge.provider.hub import HubSource
from bridge.provider.killing import OnBehalf, State, Unknown, ask_state, cancel_run, ended_for_good
from bridge.provider.origin import TaskKey
from bridge.provider.waiting import Waited, wait_for_bridge, wait_for_run

# Airflow gives on_kill 30 s. The first question to a triggerer loads Airflow's API into its supervisor,
# which was seen to take more than 20 s on a busy machine: deciding goes on after on_kill has returned.
_ON_KILL_SECONDS = 25.0
_ASK_STATE_SECONDS = 300.0
_CANCEL_SECONDS = 60.0
# Beside the worker's part, what the scheduler needs to hear of a deferral; see ``shortest_deferral_seconds``.
_SCHEDULER_SECONDS = 2.0
# A triggerer looks for new triggers once a second. One that is later than this is on a busy machine, on which
# worker and scheduler are late as well; the most that counts of it, for clocks may differ.
_USUAL_LATENESS_SECONDS = 1.0
_MOST_LATENESS_SECONDS = 10.0
# The event loop itself keeps only weak references to tasks.
_deciding: set[asyncio.Task[None]] = set()


class BridgeRunTrigger(BaseTrigger):
    """Waits for one run of the bridge and fires one event.

    The event's payload is ``{"ending": "over" | "timeout" | "away" | "gone", "run_id", "state", "message",
    "deadline"}``.

    :param run_id: the bridge's id of the run.
    :param kfbridge_conn_id: the connection to the bridge.
    :param task: ``dag_id``, ``dag_run_id``, ``task_id`` and ``map_index`` of the waiting task.
    :param submission_key: the run's submission, and
    :param try_number: the try that waits; both go with a cancel.
    :param patience_seconds: how long the bridge may be away.
    :param deadline: seconds since the epoch when waiting ends with ``timeout``; ``None`` for never.
    :param kill_policy: ``cancel`` or ``detach``: what a kill of the waiting task means for the run.
    :param deferred_at: seconds since the epoch when the task deferred; see ``not_too_soon``.
    """

    def __init__(
        self,
        *,
        run_id: str,
        kfbridge_conn_id: str,
        task: dict[str, Any],
        submission_key: str | None,
        try_number: int,
        patience_seconds: float = 3600.0,
        deadline: float | None = None,
        kill_policy: str = "cancel",
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run_id = run_id
        self.kfbridge_conn_id = kfbridge_conn_id
        self.waiting_task = TaskKey(**task)
        self.behalf = OnBehalf(run_id=run_id, submission_key=submission_key, try_number=try_number)
        self.patience_seconds = patience_seconds
        self.deadline = deadline
        self.kill_policy = kill_policy
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and arguments of an equal trigger, JSON primitives only."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "run_id": self.run_id,
                "kfbridge_conn_id": self.kfbridge_conn_id,
                "task": asdict(self.waiting_task),
                "submission_key": self.behalf.submission_key,
                "try_number": self.behalf.try_number,
                "patience_seconds": self.patience_seconds,
                "deadline": self.deadline,
                "kill_policy": self.kill_policy,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits, and yields the one event."""
        began = time.monotonic()
        hook = KubeflowBridgeHook(self.kfbridge_conn_id)
        async with HubSource(await hook.aget_settings(), reread=hook.aget_settings) as source:
            waited = await wait_for_run(
                source,
                self.run_id,
                patience_seconds=self.patience_seconds,
                deadline=self.deadline,
                tell=self.log.info,
            )
        await not_too_soon(began, self.deferred_at)
        yield TriggerEvent(_payload(self.run_id, waited, self.deadline))

    async def on_kill(self) -> None:
        """Cancels the run if the task has ended for good.

        Airflow calls this also when the trigger only moves to another triggerer, and late when a
        cleared task is waiting again already; in both cases the run belongs to somebody.
        """
        if self.kill_policy == "detach":
            self.log.info("The task was killed; run %s goes on, as on_kill='detach' says.", self.run_id)
            return
        deciding = asyncio.create_task(self._cancel_if_ended(), name=f"kill of run {self.run_id}")
        _deciding.add(deciding)
        deciding.add_done_callback(_deciding.discard)
        done, _ = await asyncio.wait({deciding}, timeout=_ON_KILL_SECONDS)
        if not done:
            self.log.info(
                "Airflow is slow to tell the task's state; run %s is decided on later.", self.run_id
            )

    async def _cancel_if_ended(self) -> None:
        state = await self._task_state()
        word = state.value if isinstance(state, Unknown) else state
        if not ended_for_good(state):
            self.log.info(
                "Run %s is left to the task's next attempt: the task's state is %s.", self.run_id, word
            )
            return
        reason = f"the Airflow task that waited for it is {word}"
        try:
            settings = await KubeflowBridgeHook(self.kfbridge_conn_id).aget_settings()
            async with settings.async_client(patience_seconds=0) as client:
                await cancel_run(
                    client, self.behalf, reason=reason, tell=self.log.info, seconds=_CANCEL_SECONDS
                )
        except Exception:
            # Nobody awaits this any more if Airflow was slow; the log is the only place to say it.
            self.log.exception("Run %s could not be cancelled.", self.run_id)

    async def _task_state(self) -> State:
        """The state, or ``Unknown.UNASKED`` when Airflow does not tell: then nothing is cancelled,
        because a run that goes on can still be cancelled and a cancelled one cannot go on."""
        try:
            async with asyncio.timeout(_ASK_STATE_SECONDS):
                return await asyncio.to_thread(ask_state, self.waiting_task)
        except Exception as error:
            self.log.warning("Airflow does not tell the state of the killed task: %r", error)
            return Unknown.UNASKED


class BridgeReadyTrigger(BaseTrigger):
    """Waits until a bridge answers, so that a submission need not hold a worker's slot meanwhile.

    The event's payload is ``{"ending": "over" | "away", "message", "deadline", "give_up_at"}``.

    :param kfbridge_conn_id: the connection to the bridge.
    :param give_up_at: seconds since the epoch; how long the bridge may be away.
    :param deadline: handed back with the event, so that the task's time goes on counting.
    :param deferred_at: seconds since the epoch when the task deferred; see ``not_too_soon``.
    """

    def __init__(
        self,
        *,
        kfbridge_conn_id: str,
        give_up_at: float,
        deadline: float | None = None,
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kfbridge_conn_id = kfbridge_conn_id
        self.give_up_at = give_up_at
        self.deadline = deadline
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and arguments of an equal trigger, JSON primitives only."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "kfbridge_conn_id": self.kfbridge_conn_id,
                "give_up_at": self.give_up_at,
                "deadline": self.deadline,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits, and yields the one event."""
        began = time.monotonic()
        patience = max(0.0, self.give_up_at - time.time())
        hook = KubeflowBridgeHook(self.kfbridge_conn_id)
        async with HubSource(await hook.aget_settings(), reread=hook.aget_settings) as source:
            waited = await wait_for_bridge(source, patience_seconds=patience, tell=self.log.info)
        await not_too_soon(began, self.deferred_at)
        yield TriggerEvent(
            {
                "ending": waited.ending,
                "message": waited.message,
                "deadline": self.deadline,
                "give_up_at": self.give_up_at,
            }
        )


def shortest_deferral_seconds() -> float:
    """How long a trigger waits at least before it fires.

    Airflow fails a task that is running again when its scheduler hears of the deferral
    (apache/airflow#72716, open in 3.3.2). The worker's supervisor tells it up to one heartbeat interval
    late: with the default of 5 s, runs that ended within 3 s of the deferral were seen to fail their task.
    """
    return float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + _SCHEDULER_SECONDS


async def not_too_soon(began: float, deferred_at: float | None = None) -> None:
    """Waits until a trigger that began to run then (``time.monotonic()``) may resume its task, which deferred
    at ``deferred_at`` (seconds since the epoch): the longer, the later the trigger began after that."""
    late = 0.0
    if deferred_at is not None:
        began_at = time.time() - (time.monotonic() - began)
        late = min(max(0.0, began_at - deferred_at - _USUAL_LATENESS_SECONDS), _MOST_LATENESS_SECONDS)
    shortest = shortest_deferral_seconds() * (1.0 + late)
    await asyncio.sleep(max(0.0, began + shortest - time.monotonic()))


def _payload(run_id: str, waited: Waited, deadline: float | None) -> dict[str, Any]:
    return {
        "ending": waited.ending,
        "run_id": run_id,
        "state": None if waited.run is None else waited.run.state,
        "message": waited.message,
        "deadline": deadline,
    }
