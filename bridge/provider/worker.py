"""Waiting on a worker, and being killed there."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from bridge.provider.compat import AirflowTaskTimeout
from bridge.provider.killing import (
    KILL_SECONDS,
    OnBehalf,
    State,
    Unknown,
    ask_state,
    cancel_run,
    ended_for_good,
)
from bridge.provider.origin import TaskKey
from bridge.provider.waiting import Waited, wait_for_run

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import RunModel
    from bridge.provider.hooks import BridgeSettings
    from bridge.provider.operators import KubeflowPipelineOperator

# A worker process that is told to stop is killed five seconds later.
_STOP_SECONDS = 4.5
_ASK_SECONDS = 2.0


class WorkerWait:
    """One stay of a task on a worker, from its submission on.

    ``behalf`` is the run that a kill would cancel; ``None`` until the bridge has it.
    """

    def __init__(self, task: KubeflowPipelineOperator, context: Context, settings: BridgeSettings) -> None:
        self._task = task
        self._settings = settings
        self._key = TaskKey.from_context(context)
        self._try_number = int(context["ti"].try_number)
        self._tries_left = self._try_number <= context["ti"].max_tries
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Task[Waited] | None = None
        self._killed_early = False
        self.behalf: OnBehalf | None = None

    def has_run(self, run: RunModel) -> None:
        """The bridge has the run. Raises ``AirflowException`` if the task was killed meanwhile."""
        self.behalf = OnBehalf(
            run_id=str(run.run_id),
            submission_key=None if run.submission_key is None else str(run.submission_key),
            try_number=self._try_number,
        )
        if self._killed_early:
            self._after_stop_signal()
            raise AirflowException("The task was killed while it submitted its run.")

    def until_over(self, run: RunModel, deadline: float | None) -> Waited:
        """Waits on this worker. Raises ``AirflowException`` when the task is killed meanwhile."""
        if self.behalf is None:
            self.has_run(run)
        try:
            return asyncio.run(self._wait(str(run.run_id), deadline))
        except asyncio.CancelledError:
            raise AirflowException("The task was killed while it waited for its run.") from None

    def killed(self) -> None:
        """Airflow says that the task has to stop: by a signal, or because its execution_timeout passed."""
        if isinstance(sys.exception(), AirflowTaskTimeout):
            # Called from where Airflow handles the timeout: the task's state is still running then.
            self.cancel("the Airflow task's execution_timeout passed")
            return
        if self.behalf is None:
            self._killed_early = True
            return
        self._after_stop_signal()
        if self._loop is not None and self._waiter is not None:
            self._loop.call_soon_threadsafe(self._waiter.cancel)

    def cancel(self, reason: str, seconds: float = KILL_SECONDS) -> None:
        """Cancels the run, unless ``on_kill="detach"``; tells what it did."""
        if self.behalf is None:
            return
        if self._task.kill_policy == "detach":
            self._task.log.info("Run %s goes on, as on_kill='detach' says.", self.behalf.run_id)
            return
        # A signal can arrive while this thread runs an event loop, in which no second one can run.
        thread = threading.Thread(target=self._cancel_here, args=(reason, seconds), daemon=True)
        thread.start()
        thread.join(seconds + 1.0)

    def _after_stop_signal(self) -> None:
        state = self._ask_state()
        word = state.value if isinstance(state, Unknown) else state
        if ended_for_good(state) or (state is Unknown.UNASKED and not self._tries_left):
            self.cancel(f"the Airflow task is {word}", _STOP_SECONDS - _ASK_SECONDS)
        elif state == "running" and not self._tries_left:
            self.cancel("the Airflow task was stopped in its last try", _STOP_SECONDS - _ASK_SECONDS)
        else:
            self._task.log.info("The run is left to the task's next attempt: the task's state is %s.", word)

    def _ask_state(self) -> State:
        """The task instance's state. Asked in a thread: the signal may have interrupted another question."""
        answer: list[State] = []

        def ask() -> None:
            try:
                answer.append(ask_state(self._key))
            except Exception as error:
                self._task.log.warning("Airflow does not tell the state of the killed task: %r", error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(_ASK_SECONDS)
        return answer[0] if answer else Unknown.UNASKED

    def _cancel_here(self, reason: str, seconds: float) -> None:
        asyncio.run(self._send_cancel(reason, seconds))

    async def _send_cancel(self, reason: str, seconds: float) -> None:
        if self.behalf is None:
            return
        async with self._settings.async_client(timeout_seconds=seconds, patience_seconds=0) as client:
            await cancel_run(client, self.behalf, reason=reason, tell=self._task.log.info, seconds=seconds)

    async def _wait(self, run_id: str, deadline: float | None) -> Waited:
        async with self._settings.async_client(patience_seconds=0) as client:
            self._loop = asyncio.get_running_loop()
            self._waiter = asyncio.ensure_future(
                wait_for_run(
                    client,
                    run_id,
                    patience_seconds=self._task.patience_seconds,
                    deadline=deadline,
                    tell=self._task.log.info,
                )
            )
            try:
                return await self._waiter
            finally:
                self._loop = self._waiter = None
