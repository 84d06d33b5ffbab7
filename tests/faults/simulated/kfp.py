"""The backend of a simulation: the fake KFP server, which remembers what was ever true of each run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from bridge.domain.lineage import Metric, RunMirror, Task
from bridge.domain.states import RuntimeState
from tests.faults.stage import LIVE_STATES
from tests.support.fake_kfp import EPOCH, FakeKfp, Row

ENDS = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass
class SimulatedKfp(FakeKfp):
    """As ``FakeKfp``. ``on_post`` is called before a POST of a run is carried out."""

    on_post: Callable[[UUID], None] = lambda _: None
    ended: set[tuple[UUID, str]] = field(default_factory=set)
    deleted: set[UUID] = field(default_factory=set)
    revived_elsewhere: set[UUID] = field(default_factory=set)
    late: list[bytes] = field(default_factory=list)

    @property
    def posted(self) -> Counter[UUID]:
        """How often a Workflow was made for each run_id."""
        return Counter(UUID(run_id) for run_id in self.workflows)

    def live(self) -> list[UUID]:
        """The runs with a row that go on."""
        return [UUID(name) for name, row in self.runs.items() if row.get("state", "") in LIVE_STATES]

    def progress(self, kfp_run_id: UUID) -> None:
        """One more task's worth of metadata; also what a start brings with it."""
        row = self.runs[str(kfp_run_id)]
        if row["state"] == "PENDING":
            self.start(kfp_run_id)
        self._mirror(kfp_run_id, RuntimeState.RUNNING)

    def end(self, kfp_run_id: UUID, state: str, *, seconds_ago: float = 0.0) -> None:
        """The run has ended; what was asked to end is canceled or fails."""
        row = self.runs[str(kfp_run_id)]
        if row["state"] == "CANCELING" and state == "SUCCEEDED":
            state = "CANCELED"
        self.finish(kfp_run_id, state, seconds_ago=seconds_ago)
        self.ended.add((kfp_run_id, state))
        self._mirror(kfp_run_id, RuntimeState(state))

    def retry_elsewhere(self, kfp_run_id: UUID) -> None:
        """Somebody uses ``:retry`` in KFP's own pages."""
        self.revived_elsewhere.add(kfp_run_id)
        row = self.runs[str(kfp_run_id)]
        row.update(state="RUNNING", finished_at=EPOCH)

    def delete(self, kfp_run_id: UUID) -> None:
        """The row is gone; what the metadata store holds stays."""
        del self.runs[str(kfp_run_id)]
        self.deleted.add(kfp_run_id)

    def arrive_late(self) -> None:
        """A POST whose sender has long given up is carried out."""
        self._create_run(json.loads(self.late.pop(0)))

    def _create_run(self, body: Row) -> httpx.Response:
        run_id = UUID(str(body["run_id"]))
        self.on_post(run_id)
        answer = super()._create_run(body)
        if answer.is_success:
            self._mirror(run_id, RuntimeState.RUNNING)
        return answer

    def _mirror(self, kfp_run_id: UUID, state: RuntimeState) -> None:
        before = self.mirrors.get(kfp_run_id)
        steps = len(before.tasks) if before else 0
        tasks: list[Any] = [
            Task(task_id="1", name="root", path="", parent_task_id=None, state=state, kind="dag")
        ]
        for number in range(1, steps + 1):
            name = f"step-{number}"
            told = RuntimeState.SUCCEEDED if number < steps else state
            tasks.append(
                Task(
                    task_id=f"{number + 1}",
                    name=name,
                    path=name,
                    parent_task_id="1",
                    state=told,
                    kind="container",
                )
            )
        metrics = tuple(
            Metric(task_path=task.path, name="loss", value=1.0 / (place + steps))
            for place, task in enumerate(tasks[1:], 1)
        )
        self.mirrors[kfp_run_id] = RunMirror(tasks=tuple(tasks), metrics=metrics)
        self.changed[kfp_run_id] = int(self.now().timestamp() * 1000)
