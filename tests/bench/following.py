"""Ten thousand active runs followed by one worker process, twenty of them ending every second.

The backend is the crowded KFP server of the tests, with 100,000 runs. An end counts from the moment its row
tells it until somebody else sees it settled in the database, tasks, artifacts and metrics committed; the
database is asked for that every 0.05 s, so figures are that much too high rather than too low.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from sqlalchemy import func, select
from sqlmodel import Session

from bridge.lineage.backends import backend_state
from bridge.lineage.database import Database
from bridge.lineage.tables import METRICS, OUTBOX, TASKS
from deploy.laptop.processes import ManagedProcess, wait_for
from tests.bench.servers import worker_process
from tests.support.crowded_kfp.process import Crowd, crowded_kfp
from tests.support.following import follow_runs
from tests.support.postgres import running_postgres

RUNS_IN_ALL = 100_000
_LOOK_SECONDS = 0.05
_LATE_EVENTS = 300
_TASKS_OF_A_RUN = 6
_METRICS_OF_A_RUN = 5


@dataclass(frozen=True)
class Scene:
    """What is followed. Rows tell an end so many seconds after it (``lag``); before its end a run's tasks
    finish one by one if ``steps`` is not 0."""

    active: int = 10_000
    ends_per_second: float = 20.0
    seconds: float = 60.0
    lag: tuple[float, float] = (0.0, 2.0)
    steps: int = 0
    list_seconds: float = 0.0
    databases: tuple[str, ...] = ("PostgreSQL", "SQLite")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The scene's own options, on the command line of the benches."""
    parser.add_argument("--active", type=int, default=Scene.active, help="following: active runs")
    parser.add_argument("--ends", type=float, default=Scene.ends_per_second, help="following: ends a second")
    parser.add_argument("--following-seconds", type=float, default=Scene.seconds, help="following: how long")
    parser.add_argument(
        "--lag", type=float, default=Scene.lag[1], help="following: an end is told so late at most"
    )
    parser.add_argument("--steps", type=int, default=0, help="following: tasks that finish one by one before")
    parser.add_argument("--list-seconds", type=float, default=0.0, help="following: how long a list takes")
    parser.add_argument("--database", choices=("PostgreSQL", "SQLite"), help="following: one of them alone")


def scene_of(options: argparse.Namespace) -> Scene:
    """The scene that the options ask for."""
    return Scene(
        active=options.active,
        ends_per_second=options.ends,
        seconds=options.following_seconds,
        lag=(0.0, options.lag),
        steps=options.steps,
        list_seconds=options.list_seconds,
        databases=(options.database,) if options.database else Scene.databases,
    )


def measure(home: Path, scene: Scene) -> dict[str, dict[str, float]]:
    """The figures by database."""
    figures = {}
    if "PostgreSQL" in scene.databases:
        with running_postgres(durable=True) as server:
            url = server.url(server.create_database())
            figures["PostgreSQL"] = _measure(home / "postgresql", url, scene)
    if "SQLite" in scene.databases:
        figures["SQLite"] = _measure(home / "sqlite", f"sqlite:///{home / 'following.db'}", scene)
    return figures


def _measure(home: Path, database_url: str, scene: Scene) -> dict[str, float]:
    home.mkdir(parents=True)
    database = Database(database_url)
    try:
        database.migrate()
        with crowded_kfp(
            home / "kfp.log",
            runs=RUNS_IN_ALL,
            active=scene.active,
            list_seconds=scene.list_seconds,
            stateless_every=0,
        ) as crowd:
            follow_runs(database, crowd.open_runs())
            return _follow(home, database, database_url, crowd, scene)
    finally:
        database.close()


def _follow(
    home: Path, database: Database, database_url: str, crowd: Crowd, scene: Scene
) -> dict[str, float]:
    with worker_process(home, crowd.url, database_url) as worker:
        wait_for(lambda: database.read(_swept), seconds=60, what="a sweep", pause=0.5)
        idle = _load(worker, crowd, 10.0)
        before = set(crowd.told())
        use = _Use(worker)
        requests, began = crowd.requests(), time.monotonic()
        crowd.begin_ends(scene.ends_per_second, scene.seconds, lag=scene.lag, steps=scene.steps)
        seen = _watch(database, int(scene.ends_per_second * scene.seconds), scene, use)
        passed = time.monotonic() - began
        after = crowd.requests()
        told = {run: at for run, (_, at) in crowd.told().items() if run not in before}
        latencies = sorted(seen[run] - at for run, at in told.items() if run in seen)
        rows = database.read(_rows)
        ends = int(scene.ends_per_second * scene.seconds)
        return {
            "requests_per_minute_while_nothing_ends": idle,
            "requests_per_minute": sum((Counter(after) - Counter(requests)).values()) * 60 / passed,
            "lists_per_minute": _lists(after, requests) * 60 / passed,
            "ends": float(len(latencies)),
            "latency_p50_seconds": _at(latencies, 0.5),
            "latency_p99_seconds": _at(latencies, 0.99),
            "latency_most_seconds": latencies[-1] if latencies else float("nan"),
            "worker_cpu_percent_of_a_core": use.cpu_percent(),
            "worker_rss_mib": use.rss / 2**20,
            "worker_pss_mib": use.pss / 2**20,
            "missing_tasks": float(ends * _TASKS_OF_A_RUN - rows[0]) if not scene.steps else 0.0,
            "missing_metrics": float(ends * _METRICS_OF_A_RUN - rows[1]) if not scene.steps else 0.0,
        }


def _swept(session: Session) -> bool:
    return backend_state(session, "default").last_fast_sweep_at is not None


def _load(worker: ManagedProcess, crowd: Crowd, seconds: float) -> float:
    before = sum(crowd.requests().values())
    began = time.monotonic()
    time.sleep(seconds)
    worker.ensure_alive()
    return (sum(crowd.requests().values()) - before) * 60 / (time.monotonic() - began)


class _Use:
    """CPU and memory of a process, the most memory of what was looked at."""

    def __init__(self, process: ManagedProcess) -> None:
        self._process = psutil.Process(process.pid)
        self._began = time.monotonic()
        self._cpu = self._seconds()
        self.rss = self.pss = 0

    def look(self) -> None:
        told = self._process.memory_full_info()
        self.rss, self.pss = max(self.rss, told.rss), max(self.pss, told.pss)

    def cpu_percent(self) -> float:
        return 100 * (self._seconds() - self._cpu) / (time.monotonic() - self._began)

    def _seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def _watch(database: Database, ends: int, scene: Scene, use: _Use) -> dict[UUID, float]:
    """When each run was first seen settled, by its event: that is of the same transaction as its rows."""
    seen: dict[UUID, float] = {}
    newest = looked = 0
    next_look = time.monotonic()
    deadline = time.monotonic() + scene.seconds + scene.lag[1] + scene.steps + 60
    while len(seen) < ends and time.monotonic() < deadline:
        found, newest = database.read(lambda s, after=newest: _settled(s, after))
        moment = time.time()
        for one in found:
            seen.setdefault(one, moment)
        if len(seen) - looked >= 100:
            looked = len(seen)
            use.look()
        next_look += _LOOK_SECONDS
        time.sleep(max(0.0, next_look - time.monotonic()))
    use.look()
    return seen


def _settled(session: Session, newest: int) -> tuple[list[UUID], int]:
    """The runs of the newest events that tell of a settled one. Numbers are given before the commit, so those
    shortly before the newest are looked at again."""
    statement = select(OUTBOX.c.id, OUTBOX.c.type, OUTBOX.c.data).where(OUTBOX.c.id > newest - _LATE_EVENTS)
    rows = session.execute(statement).all()
    found = [UUID(row.data["kfp_run_id"]) for row in rows if row.type == "run.settled"]
    return found, max([newest, *(row.id for row in rows)])


def _rows(session: Session) -> tuple[int, int]:
    counts = [session.scalars(select(func.count()).select_from(table)).one() for table in (TASKS, METRICS)]
    return counts[0], counts[1]


def _lists(after: Mapping[str, int], before: Mapping[str, int]) -> int:
    route = "GET /apis/v2beta1/runs"
    return after.get(route, 0) - before.get(route, 0)


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def table(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines."""
    return [
        f"following, {database}: {what:<45} {figure:9.2f}"
        for database, told in figures.items()
        for what, figure in told.items()
    ]
