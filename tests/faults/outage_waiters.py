"""Tasks that wait for their runs and tasks that submit theirs, in one process of Airflow's environment.

``python -m tests.faults.outage_waiters FOLDER`` is started by ``test_outage``. The provider's own triggers
and clients are at work, without Airflow's scheduler; a clock that can be made to run faster takes the place
of this process's. In the folder, ``plan.json`` says what to do; ``waiting`` is made when all wait; when
``away`` is there, the others begin to submit and an hour passes; ``hour.json`` is made at its end,
``ended.json`` when nobody waits any more.
"""

from __future__ import annotations

from tests.support.quick_clock import QuickClock

CLOCK = QuickClock()
CLOCK.install()

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from airflow.triggers.base import BaseTrigger  # noqa: E402

from bridge.client.errors import BridgeError  # noqa: E402
from bridge.client.models import SubmitRequest  # noqa: E402
from bridge.provider import hub  # noqa: E402
from bridge.provider.hooks import KubeflowBridgeHook  # noqa: E402
from bridge.provider.operators import _SLOT_SECONDS  # noqa: E402
from bridge.provider.triggers import BridgeReadyTrigger, BridgeRunTrigger  # noqa: E402

CONN_ID = "kfbridge_default"


class Waiters:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plan = json.loads((folder / "plan.json").read_text())
        self._workers = ThreadPoolExecutor(len(self._plan["submissions"]))
        self._ended: dict[str, Any] = {}

    async def work(self) -> None:
        """Everything, from the first wait to the last end."""
        waiting = [asyncio.create_task(self._wait(run_id)) for run_id in self._plan["run_ids"]]
        while not self._all_answered():
            await asyncio.sleep(0.05)
        self._write("waiting", True)
        while not (self._folder / "away").exists():
            await asyncio.sleep(0.05)
        submitting = [
            asyncio.create_task(self._submit(number, body))
            for number, body in enumerate(self._plan["submissions"])
        ]
        await self._let_an_hour_pass()
        await asyncio.gather(*waiting, *submitting)
        self._write("ended.json", {**self._ended, "ahead": CLOCK.ahead()})

    async def _let_an_hour_pass(self) -> None:
        began = time.monotonic()
        CLOCK.set_rate(self._plan["rate"])
        while time.monotonic() - began < self._plan["away_seconds"]:
            await asyncio.sleep(1.0)
        CLOCK.set_rate(1.0)
        [one] = hub._hubs[asyncio.get_running_loop()].values()
        told = {"seconds": time.monotonic() - began, "ended": self._ended, "trouble": str(one.trouble)}
        self._write("hour.json", told)

    async def _wait(self, run_id: str) -> None:
        """As a deferred task does, in the triggerer."""
        trigger = BridgeRunTrigger(
            run_id=run_id,
            kfbridge_conn_id=CONN_ID,
            task={"dag_id": "faults", "dag_run_id": "outage", "task_id": run_id, "map_index": -1},
            submission_key=None,
            try_number=1,
            patience_seconds=self._plan["patience_seconds"],
        )
        event = await _fired(trigger)
        self._ended[run_id] = {"ending": event["ending"], "state": event["state"], "at": time.time()}

    async def _submit(self, number: int, body: dict[str, Any]) -> None:
        """As the operator does: on a worker while it may hold a slot, then in the triggerer, and again."""
        give_up_at = time.time() + self._plan["patience_seconds"]
        request = SubmitRequest.model_validate(body)
        loop = asyncio.get_running_loop()
        while True:
            try:
                run_id = await loop.run_in_executor(self._workers, self._submit_here, request)
            except BridgeError as error:
                if not error.transient:
                    raise
            else:
                self._ended[f"submission {number}"] = {"ending": "over", "state": run_id, "at": time.time()}
                return
            event = await _fired(BridgeReadyTrigger(kfbridge_conn_id=CONN_ID, give_up_at=give_up_at))
            if event["ending"] != "over":
                self._ended[f"submission {number}"] = {**event, "at": time.time()}
                return

    def _submit_here(self, request: SubmitRequest) -> str:
        settings = KubeflowBridgeHook(CONN_ID).get_settings()
        with settings.client(patience_seconds=_SLOT_SECONDS) as client:
            return str(client.submit(request, waits=True).run_id)

    def _all_answered(self) -> bool:
        hubs = hub._hubs.get(asyncio.get_running_loop(), {}).values()
        followed = [one for each in hubs for one in each._followed.values()]
        return len(followed) == len(self._plan["run_ids"]) and all(one.answers for one in followed)

    def _write(self, name: str, content: Any) -> None:
        partial = self._folder / f"{name}.partial"
        partial.write_text(json.dumps(content))
        partial.rename(self._folder / name)


async def _fired(trigger: BaseTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise RuntimeError("the trigger ended without an event")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=CLOCK.loop) as runner:
        runner.run(Waiters(Path(sys.argv[1])).work())
