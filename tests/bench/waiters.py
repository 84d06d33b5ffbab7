"""Triggers that wait in one process, as in a triggerer; run in Airflow's environment by ``waiting``.

``python -m tests.bench.waiters IDS FOLDER``: waits for the runs named in the file IDS, writes
``idle.json`` once all wait and an idle stretch is measured, and ``ended.json`` when all runs are over.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from bridge.provider import hub
from bridge.provider.triggers import BridgeRunTrigger

IDLE_SECONDS = 30.0


async def _fire(run_id: str, fired: dict[str, float]) -> None:
    trigger = BridgeRunTrigger(
        run_id=run_id,
        kfbridge_conn_id="kfbridge_default",
        task={"dag_id": "bench", "dag_run_id": "r", "task_id": "t", "map_index": -1},
        submission_key=None,
        try_number=1,
    )
    async for event in trigger.run():
        if event.payload["ending"] != "over":
            raise RuntimeError(f"run {run_id} ended as {event.payload}")
        fired[run_id] = time.time()


def _all_answered(count: int) -> bool:
    hubs = list(hub._hubs.get(asyncio.get_running_loop(), {}).values())
    followed = [one for each in hubs for one in each._followed.values()]
    return len(followed) == count and all(one.answers for one in followed)


async def _measure(ids: list[str], folder: Path) -> None:
    process = psutil.Process()
    memory_before, began, fired = process.memory_info().rss, time.monotonic(), {}
    triggers = [asyncio.create_task(_fire(run_id, fired)) for run_id in ids]
    while not _all_answered(len(ids)):
        await asyncio.sleep(0.02)
    start_seconds = time.monotonic() - began
    cpu, began = process.cpu_times(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    cpu_idle, minutes = process.cpu_times(), (time.monotonic() - began) / 60
    figures = {
        "connections": len(
            [c for c in process.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
        ),
        "start_seconds": start_seconds,
        "cpu_seconds_per_minute": (cpu_idle.user + cpu_idle.system - cpu.user - cpu.system) / minutes,
        "memory_mib": process.memory_info().rss / 2**20,
        "memory_added_mib": (process.memory_info().rss - memory_before) / 2**20,
    }
    _write(folder / "idle.json", figures)
    await asyncio.gather(*triggers)
    _write(folder / "ended.json", fired)


def _write(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.rename(path)


if __name__ == "__main__":
    asyncio.run(_measure(Path(sys.argv[1]).read_text().split(), Path(sys.argv[2])))
