"""What waits in the triggerer for one task of a run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from bridge.provider.hooks import KubeflowBridgeHook
from bridge.provider.hub import HubSource
from bridge.provider.task_waiting import wait_for_task
from bridge.provider.taskgroup_verdict import Wanted
from bridge.provider.triggers import not_too_soon


class KubeflowTaskTrigger(BaseTrigger):
    """Waits for one task of a run of the bridge and fires one event.

    The event's payload is ``{"ending": "judged" | "timeout" | "away" | "gone", "run_id", "message",
    "deadline", "revived"}``. That the waiting task is killed means nothing for the run, which its
    sibling tasks follow too.

    :param run_id: the bridge's id of the run.
    :param kfbridge_conn_id: the connection to the bridge.
    :param path: the task's path in the pipeline; ``loop``, ``retries`` and ``again`` as in ``Wanted``.
    :param at_least_version: what is older of the run does not count.
    :param revived: handed back with the event: whether this try has seen to the run's retry.
    :param patience_seconds: how long the bridge may be away.
    :param deadline: seconds since the epoch when waiting ends with ``timeout``; ``None`` for never.
    :param deferred_at: seconds since the epoch when the task deferred; see ``not_too_soon``.
    """

    def __init__(
        self,
        *,
        run_id: str,
        kfbridge_conn_id: str,
        path: str,
        loop: bool = False,
        retries: int = 0,
        again: bool = False,
        at_least_version: int = 0,
        revived: bool = False,
        patience_seconds: float = 3600.0,
        deadline: float | None = None,
        deferred_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run_id = run_id
        self.kfbridge_conn_id = kfbridge_conn_id
        self.wanted = Wanted(path=path, loop=loop, retries=retries, again=again)
        self.at_least_version = at_least_version
        self.revived = revived
        self.patience_seconds = patience_seconds
        self.deadline = deadline
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and arguments of an equal trigger, JSON primitives only."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "run_id": self.run_id,
                "kfbridge_conn_id": self.kfbridge_conn_id,
                "path": self.wanted.path,
                "loop": self.wanted.loop,
                "retries": self.wanted.retries,
                "again": self.wanted.again,
                "at_least_version": self.at_least_version,
                "revived": self.revived,
                "patience_seconds": self.patience_seconds,
                "deadline": self.deadline,
                "deferred_at": self.deferred_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits, and yields the one event."""
        began = time.monotonic()
        hook = KubeflowBridgeHook(self.kfbridge_conn_id)
        settings = await hook.aget_settings()
        waited = await wait_for_task(
            lambda: HubSource(settings, reread=hook.aget_settings),
            self.run_id,
            self.wanted,
            shared_by=settings,
            patience_seconds=self.patience_seconds,
            deadline=self.deadline,
            at_least_version=self.at_least_version,
            tell=self.log.info,
        )
        await not_too_soon(began, self.deferred_at)
        yield TriggerEvent(
            {
                "ending": waited.ending,
                "run_id": self.run_id,
                "message": waited.judgement.reason if waited.judgement else waited.message,
                "deadline": self.deadline,
                "revived": self.revived,
            }
        )
