"""One DagRun of a scenario's DAG, seen from all sides: Airflow, the bridge, the backend and the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from sqlalchemy import select

from bridge.client.models import RunModel
from bridge.client.sync import BridgeClient
from bridge.lineage.database import Database
from bridge.lineage.tables import AUDIT
from deploy.laptop.airflow import AirflowStandalone
from deploy.laptop.processes import TookTooLong, wait_for
from deploy.laptop.stack import Stack

T = TypeVar("T")

# Generous: what is waited for usually comes within seconds, but machines are shared.
PATIENCE_SECONDS = 180.0
TASK = "run"
OVER = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
_ENDED = frozenset({"success", "failed"})


def listed_runs(stack: Stack) -> list[dict[str, Any]]:
    """All runs that the backend has, as it lists them."""
    answer = httpx.get(f"{stack.kfp_url}/apis/v2beta1/runs", params={"page_size": 200}, timeout=30)
    listed = answer.raise_for_status().json()
    assert not listed.get("next_page_token"), "more runs than one page: checks of them would miss some"
    return list(listed.get("runs", []))


def worker_exits(airflow: AirflowStandalone, dag_id: str, dag_run_id: str, task_id: str) -> int:
    """Of how many workers of the task the scheduler has heard that they are done."""
    told = f"TaskInstance Finished: dag_id={dag_id}, task_id={task_id}, run_id={dag_run_id},"
    return airflow.process.log.read_text(errors="replace").count(told)


@dataclass
class Scene:
    """A DagRun, and the files by which its pipeline is steered (see ``dags/pipelines/held.yaml``).

    Whatever is waited for, the promise is checked at each look: never more than ``live_at_most``
    unfinished runs of this DagRun at the backend.
    """

    stack: Stack
    folder: Path
    dag_id: str
    dag_run_id: str
    live_at_most: int = 1
    most_live: int = field(default=0, init=False)

    @property
    def airflow(self) -> AirflowStandalone:
        return self.stack.airflow

    def start(self, *, hold: bool = True, fail_once: bool = False, **conf: Any) -> Scene:
        """Triggers the DagRun. With ``hold`` its pipeline goes on until ``release()``."""
        if hold:
            self._file("release").unlink(missing_ok=True)
        else:
            self.release()
        if fail_once:
            self._file("fails").touch()
        files = {name: str(self._file(name)) for name in ("trace", "release", "fails")}
        self.airflow.wait_dag(self.dag_id)
        self.airflow.trigger(self.dag_id, dag_run_id=self.dag_run_id, conf={**files, **conf})
        return self

    def release(self) -> None:
        """Lets the pipelines of this scene come to their end."""
        self._file("release").touch()

    def executed(self) -> list[tuple[str, str]]:
        """What the pipelines' containers themselves wrote down: ``(task, kfp_run_id)`` for each execution."""
        trace = self._file("trace")
        if not trace.exists():
            return []
        return [(task, run) for task, run in (line.split() for line in trace.read_text().splitlines())]

    # Airflow

    def instance(self, task_id: str = TASK) -> dict[str, Any]:
        """The task instance."""
        return dict(self.airflow.get(f"{self._path}/taskInstances/{task_id}"))

    def clear(self, task_id: str = TASK, *, downstream: bool = False) -> None:
        """Clears the task, whatever state it is in, and with ``downstream`` what comes after it."""
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": self.dag_run_id,
            "task_ids": [task_id],
            "include_downstream": downstream,
        }
        self.airflow.post(f"/dags/{self.dag_id}/clearTaskInstances", body)

    def mark(self, state: str) -> None:
        """Sets the task's state by hand."""
        self.airflow.patch(f"{self._path}/taskInstances/{TASK}", {"new_state": state})

    def states(self) -> dict[str, str | None]:
        """The state of each task instance; of a mapped one under ``<task_id>[<map_index>]``."""
        found = self.airflow.task_instances(self.dag_id, self.dag_run_id)
        return {
            ti["task_id"] + (f"[{ti['map_index']}]" if ti["map_index"] >= 0 else ""): ti["state"]
            for ti in found
        }

    def links(self) -> dict[str, str | None]:
        """The task's extra links as Airflow's pages show them."""
        answer = self.airflow.get(f"{self._path}/taskInstances/{TASK}/links")
        return dict(answer["extra_links"])

    def xcom(self, key: str = "return_value", task_id: str = TASK) -> Any:
        """An XCom of the task, ``None`` while there is none."""
        try:
            return self.airflow.xcom(self.dag_id, self.dag_run_id, task_id, key)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
            return None

    def log(self, try_number: int = 1, task_id: str = TASK) -> str:
        """The log of one try, the triggerer's part included."""
        return self.airflow.task_log(self.dag_id, self.dag_run_id, task_id, try_number)

    # The bridge and the backend

    def runs(self) -> list[RunModel]:
        """The bridge's runs of this DagRun, oldest first."""
        with BridgeClient(self.stack.bridge_url) as client:
            page = client.list_runs(dag_id=self.dag_id, dag_run_id=self.dag_run_id, limit=200)
        return sorted(page.items, key=lambda run: run.created_at)

    def only_run(self) -> RunModel:
        """The bridge's one run of this DagRun."""
        [run] = self.runs()
        return run

    def backend_runs(self) -> dict[str, str]:
        """The state of every run of this DagRun, by KFP run id, asked of the backend itself."""
        runs = listed_runs(self.stack)
        return {run["run_id"]: run["state"] for run in runs if self.dag_run_id in run["display_name"].split()}

    # Waiting

    def wait(self, what: str, condition: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
        """The first truthy answer of a condition; the promise is checked each time."""

        def look() -> T | None:
            self.check_live()
            self.airflow.process.ensure_alive()
            return condition()

        try:
            return wait_for(look, seconds=seconds, what=f"{what} ({self.dag_run_id})", pause=0.2)
        except TookTooLong as error:
            raise TookTooLong(f"{error}\n{self.account()}") from None

    def wait_state(self, *states: str, task_id: str = TASK, try_number: int | None = None) -> dict[str, Any]:
        """Waits for one of the task's states, in a given try if one is given."""

        def reached() -> dict[str, Any] | None:
            found = self.instance(task_id)
            there = found["state"] in states and try_number in (None, found["try_number"])
            return found if there else None

        return self.wait(f"{task_id} to be {' or '.join(states)}", reached)

    def wait_working(self, executions: int = 1) -> RunModel:
        """Waits until the container that is held has been started so often; the newest run."""
        works = lambda: sum(task == "work" for task, _ in self.executed()) >= executions  # noqa: E731
        self.wait(f"execution {executions} of the pipeline", works)
        return self.runs()[-1]

    def wait_watched(self) -> dict[str, Any]:
        """Waits until the triggerer follows the newest run; Airflow tells of a kill only then."""
        word = f"KFP run {self.runs()[-1].kfp_run_id} of held: RUNNING"

        def watched() -> dict[str, Any] | None:
            found = self.instance()
            return found if word in self.log(found["try_number"]) else None

        return self.wait("the triggerer to follow the run", watched)

    def wait_deferred(self, try_number: int | None = None) -> dict[str, Any]:
        """Waits until the task waits for its run in the triggerer, not only for the bridge."""

        def waiting() -> dict[str, Any] | None:
            found = self.instance()
            trigger = found["trigger"] or {}
            there = found["state"] == "deferred" and trigger.get("classpath", "").endswith("BridgeRunTrigger")
            return found if there and try_number in (None, found["try_number"]) else None

        return self.wait("the task to be deferred", waiting)

    def wait_backend(self, kfp_run_id: object, state: str) -> None:
        """Waits until the backend itself says that state of a run."""
        self.wait(
            f"run {kfp_run_id} to be {state}", lambda: self.backend_runs().get(str(kfp_run_id)) == state
        )

    def wait_canceled(self) -> None:
        """Waits until the backend and the bridge tell that the one run was cancelled."""
        self.wait_backend(self.only_run().kfp_run_id, "CANCELED")
        self.wait("the bridge to know", lambda: self.only_run().state == "CANCELED")

    def wait_end(self) -> str:
        """Waits for the end of the DagRun and returns its state."""

        def ended() -> str | None:
            state = self.dag_run_state()
            return state if state in _ENDED else None

        return self.wait("the DagRun to end", ended)

    def check_only(self, run: RunModel) -> None:
        """There was this one run, each of its tasks executed once, and it succeeded."""
        assert self.only_run().run_id == run.run_id
        assert self.backend_runs() == {str(run.kfp_run_id): "SUCCEEDED"}
        assert self.executed() == [("prepare", str(run.kfp_run_id)), ("work", str(run.kfp_run_id))]
        assert self.xcom("run_id") == str(run.run_id)

    def audited(self, run: RunModel) -> list[str]:
        """What was done to the run, as the bridge's audit log has it."""
        database = Database(self.stack.database_url)
        try:
            done = select(AUDIT.c.action).where(AUDIT.c.run_id == run.run_id).order_by(AUDIT.c.id)
            return database.read(lambda session: list(session.scalars(done)))
        finally:
            database.close()

    def check_live(self) -> None:
        """The promise: at most so many unfinished runs of this DagRun at the backend, at any moment."""
        runs = self.backend_runs()
        live = [run for run, state in runs.items() if state not in OVER]
        self.most_live = max(self.most_live, len(live))
        assert len(live) <= self.live_at_most, f"{len(live)} live runs at once: {runs}"

    def account(self) -> str:
        """Everything there is to know of this scene, for the message of a test that failed."""
        found = self.airflow.task_instances(self.dag_id, self.dag_run_id)
        tasks = [
            f"{ti['task_id']}[{ti['map_index']}] {ti['state']} try {ti['try_number']}/{ti['max_tries'] + 1}"
            for ti in found
        ]
        lines = ["tasks: " + ", ".join(tasks), f"backend: {self.backend_runs()}"]
        for ti in found:
            if ti["map_index"] < 0 and ti["try_number"] > 0:
                lines += [f"--- log of {ti['task_id']}", self.log(ti["try_number"], ti["task_id"])]
        return "\n".join([*lines, f"executed: {self.executed()}"])

    @property
    def _path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.dag_run_id}"

    def dag_run_state(self) -> str:
        """The DagRun's state."""
        return str(self.airflow.dag_run(self.dag_id, self.dag_run_id)["state"])

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.dag_run_id}.{name}"
