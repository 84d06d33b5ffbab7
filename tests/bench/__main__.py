"""``make bench``: prints the figures, as a table or with ``--json`` as one document."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import (
    accepting,
    backfill,
    comparing,
    following,
    load,
    local_speed,
    mirroring,
    overhead,
    pages,
    querying,
    recording,
    waiting,
)
from tests.bench.servers import local_backend


def main() -> int:
    """Runs the benches and prints their figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--only",
        choices=(
            *("accepting", "mirroring", "recording", "overhead", "load", "waiting", "local", "comparing"),
            *("backfill", "following", "querying", "pages"),
        ),
        help="one of them alone",
    )
    for name, unit in (("runs", "waiting at once"), ("seconds", "of each run"), ("slots", "of Airflow")):
        default = getattr(comparing.Setting(), name)
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"comparing: {unit} (default: {default})"
        )
    following.add_options(parser)
    parser.add_argument(
        "--size", type=int, default=querying.Setting().runs, help="querying, pages: runs in the database"
    )
    parser.add_argument(
        "--mlflow-runs",
        type=int,
        default=querying.Setting().mlflow_runs,
        help="querying: runs in MLflow's database, 0 for without MLflow",
    )
    parser.add_argument("--keep", type=Path, help="querying, pages: a folder where the seeded databases stay")
    parser.add_argument(
        "--times", type=int, default=pages.TIMES, help=f"pages: so often each (default: {pages.TIMES})"
    )
    parser.add_argument("--plans", type=Path, help="querying: a page to write the query plans to")
    options = parser.parse_args()
    # So that what was started is stopped also when this is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    setting = comparing.Setting(options.runs, options.seconds, options.slots)
    queries = querying.Setting(options.size, options.keep, options.mlflow_runs, options.plans)
    looks = pages.Setting(options.size, options.keep, options.times)
    figures: dict[str, Any] = {"machine": f"{os.cpu_count()} cores, Python {platform.python_version()}"}
    with tempfile.TemporaryDirectory(prefix="kfbridge-bench-") as folder:
        home = Path(folder)
        benches = (
            ("accepting", _accepting),
            ("mirroring", _mirroring),
            ("recording", _recording),
            ("overhead", _overhead),
            ("load", _load),
            ("waiting", waiting.measure),
            ("local", local_speed.measure),
            ("backfill", backfill.measure),
            ("comparing", lambda place: comparing.measure(place, setting)),
            ("following", lambda place: following.measure(place, following.scene_of(options))),
            ("querying", lambda place: querying.measure(place, queries)),
            ("pages", lambda place: pages.measure(place, looks)),
        )
        for name, measure in benches:
            # A million runs take a quarter of an hour to make: only for who asks for it.
            if options.only == name or (options.only is None and name not in ("querying", "pages")):
                print(f"measuring: {name}", file=sys.stderr, flush=True)
                place = home / name
                place.mkdir()
                figures[name] = measure(place)
    print(json.dumps(figures, indent=2) if options.json else _table(figures))
    return 0


def _accepting(home: Path) -> dict[str, dict[str, dict[str, float]]]:
    with local_backend(home) as kfp_url:
        found = accepting.measure(home, kfp_url)
    return {
        database: {what: asdict(rate) for what, rate in rates.items()} for database, rates in found.items()
    }


def _mirroring(home: Path) -> dict[str, dict[str, Any]]:
    return {
        database: {shape: asdict(one) for shape, one in shapes.items()}
        for database, shapes in mirroring.measure(home).items()
    }


def _recording(home: Path) -> dict[str, dict[str, Any]]:
    return {
        database: {**asdict(one), "times": one.times} for database, one in recording.measure(home).items()
    }


def _overhead(home: Path) -> dict[str, float]:
    found = overhead.measure(home)
    return {"direct": found.direct_seconds, "bridge": found.bridge_seconds, "added": found.added_seconds}


def _load(home: Path) -> dict[str, dict[str, float]]:
    return {str(count): rates for count, rates in load.measure(home).items()}


def _table(figures: dict[str, Any]) -> str:
    lines = [f"figures of one run on {figures['machine']}"]
    for database, rates in figures.get("accepting", {}).items():
        lines.extend(
            f"accepted submissions per second, {database:<10} {what:<40} {rate['per_second']:8.0f}"
            f"   (asking took {rate['client_cores']:.2f} cores)"
            for what, rate in rates.items()
        )
    for database, shapes in figures.get("mirroring", {}).items():
        lines.extend(
            f"mirrored per second, {database:<10} {shape:<12} {one['rows_per_second']:8.0f} rows, "
            f"{one['runs_per_second']:7.1f} runs   (worker {one['worker_cores']:.2f} cores, "
            f"backend {one['backend_cores']:.2f})"
            for shape, one in shapes.items()
        )
    for database, one in figures.get("recording", {}).items():
        lines.append(
            f"small finished runs recorded per second, {database:<10} "
            f"{one['bridge']['runs_per_second']:8.1f}, "
            f"MLflow {one['mlflow']['per_second']:6.1f} with {one['connections']} connections: "
            f"{one['times']:.1f} times"
        )
    for what, seconds in figures.get("overhead", {}).items():
        lines.append(f"run of one 1 s task, submission to known end, {what:<8} {seconds:6.2f} s")
    for count, rates in figures.get("load", {}).items():
        lines.append(f"requests per minute to the backend, {count:>4} active runs {sum(rates.values()):8.0f}")
        lines.extend(f"    {kind:<60} {rate:8.1f}" for kind, rate in sorted(rates.items()))
    for what, figure in figures.get("waiting", {}).items():
        lines.append(f"{waiting.WAITING} triggers in one process, {what:<40} {figure:8.2f}")
    lines.extend(
        f"local backend: {what:<52} {figure:8.2f}" for what, figure in figures.get("local", {}).items()
    )
    lines.extend(
        f"backfill of {backfill.RUNS} runs: {what:<46} {figure:8.2f}"
        for what, figure in figures.get("backfill", {}).items()
    )
    if "querying" in figures:
        lines += querying.table(figures["querying"])
    if "pages" in figures:
        lines += pages.table(figures["pages"])
    if "comparing" in figures:
        lines += comparing.table(figures["comparing"])
    lines += following.table(figures.get("following", {}))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
