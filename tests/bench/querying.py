"""How long queries take with a million runs: each through the library and through the API, on both databases.

The databases are seeded by ``seeding``; with ``keep`` they stay in that folder and are found there the next
time. Beside them MLflow searches runs by a metric in a database of its own, if its environment can be made.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from bridge.lineage.database import Database
from bridge.lineage.graph import lineage_of
from bridge.lineage.listing import list_runs
from bridge.lineage.tables import ARTIFACTS
from bridge.service.filters import RunQuery, to_filter, to_order
from tests.bench import mlflow_search, querying_plans
from tests.bench.histories import seeded_databases
from tests.bench.seeding_rows import History, dag_name, pipeline_name
from tests.bench.servers import bridge_service

TIMES = 40
PAGES = 6
# Milliseconds that no list, filter or search should take at p95, and the lineage of 10,000 nodes.
LIST_LIMIT, GRAPH_LIMIT = 50, 200
AUC = "evaluate.auc"
LISTS: Mapping[str, Mapping[str, Any]] = {
    "newest": {},
    "newest, 200 a page": {"limit": 200},
    "in a project": {"project": ["fraud"]},
    "in two small projects": {"project": ["maps", "labs"]},
    "failed": {"state": ["FAILED"]},
    "failed or canceled in a project": {"project": ["default"], "state": ["FAILED", "CANCELED"]},
    "failed in a small project": {"project": ["labs"], "state": ["FAILED"]},
    "of a pipeline": {"pipeline": pipeline_name(1)},
    "of a rare pipeline, failed": {"pipeline": pipeline_name(199), "state": ["FAILED"]},
    "skipped, of a pipeline, in a small project": {
        "pipeline": pipeline_name(1),
        "project": ["labs"],
        "state": ["SKIPPED"],
    },
    "of a DAG": {"dag_id": dag_name(1)},
    "of an experiment": {"experiment": "risk-experiments"},
    "created a year ago": {"created_before": "2025-08-01T00:00:00Z"},
    "last finished": {"sort": "-finished", "project": ["default"]},
    "last finished of a pipeline": {"sort": "-finished", "pipeline": pipeline_name(1)},
    "label": {"label": ["team:risk"]},
    "rare label": {"label": ["incident:INC-7"]},
    "metric, half of all runs": {"metric": [f"{AUC}>=0.75"]},
    "metric, 1 in 100": {"metric": [f"{AUC}>=0.995"]},
    "metric, 1 in 1,000": {"metric": [f"{AUC}>=0.9995"]},
    "metric, 1 in 10,000": {"metric": [f"{AUC}>=0.99995"]},
    "metric, half of a pipeline": {"metric": [f"{AUC}>=0.75"], "pipeline": pipeline_name(1)},
    "metric, 1 in 100 of a pipeline": {"metric": [f"{AUC}>=0.995"], "pipeline": pipeline_name(1)},
    "metric, half of a small project": {"metric": [f"{AUC}>=0.75"], "project": ["labs"]},
    "two metrics and a state": {"metric": [f"{AUC}>=0.9", "train.loss<0.6"], "state": ["FAILED"]},
    "best by a metric": {"sort": f"-metric:{AUC}"},
    "best by a metric in a pipeline": {"sort": f"-metric:{AUC}", "pipeline": pipeline_name(1)},
    "text, a tenth of all runs": {"text": "churn"},
    "text, 1 in 70": {"text": "oomkilled"},
    "text, 1 in 2,000": {"text": "inc 77"},
    "text, beginnings of three words": {"text": "price tra imagepull"},
    "text, a day two years ago": {"text": "2024 09 03"},
    "text, nothing": {"text": "zebra"},
}
GRAPHS: Mapping[str, Mapping[str, Any]] = {
    "lineage, up": {"direction": "up", "depth": 1000, "nodes": 20_000},
    "lineage, down": {"direction": "down", "depth": 1000, "nodes": 20_000},
    "lineage, 1,000 nodes both ways": {"direction": "both", "depth": 100, "nodes": 1000},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """How many runs, and a folder where the seeded databases stay (``None``: they are removed)."""

    runs: int = 1_000_000
    keep: Path | None = None
    mlflow_runs: int = 100_000
    plans: Path | None = None


def measure(home: Path, setting: Setting) -> dict[str, Any]:
    """By database and query: milliseconds, p50, p95 and max, through the library and through the API."""
    figures: dict[str, Any] = {"runs": setting.runs}
    plans: dict[str, Mapping[str, Any]] = {}
    mlflow = mlflow_search.install(home / "mlflow") if setting.mlflow_runs else None
    with seeded_databases(home, setting.runs, setting.keep) as databases:
        for name, url in ((name, one.url) for name, one in databases.items()):
            database = Database(url, pool_size=2)
            figures[name] = {
                "directly": _directly(database),
                "through the API": _through_api(home / name, url),
            }
            if setting.plans is not None:
                plans[name] = querying_plans.explain(database, _units(database))
            database.close()
            if mlflow is not None:
                figures[name]["MLflow"] = mlflow_search.measure(home / name, mlflow, url, setting.mlflow_runs)
    if setting.plans is not None:
        querying_plans.write(setting.plans, setting.runs, plans)
    return figures


def _directly(database: Database) -> dict[str, dict[str, float]]:
    # As the service does when it begins to serve.
    gc.collect()
    gc.freeze()
    return {name: _timed(unit) for name, unit in _units(database).items()}


def _units(database: Database) -> dict[str, Callable[[int], None]]:
    """Each query as a call; its argument counts the calls, so that they go through the pages."""
    units: dict[str, Callable[[int], None]] = {}
    for name, parameters in LISTS.items():
        units[name] = _Pages(lambda cursor, given=parameters: page(database, given, cursor))
    for name, limits in GRAPHS.items():
        node = graph_start(database, str(limits["direction"]))

        def unit(_: int, node: str = node, limits: Mapping[str, Any] = limits) -> None:
            database.read(lambda session: lineage_of(session, node, **limits))

        units[name] = unit
    return units


def page(database: Database, parameters: Mapping[str, Any], cursor: str | None) -> str | None:
    """One page of a listing, directly; the cursor of the next."""
    given = {name: value for name, value in parameters.items() if name != "limit"}
    query = RunQuery.model_validate(given)
    where, order, limit = to_filter(query), to_order(query), parameters.get("limit", 50)
    return database.read(lambda session: list_runs(session, where, order=order, cursor=cursor, limit=limit))[
        1
    ]


def _through_api(home: Path, database_url: str) -> dict[str, dict[str, float]]:
    home.mkdir(parents=True, exist_ok=True)
    database = Database(database_url, pool_size=1)
    starts = {name: graph_start(database, str(limits["direction"])) for name, limits in GRAPHS.items()}
    database.close()
    # Nothing is submitted, so that nobody asks for the backend.
    with (
        bridge_service(home, "http://127.0.0.1:9", database_url, workers=False) as url,
        httpx.Client(base_url=f"{url}/api/v1", timeout=120) as http,
    ):

        def fetch(parameters: Mapping[str, Any], cursor: str | None) -> str | None:
            given = {**parameters, **({"cursor": cursor} if cursor else {})}
            answer = http.get("/runs", params=given).raise_for_status().json()
            following: str | None = answer["next_cursor"]
            return following

        found = {
            name: _timed(_Pages(lambda cursor, given=given: fetch(given, cursor)))
            for name, given in LISTS.items()
        }
        for name, limits in GRAPHS.items():
            given = {"node": starts[name], **limits}
            found[name] = _timed(lambda _, given=given: http.get("/lineage", params=given).raise_for_status())
        return found


class _Pages:
    """Goes through the pages of a listing, from the beginning again after a few."""

    def __init__(self, page: Callable[[str | None], str | None]) -> None:
        self._page = page
        self._cursor: str | None = None

    def __call__(self, number: int) -> None:
        self._cursor = self._page(self._cursor if number % PAGES else None)


def graph_start(database: Database, direction: str) -> str:
    """An artifact of the last layer of the graph for ``up``, of the first for ``down``."""
    history = History()
    place = {"up": 0, "down": history.layers * history.width - 1, "both": history.layers * history.width // 2}
    key = database.read(
        lambda session: session.scalars(
            select(ARTIFACTS.c.artifact_id)
            .where(ARTIFACTS.c.type == "system.Model")
            .order_by(ARTIFACTS.c.id.desc())
            .offset(place[direction])
            .limit(1)
        ).one()
    )
    return f"artifact:{key}"


def _timed(unit: Callable[[int], object]) -> dict[str, float]:
    for number in range(PAGES):
        unit(number)
    taken = []
    for number in range(TIMES):
        began = time.perf_counter()
        unit(number)
        taken.append((time.perf_counter() - began) * 1000)
    return quantiles(taken)


def quantiles(taken: Sequence[float]) -> dict[str, float]:
    """p50, p95 (nearest rank) and the most."""
    ordered = sorted(taken)
    found = {f"p{part}": ordered[math.ceil(part / 100 * len(ordered)) - 1] for part in (50, 95)}
    return {**found, "max": ordered[-1]}


def table(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines, and which of them are above the limits."""
    lines = [f"queries with {figures['runs']:,} runs and ten metrics each, milliseconds: p50 / p95 / max"]
    above = []
    for database, ways in figures.items():
        if database == "runs":
            continue
        lines.append(f"{database:<46}{'library':>24}{'API':>24}")
        for name, direct in ways["directly"].items():
            api = ways["through the API"][name]
            told = [f"{one['p50']:.1f} / {one['p95']:.1f} / {one['max']:.1f}" for one in (direct, api)]
            lines.append(f"  {name:<44}{told[0]:>24}{told[1]:>24}")
            limit = GRAPH_LIMIT if name in GRAPHS else LIST_LIMIT
            above += [
                f"  {database}, {way}: {name}, p95 {one['p95']:.1f} > {limit}"
                for way, one in (("library", direct), ("API", api))
                if one["p95"] > limit
            ]
        for name, taken in ways.get("MLflow", {}).items():
            lines.append(f"  MLflow: {name:<36}{taken['p50']:>9.1f} / {taken['p95']:.1f}")
    heading = f"above {LIST_LIMIT} ms ({GRAPH_LIMIT} ms for lineage) at p95"
    return [*lines, f"{heading}: none"] if not above else [*lines, f"{heading}:", *above]
