"""Row 14 of the failure matrix: a run with 10,000 tasks."""

from __future__ import annotations

import re
import time
from contextlib import closing
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select

from bridge.lineage.database import Database
from bridge.lineage.tables import ARTIFACT_USES, METRICS, RUNS, TASKS
from tests.faults.many_tasks import ManyTasks
from tests.faults.pipelines import trains, waits
from tests.faults.stage import Service, Stage, on_both

COUNT = 10_000
MIB = 1024 * 1024
MAX_GROWTH_BYTES = 200 * MIB
EPOCHS = {"epochs": 1}


def memory(service: Service, name: str) -> int:
    """``VmRSS`` of the process, or ``VmHWM``, the most that it ever was, in bytes."""
    told = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", told, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def stored(stage: Stage, run_id: str) -> list[int]:
    """How many tasks, edges to artifacts and metrics there are of the many."""
    run = select(RUNS.c.id).where(RUNS.c.run_id == UUID(run_id)).scalar_subquery()
    counts = [
        select(func.count()).where(TASKS.c.run == run, TASKS.c.name.startswith("step-")),
        select(func.count()).where(ARTIFACT_USES.c.run == run, ARTIFACT_USES.c.key == "metrics"),
        select(func.count()).where(METRICS.c.run == run, METRICS.c.name == "loss"),
    ]
    with closing(Database(stage.database_url)) as database:
        return database.read(lambda s: [s.scalars(one).one() for one in counts])


@on_both
def test_14_a_run_with_10_000_tasks_is_mirrored_in_bounded_memory(stage: Stage) -> None:
    go, gate = stage.folder / "go", stage.proxy.gate()
    usual = {"KFBRIDGE_DATABASE_PATIENCE_SECONDS": "30", "KFBRIDGE_KFP_TIMEOUT_SECONDS": "60"}
    with stage.serving(usual) as service:
        service.wait(service.submit(trains(), key="small", arguments=EPOCHS), over=True)
        run = service.wait(service.submit(waits(go), key="large"), state="RUNNING", mirror="PARTIAL")
        before = memory(service, "VmRSS")
        ManyTasks(UUID(run["kfp_run_id"]), COUNT).lay(stage.proxy, gate)
        go.touch()
        # The end is told before anything else of it is read.
        ended = service.wait(run, phase="ENDED")
        assert (ended["state"], ended["mirror"], ended["over"]) == ("SUCCEEDED", "PARTIAL", False)
        gate.open()
        began = time.monotonic()
        done = service.wait(run, over=True)
        took = time.monotonic() - began
        assert (done["state"], done["mirror"]) == ("SUCCEEDED", "COMPLETE")
        grown = memory(service, "VmHWM") - before
        print(f"mirrored in {took:.1f} s, {grown / MIB:.0f} MiB more")
        assert grown <= MAX_GROWTH_BYTES, f"{grown / MIB:.0f} MiB more than before"
        assert stored(stage, run["run_id"]) == [COUNT] * 3
