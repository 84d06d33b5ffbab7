"""Finding the run that a sensor waits for, and waiting for it; in the triggerer or on a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bridge.client.errors import BridgeError
from bridge.domain.states import RunPhase
from bridge.provider.hooks import KubeflowBridgeHook
from bridge.provider.triggers import not_too_soon
from bridge.provider.waiting import Outage, RunSource, Tell, Waited, may_pass, wait_for_run

if TYPE_CHECKING:
    from bridge.client.models import Page, RunModel


class ListingSource(RunSource, Protocol):
    """What finding needs of the bridge beside waiting; ``AsyncBridgeClient`` is one."""

    async def list_runs(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Any
    ) -> Page[RunModel]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The run that is waited for: the one with ``run_id``, else the newest that has everything else
    that is named here. ``created_after`` is a moment with a zone, in ISO 8601."""

    run_id: str | None = None
    pipeline: str | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    project: str | None = None
    backend: str | None = None
    created_after: str | None = None

    def filters(self) -> dict[str, Any]:
        """What narrows ``GET /runs`` to this."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.filters().items())


async def wait_for_wanted(
    source: ListingSource,
    wanted: Wanted,
    *,
    look_seconds: float,
    patience_seconds: float,
    deadline: float | None,
    tell: Tell,
    wall_clock: Callable[[], float] = time.time,
) -> Waited:
    """Waits until there is such a run and it is over.

    While there is none, the bridge is asked every ``look_seconds``. A run that has a newer one in its
    place by the time it is over is not the answer: that one is waited for.
    """
    waiting = _wait(source, wanted, look_seconds, Outage(patience_seconds, tell))
    if deadline is None:
        return await waiting
    try:
        async with asyncio.timeout(max(0.0, deadline - wall_clock())):
            return await waiting
    except TimeoutError:
        return Waited(ending="timeout", message=f"the time to wait for the run is up ({wanted})")


async def _wait(source: ListingSource, wanted: Wanted, look_seconds: float, outage: Outage) -> Waited:
    run_id, told = wanted.run_id, False
    while True:
        if run_id is None:
            found = await _newest(source, wanted.filters(), outage)
            if isinstance(found, Waited):
                return found
            if found is None:
                if not told:
                    outage.tell(f"There is no run yet with {wanted}; looking every {look_seconds:g} s.")
                    told = True
                await asyncio.sleep(look_seconds)
                continue
            run_id = str(found.run_id)
        waited = await wait_for_run(
            source, run_id, patience_seconds=outage.patience_seconds, tell=outage.tell
        )
        if waited.run is None:
            return waited
        newer = await _newest(source, _place_of(waited.run, wanted), outage)
        if isinstance(newer, Waited):
            return newer
        if newer is None or newer.run_id == waited.run.run_id:
            return waited
        outage.tell(f"Run {newer.run_id} has taken the place of run {run_id}.")
        run_id = str(newer.run_id)


def _place_of(run: RunModel, wanted: Wanted) -> dict[str, Any]:
    """The filters whose newest run counts instead of one that is over.

    An attempt that the bridge gave up, because nobody could tell whether the backend had it, has a
    successor; any other run that was asked for by its id is the answer itself.
    """
    if wanted.run_id is None:
        return wanted.filters()
    if run.phase == RunPhase.ABANDONED and run.submission_key is not None:
        return {"submission_key": run.submission_key}
    return {"ids": [run.run_id]}


async def _newest(source: ListingSource, filters: dict[str, Any], outage: Outage) -> RunModel | Waited | None:
    while True:
        try:
            items = (await source.list_runs(limit=1, **filters)).items
        except BridgeError as error:
            if not may_pass(error):
                return Waited(ending="gone", message=str(error))
            pause = outage.pause_after(error)
            if pause is None:
                return Waited(ending="away", message=str(error))
            await asyncio.sleep(pause)
        else:
            outage.over()
            return items[0] if items else None


class BridgeSensorTrigger(BaseTrigger):
    """Waits for a run that somebody else asked for, and fires one event. A kill cancels nothing.

    The event's payload is ``{"ending": "over" | "timeout" | "away" | "gone", "run_id", "state", "message",
    "deadline"}``.

    :param wanted: the fields of ``Wanted``.
    :param kfbridge_conn_id: the connection to the bridge.
    :param look_seconds: how often to ask while there is no such run.
    :param patience_seconds: how long the bridge may be away.
    :param deadline: seconds since the epoch when waiting ends with ``timeout``; ``None`` for never.
    :param deferred_at: seconds since the epoch when the task deferred; see ``not_too_soon``.
    """

    def __init__(
        self,
        *,
        wanted: dict[str, Any],
        kfbridge_conn_id: str,
        look_seconds: float,
        patience_seconds: float = 3600.0,
        deadline: float | None = None,
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wanted = Wanted(**wanted)
        self.kfbridge_conn_id = kfbridge_conn_id
        self.look_seconds = look_seconds
        self.patience_seconds = patience_seconds
        self.deadline = deadline
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and arguments of an equal trigger, JSON primitives only."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "wanted": self.wanted.filters(),
                "kfbridge_conn_id": self.kfbridge_conn_id,
                "look_seconds": self.look_seconds,
                "patience_seconds": self.patience_seconds,
                "deadline": self.deadline,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits, and yields the one event."""
        began = time.monotonic()
        settings = await KubeflowBridgeHook(self.kfbridge_conn_id).aget_settings()
        async with settings.async_client(patience_seconds=0) as client:
            waited = await wait_for_wanted(
                client,
                self.wanted,
                look_seconds=self.look_seconds,
                patience_seconds=self.patience_seconds,
                deadline=self.deadline,
                tell=self.log.info,
            )
        await not_too_soon(began, self.deferred_at)
        yield TriggerEvent(
            {
                "ending": waited.ending,
                "run_id": None if waited.run is None else str(waited.run.run_id),
                "state": None if waited.run is None else waited.run.state,
                "message": waited.message,
                "deadline": self.deadline,
            }
        )
