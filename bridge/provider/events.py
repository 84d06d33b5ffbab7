"""Runs that the bridge saw end, as events that an ``AssetWatcher`` turns into asset events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from bridge.client.errors import BridgeError
from bridge.provider.hooks import DEFAULT_CONN_ID, KubeflowBridgeHook
from bridge.provider.outlets import run_facts

if TYPE_CHECKING:
    from bridge.client.api import AsyncBridgeClient
    from bridge.client.models import EventModel

# A run that ended, its metrics and artifacts stored and its gate judged; or that never can get so far.
_ENDINGS = frozenset({"run.settled", "run.rejected", "run.lost"})
_POSITION = "kfbridge_last_event"
# Between two connections, when the bridge refuses one for longer than a client is patient.
_PAUSE_SECONDS = 10.0
_TOLD = ("run_id", "kfp_run_id", "state", "phase", "good", "pipeline", "project", "backend")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndFilter:
    """Which ends of runs count; what is empty does not narrow."""

    pipelines: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    good: bool | None = None

    def takes(self, event: EventModel) -> bool:
        """Whether the event tells of the end of such a run."""
        told = event.data
        return (
            event.type in _ENDINGS
            and (not self.pipelines or told.get("pipeline") in self.pipelines)
            and (not self.states or told.get("state") in self.states)
            and (not self.projects or told.get("project") in self.projects)
            and (self.good is None or told.get("good") is self.good)
        )


class KubeflowEventTrigger(BaseEventTrigger):
    """Fires for each run that the bridge saw end, whoever started it: Airflow, a notebook, KFP's own UI.

    All triggers of one connection share one event stream per triggerer. The number of the last event
    that was handled is kept in Airflow's store of the watched asset, so that a triggerer that starts
    again misses nothing; what was fired but not yet noted comes a second time.

    The event's payload is what ``outlets`` of the operator tell of a run (state, metrics, models …), and
    ``number``, ``project``, ``backend`` and ``phase``.

    :param pipeline: the pipeline's name, or several; any if absent.
    :param states: KFP's final states, such as ``["SUCCEEDED"]``; any if absent.
    :param project: the bridge's project, or several; any if absent.
    :param good: ``True`` for good runs only (succeeded, and the gate passed), ``False`` for all others.
    :param kfbridge_conn_id: the connection to the bridge.
    """

    # Who will read a stream that is about to be opened: it starts where the last of them stopped.
    _readers: ClassVar[dict[Hashable, WeakSet[KubeflowEventTrigger]]] = {}

    def __init__(
        self,
        *,
        pipeline: str | Iterable[str] | None = None,
        states: str | Iterable[str] | None = None,
        project: str | Iterable[str] | None = None,
        good: bool | None = None,
        kfbridge_conn_id: str = DEFAULT_CONN_ID,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kfbridge_conn_id = kfbridge_conn_id
        self.ends = EndFilter(
            pipelines=_names(pipeline),
            states=tuple(state.upper() for state in _names(states)),
            projects=_names(project),
            good=good,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and arguments of an equal trigger, JSON primitives only."""
        ends = asdict(self.ends)
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "pipeline": list(ends["pipelines"]),
                "states": list(ends["states"]),
                "project": list(ends["projects"]),
                "good": ends["good"],
                "kfbridge_conn_id": self.kfbridge_conn_id,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """The connection: its events are read once for all triggers of a triggerer."""
        key = _key(self.kfbridge_conn_id)
        self._readers.setdefault(key, WeakSet()).add(self)
        return key

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[EventModel]:
        """The ends of runs, from where the readers stopped; never ends, whatever the bridge does."""
        conn_id = kwargs["kfbridge_conn_id"]
        hook = KubeflowBridgeHook(conn_id)
        last = await cls._lowest_position(_key(conn_id))
        while True:
            try:
                async with (await hook.aget_settings()).async_client() as client:
                    async for event in client.events(last):
                        last = event.number
                        if event.type in _ENDINGS:
                            yield event
            except BridgeError as error:
                hook.log.warning("The bridge's events cannot be read: %s. Trying again.", error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[EventModel]
    ) -> AsyncIterator[TriggerEvent]:
        """This trigger's events of the shared stream."""
        last = await self._position()
        async for event in shared_stream:
            # The stream began where the slowest of its readers had stopped.
            if last is not None and event.number <= last:
                continue
            if self.ends.takes(event):
                yield TriggerEvent(await self._payload(event))
            last = event.number
            await self._note_position(last)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """For an Airflow without shared streams: a stream of this trigger's own."""
        self.shared_stream_key()
        async for event in self.filter_shared_stream(self.open_shared_stream(self.serialize()[1])):
            yield event

    async def _payload(self, event: EventModel) -> dict[str, Any]:
        told = {name: event.data.get(name) for name in _TOLD}
        payload = {"number": event.number, "time": event.time.isoformat(), **told}
        settings = await KubeflowBridgeHook(self.kfbridge_conn_id).aget_settings()
        async with settings.async_client() as client:
            try:
                return {**payload, **await _facts(client, str(event.run_id))}
            except BridgeError as error:
                self.log.warning("Run %s cannot be read: %s. Its event says less.", event.run_id, error)
                return payload

    @property
    def _store(self) -> Any:
        """What Airflow keeps for the watched asset; nothing before 3.3."""
        return getattr(self, "asset_state_store", None)

    async def _position(self) -> int | None:
        """The last event that was handled; ``None`` at the first start, and where Airflow keeps nothing."""
        if self._store is None:
            return None
        try:
            stored = await self._store.aget(_POSITION)
        except (AirflowRuntimeError, ValueError) as error:
            self.log.warning("Airflow does not tell which event was the last one handled: %s", error)
            return None
        return stored if isinstance(stored, int) else None

    async def _note_position(self, number: int) -> None:
        if self._store is None:
            return
        try:
            await self._store.aset(_POSITION, number)
        except (AirflowRuntimeError, ValueError) as error:
            self.log.warning("Airflow does not keep that event %s was handled: %s", number, error)

    @classmethod
    async def _lowest_position(cls, key: Hashable) -> int | None:
        """Where the reader that is furthest behind stopped; ``None``, which is now, if nobody ever did."""
        positions = [await reader._position() for reader in list(cls._readers.get(key, ()))]
        return min((position for position in positions if position is not None), default=None)


def _key(conn_id: str) -> Hashable:
    return ("kfbridge-events", conn_id)


def _names(names: str | Iterable[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


async def _facts(client: AsyncBridgeClient, run_id: str) -> dict[str, Any]:
    run = await client.get_run(run_id)
    artifacts, metrics = await client.artifacts(run_id), await client.metrics(run_id)
    return run_facts(run, artifacts, metrics.scalars)
