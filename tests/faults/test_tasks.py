"""Rows 19, 20 and 30 of the failure matrix, at the bridge: tasks that are cleared, frozen and made again.

What Airflow's part in them is, is tested in a real one (``tests/e2e``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bridge.client.errors import ProblemError
from bridge.client.models import RunModel, SubmitRequest
from bridge.client.sync import BridgeClient
from bridge.domain.identity import Origin, submission_key
from bridge.lineage.database import Database
from bridge.lineage.tables import AUDIT
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import waits
from tests.faults.stage import Service, Stage, eventually, on_both

START = datetime(2026, 8, 1, 2, tzinfo=UTC)


class Tasks:
    """Airflow tasks of one DagRun, whose runs go on until ``release()``."""

    def __init__(self, stage: Stage, service: Service, client: BridgeClient) -> None:
        self.stage = stage
        self.service = service
        self.client = client
        self._go = stage.folder / "go"

    def submit(self, task_id: str, *, on_clear: str = "cancel_then_new", **origin: Any) -> RunModel:
        """What the task gets when it asks for its run."""
        asks = {"try_number": 1, "max_tries": 0, **self._names(task_id), **origin}
        body = {"spec": waits(self._go), "on_clear": on_clear, "origin": asks}
        return self.client.submit(SubmitRequest.model_validate(body))

    def key_of(self, task_id: str, **origin: Any) -> str:
        """The key of what the task asks for."""
        return str(submission_key("default", Origin(**self._names(task_id), **origin)))

    def _names(self, task_id: str) -> dict[str, Any]:
        return {"dag_id": "dag", "dag_run_id": self.stage.tag, "dag_run_start": START, "task_id": task_id}

    def running(self, run: RunModel) -> RunModel:
        """The run once the backend works at it."""
        self.service.wait({"run_id": run.run_id}, state="RUNNING")
        return run

    def release(self) -> None:
        """Let every run come to its end."""
        self._go.touch()

    def ends(self, run: RunModel) -> str:
        """The state of the run at its end."""
        return str(self.service.wait({"run_id": run.run_id}, over=True)["state"])

    def live(self) -> set[str]:
        """What the backend works at."""
        return {row["run_id"] for row in self.stage.backend_runs() if row.get("state") == "RUNNING"}

    def audited(self, run: RunModel) -> list[tuple[str, dict[str, Any]]]:
        """Who did what to the run, as the audit log has it."""
        database = Database(self.stage.database_url)
        try:
            rows = select(AUDIT.c.action, AUDIT.c.data).where(AUDIT.c.run_id == run.run_id)
            return [
                (row.action, row.data)
                for row in database.read(lambda s: s.execute(rows.order_by(AUDIT.c.id)).all())
            ]
        finally:
            database.close()

    def is_refused(self, what: Any) -> None:
        """Check that the bridge refuses it as something of the past."""
        with pytest.raises(ProblemError) as refused:
            what()
        assert (refused.value.status, refused.value.slug) == (409, "superseded")


@pytest.fixture
def tasks(stage: Stage) -> Iterator[Tasks]:
    with stage.serving() as service, BridgeClient(service.process.url, patience_seconds=0) as client:
        yield Tasks(stage, service, client)


@on_both
def test_19_a_task_cleared_while_its_run_is_active_gets_what_on_clear_says(tasks: Tasks) -> None:
    policies = ("cancel_then_new", "adopt", "detach")
    before = {policy: tasks.running(tasks.submit(policy)) for policy in policies}
    after = {policy: tasks.submit(policy, on_clear=policy, try_number=2, max_tries=1) for policy in policies}

    assert after["adopt"].run_id == before["adopt"].run_id
    for policy in ("cancel_then_new", "detach"):
        assert after[policy].run_id != before[policy].run_id
        tasks.running(after[policy])
    assert tasks.ends(before["cancel_then_new"]) == "CANCELED"
    expected = [*after.values(), before["detach"]]
    eventually(lambda: tasks.live() == {str(run.kfp_run_id) for run in expected}, "those that go on")

    for policy in policies:
        key = tasks.key_of(policy, try_number=2, max_tries=1)
        cleared = ("run.clear", {"on_clear": policy, "submission_key": key, "try_number": 2})
        canceled = ("run.cancel", {"reason": "the task was cleared (on_clear=cancel_then_new)"})
        audited = tasks.audited(before[policy])
        assert audited == ([cleared, canceled] if policy == "cancel_then_new" else [cleared])

    tasks.release()
    assert {tasks.ends(run) for run in expected} == {"SUCCEEDED"}
    check_invariants(tasks.stage, tasks.service)


@on_both
def test_20_a_frozen_worker_cannot_write_when_its_task_has_gone_on(tasks: Tasks) -> None:
    first = tasks.running(tasks.submit("retried"))
    again = tasks.submit("retried", try_number=2)
    assert again.run_id == first.run_id
    # It wakes up: a try that was retried since, with the same body and with another one.
    tasks.is_refused(lambda: tasks.submit("retried"))
    tasks.is_refused(lambda: tasks.submit("retried", on_clear="detach"))
    tasks.is_refused(lambda: tasks.client.cancel(first.run_id, key=first.submission_key, try_number=1))

    # The same for one whose task was cleared before it could ask: its request is the first with its key.
    new = tasks.running(tasks.submit("cleared", try_number=2, max_tries=1))
    tasks.is_refused(lambda: tasks.submit("cleared"))
    # And for the next try of a generation whose run the newer one has cancelled.
    old = tasks.running(tasks.submit("cancelled", max_tries=1))
    newer = tasks.submit("cancelled", try_number=3, max_tries=3)
    assert tasks.ends(old) == "CANCELED"
    tasks.is_refused(lambda: tasks.submit("cancelled", try_number=2, max_tries=1))

    tasks.running(newer)
    assert tasks.live() == {str(run.kfp_run_id) for run in (first, new, newer)}
    assert tasks.audited(first) == tasks.audited(new) == tasks.audited(newer) == []
    tasks.release()
    assert {tasks.ends(run) for run in (first, new, newer)} == {"SUCCEEDED"}
    check_invariants(tasks.stage, tasks.service)


@on_both
def test_30_a_dagrun_made_again_under_its_id_has_a_new_run(tasks: Tasks) -> None:
    again = START + timedelta(minutes=5)
    going = tasks.running(tasks.submit("going"))
    tasks.release()
    first = tasks.submit("done")
    assert tasks.ends(first) == tasks.ends(going) == "SUCCEEDED"
    second = tasks.submit("done", dag_run_start=again)
    assert second.run_id != first.run_id
    assert second.submission_key != first.submission_key
    assert tasks.ends(second) == "SUCCEEDED"
    # Each repeats its own: nothing is mixed up.
    assert tasks.submit("done").run_id == first.run_id
    assert tasks.submit("done", dag_run_start=again).run_id == second.run_id
    assert len(tasks.stage.backend_runs()) == 3
    check_invariants(tasks.stage, tasks.service)
