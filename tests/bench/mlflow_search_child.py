"""Fills an MLflow database and times searches; runs in MLflow's environment: URL, runs -> JSON."""

from __future__ import annotations

import json
import math
import random
import sys
import time

from mlflow.entities import ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text

TIMES = 30
METRICS = 10
SEARCHES = {
    "newest": ("", ["attributes.start_time DESC"]),
    "metric, half of all runs": ("metrics.auc >= 0.75", ["attributes.start_time DESC"]),
    "metric, 1 in 10,000": ("metrics.auc >= 0.99995", ["attributes.start_time DESC"]),
    "best by a metric": ("", ["metrics.auc DESC"]),
}


def main() -> int:
    """Prints the figures as one line of JSON."""
    url, runs = sys.argv[1], int(sys.argv[2])
    if "search_path" in url:
        with create_engine(url).begin() as connection:
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS mlflow"))
    store = SqlAlchemyStore(url, "file:///nowhere")
    with store.engine.begin() as connection:
        if connection.execute(text("SELECT count(*) FROM runs")).scalar() == 0:
            fill(connection, runs)
    with store.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
    found = {}
    for name, (where, order) in SEARCHES.items():
        taken = []
        for _ in range(TIMES):
            began = time.perf_counter()
            store.search_runs(["0"], where, ViewType.ACTIVE_ONLY, max_results=50, order_by=order)
            taken.append((time.perf_counter() - began) * 1000)
        taken.sort()
        found[f"{name}, {runs:,} runs"] = {
            f"p{part}": taken[math.ceil(part / 100 * len(taken)) - 1] for part in (50, 95)
        }
    print(json.dumps(found))
    return 0


def fill(connection, runs: int) -> None:  # type: ignore[no-untyped-def]
    """Runs with their metrics and the copy of each metric's newest value, as MLflow keeps them."""
    source = random.Random(2013)
    begin = 1_700_000_000_000
    for first in range(0, runs, 5000):
        rows, values = [], []
        for number in range(first, min(first + 5000, runs)):
            uid, at = f"{number:032x}", begin + number * 60_000
            rows.append({"uid": uid, "name": f"run-{number}", "at": at, "end": at + 1000})
            values += [
                {"key": key, "value": 0.5 + source.random() / 2, "at": at, "uid": uid}
                for key in ("auc", *(f"metric_{place}" for place in range(METRICS - 1)))
            ]
        connection.execute(
            text(
                "INSERT INTO runs (run_uuid, name, source_type, status, start_time, end_time,"
                " lifecycle_stage, artifact_uri, experiment_id, user_id) VALUES (:uid, :name, 'LOCAL',"
                " 'FINISHED', :at, :end, 'active', 'file:///nowhere', 0, 'bench')"
            ),
            rows,
        )
        for table in ("metrics", "latest_metrics"):
            connection.execute(
                text(
                    f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid)"
                    " VALUES (:key, :value, :at, 0, :nan, :uid)"
                ),
                [{**value, "nan": False} for value in values],
            )


if __name__ == "__main__":
    sys.exit(main())
