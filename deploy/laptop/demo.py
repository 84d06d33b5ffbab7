"""The demo: five days of flights through the ETL and two retrainings, in a real Airflow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from bridge.client.lineage import ExplainModel
from bridge.client.models import RunModel
from bridge.client.sync import BridgeClient
from deploy.laptop.airflow_api import AirflowApi
from deploy.laptop.processes import wait_for

ETL = "flights_etl"
RETRAINING = "delay_model_retraining"
FIRST_DAY = date(2013, 1, 1)
LAST_DAY = date(2013, 12, 31)
DAYS = 5

Say = Callable[[str], None]


class Scene(Protocol):
    """Where the demo plays: on this machine's processes, or in containers."""

    @property
    def airflow(self) -> AirflowApi:
        """Its Airflow."""

    @property
    def home(self) -> Path:
        """What to remove to begin again."""

    def client(self) -> BridgeClient:
        """A client of its bridge."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo did: the loaded days, every retraining's DagRun and run, the newest model's story."""

    days: list[date]
    dag_runs: list[dict[str, Any]]
    runs: list[RunModel]
    auc: dict[str, float]
    models: dict[str, list[str]]
    explained: ExplainModel | None

    @property
    def succeeded(self) -> bool:
        """Whether at least two retrainings ran and every DagRun of them succeeded."""
        return len(self.dag_runs) >= 2 and all(run["state"] == "success" for run in self.dag_runs)


def play(stack: Scene, say: Say, *, seconds: float = 240, count: int = DAYS) -> DemoResult:
    """Loads the next ``count`` days, at least two, retrains once on demand and once because new data landed.
    The retrainings and each day may take ``seconds``."""
    airflow = stack.airflow
    for dag_id in (ETL, RETRAINING):
        airflow.wait_dag(dag_id, seconds=seconds)
    known = {run["dag_run_id"] for run in airflow.dag_runs(RETRAINING)}
    told: dict[str, str] = {}
    days = next_days(stack, count)
    _pause(stack, RETRAINING, paused=True)
    airflow.unpause(ETL)

    *most, last = days
    say(f"ETL: loading {most[0]} to {most[-1]}, a DagRun a day")
    _load(stack, most, say, seconds)
    _pause(stack, RETRAINING, paused=False)
    say(f"Retraining on what is there, as the schedule does at 02:00 ({RETRAINING})")
    airflow.trigger(RETRAINING)
    _wait_retrainings(stack, known, 1, told, say, seconds=seconds)

    say(f"ETL: loading {last}; the new data itself starts the next retraining")
    _load(stack, [last], say, seconds)
    dag_runs = _wait_retrainings(stack, known, 2, told, say, seconds=seconds)
    return _result(stack, days, dag_runs)


def next_days(stack: Scene, count: int) -> list[date]:
    """The first days of 2013 that no successful ETL DagRun of this Airflow has loaded."""
    loaded = {
        run["logical_date"][:10]
        for run in stack.airflow.dag_runs(ETL)
        if run["state"] == "success" and run["logical_date"]
    }
    days = (FIRST_DAY + timedelta(days=index) for index in range((LAST_DAY - FIRST_DAY).days + 1))
    left = [day for day in days if day.isoformat() not in loaded]
    if len(left) < count:
        raise RuntimeError(f"the year 2013 is loaded; remove {stack.home} to begin again")
    return left[:count]


def _pause(stack: Scene, dag_id: str, *, paused: bool) -> None:
    stack.airflow.patch(f"/dags/{dag_id}", {"is_paused": paused})


def _load(stack: Scene, days: list[date], say: Say, seconds: float) -> None:
    started = {
        day: stack.airflow.trigger(
            ETL,
            logical_date=datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat(),
            dag_run_id=f"demo__{day.isoformat()}__{int(time.time())}",
        )
        for day in days
    }
    for day, dag_run_id in started.items():
        state = stack.airflow.wait_dag_run(ETL, dag_run_id, seconds=seconds)
        say(f"  {day}  {state}")
        if state != "success":
            raise RuntimeError(f"the ETL of {day} ended {state}; see {stack.airflow.url}/dags/{ETL}")


def _wait_retrainings(
    stack: Scene, known: set[str], count: int, told: dict[str, str], say: Say, *, seconds: float
) -> list[dict[str, Any]]:
    """Waits for that many retrainings beyond the known ones; ``told`` keeps what was said already."""

    def ended() -> list[dict[str, Any]] | None:
        runs = [run for run in stack.airflow.dag_runs(RETRAINING) if run["dag_run_id"] not in known]
        for run in reversed(runs):
            if told.get(run["dag_run_id"]) != run["state"]:
                told[run["dag_run_id"]] = run["state"]
                say(f"  {run['dag_run_id']}  {run['run_type']}  {run['state']}")
        over = len(runs) >= count and all(run["state"] in ("success", "failed") for run in runs)
        return list(reversed(runs)) if over else None

    return wait_for(ended, seconds=seconds, what=f"{count} retrainings to end", pause=0.5)


def _result(stack: Scene, days: list[date], dag_runs: list[dict[str, Any]]) -> DemoResult:
    ids = [run["dag_run_id"] for run in dag_runs]
    auc: dict[str, float] = {}
    models: dict[str, list[str]] = {}
    explained: ExplainModel | None = None
    with stack.client() as client:
        page = client.list_runs(dag_id=RETRAINING, limit=200)
        runs = sorted(
            (run for run in page.items if run.origin.dag_run_id in ids), key=lambda run: run.created_at
        )
        for run in runs:
            explained = client.explain(run.run_id)
            name = str(run.run_id)
            scores = [metric.value for metric in explained.metrics if metric.key == "evaluate.auc"]
            if scores:
                auc[name] = scores[-1]
            models[name] = [model.uri for model in explained.models if model.uri]
    return DemoResult(days, dag_runs, runs, auc, models, explained)
