"""How long every question takes that a page of the dashboard asks, with a million runs.

Each route through a service without workers, over HTTP, one request after the other, on both databases: wall
time, and the CPU time of the service and of PostgreSQL's processes. Besides, the Runs page in a real
Chromium.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bridge.lineage.database import Database
from deploy.laptop.processes import free_port
from tests.bench import pages_browser
from tests.bench.histories import Seeded, seeded_databases
from tests.bench.pages_cases import Case, cases_of
from tests.bench.pages_rows import furnish
from tests.bench.querying import quantiles
from tests.bench.servers import bridge_process

TIMES, WARM = 100, 5
# Milliseconds that no question of a page should take at p95, and seconds from opening the runs to using them.
LIMIT, OPEN_LIMIT = 100, 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """How many runs, a folder where the seeded databases stay, and how often each is asked."""

    runs: int = 1_000_000
    keep: Path | None = None
    times: int = TIMES


def measure(home: Path, setting: Setting) -> dict[str, Any]:
    """By database: milliseconds of each question, and how long the Runs page took to be usable."""
    figures: dict[str, Any] = {"runs": setting.runs}
    with seeded_databases(home, setting.runs, setting.keep) as databases:
        for name, seeded in databases.items():
            place = home / name
            place.mkdir(parents=True, exist_ok=True)
            database = Database(seeded.url, pool_size=1)
            furnish(database, setting.keep or home)
            cases = cases_of(database)
            database.close()
            figures[name] = _measured(place, seeded, cases, setting.times)
    return figures


def _measured(home: Path, seeded: Seeded, cases: Sequence[Case], times: int) -> dict[str, Any]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # Nothing is submitted, so that nobody asks for the backend.
    with (
        bridge_process(home, "http://127.0.0.1:9", seeded.url, port=port, workers=False) as service,
        httpx.Client(base_url=url, timeout=120) as http,
    ):
        cpu = _Cpu([pid for pid in (service.pid, seeded.server) if pid is not None])
        asked = {}
        for case in cases:
            asked[case.name] = found = _timed(http, case, cpu, times)
            told = f"    {seeded.name}: {case.name}: p95 {found['p95']:.1f} ms, CPU {found['cpu_p95']:.1f} ms"
            print(told, file=sys.stderr, flush=True)
        opened = pages_browser.measure(url)
        return {"questions": asked, **opened}


def _timed(http: httpx.Client, case: Case, cpu: _Cpu, times: int) -> dict[str, float]:
    paths = itertools.cycle(case.paths)
    walls, cpus, size = [], [], 0
    for number in range(WARM + times):
        path = next(paths)
        before, began = cpu.seconds(), time.perf_counter()
        answer = http.get(path)
        wall = time.perf_counter() - began
        used = cpu.seconds() - before
        if answer.is_error:
            raise RuntimeError(f"{case.name}: {path} gave {answer.status_code}: {answer.text[:300]}")
        if number >= WARM:
            walls.append(wall * 1000)
            cpus.append(used * 1000)
            size = max(size, len(answer.content))
    worked = quantiles(cpus)
    return {**quantiles(walls), "cpu_p50": worked["p50"], "cpu_p95": worked["p95"], "bytes": size}


class _Cpu:
    """The CPU time of processes and of all below them, in nanoseconds' grain (the kernel's own account)."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in roots]

    def seconds(self) -> float:
        """So far, of those that are there now."""
        found = 0
        for process in self._roots:
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, OSError):
                    for thread in Path(f"/proc/{one.pid}/task").iterdir():
                        found += int((thread / "schedstat").read_text().split()[0])
        return found / 1e9


def table(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines, and what is above the limits."""
    lines = [f"questions of the pages with {figures['runs']:,} runs, milliseconds: p50 / p95 / max"]
    above: list[str] = []
    for database, found in figures.items():
        if database == "runs":
            continue
        lines.append(f"{database:<52}{'wall':>24}{'CPU p50 / p95':>20}{'kB':>8}")
        for name, one in found["questions"].items():
            wall = f"{one['p50']:.1f} / {one['p95']:.1f} / {one['max']:.1f}"
            cpu = f"{one['cpu_p50']:.1f} / {one['cpu_p95']:.1f}"
            lines.append(f"  {name:<50}{wall:>24}{cpu:>20}{one['bytes'] / 1000:>8.0f}")
            if one["p95"] > LIMIT:
                above.append(f"  {database}: {name}, p95 {one['p95']:.1f} ms (CPU {one['cpu_p95']:.1f} ms)")
        lines += _opened(database, found, above)
    heading = f"above {LIMIT} ms at p95, or {OPEN_LIMIT:.0f} s for the Runs page"
    return [*lines, f"{heading}: none"] if not above else [*lines, f"{heading}:", *above]


def _opened(database: str, found: Mapping[str, Any], above: list[str]) -> list[str]:
    lines = []
    for what, seconds in found["usable"].items():
        lines.append(f"  Runs page, opened until usable, {what:<18}{seconds:>8.2f} s")
        if seconds > OPEN_LIMIT:
            above.append(f"  {database}: the Runs page, {what}, {seconds:.2f} s")
    # What a browser asked for and this bench does not.
    above += [f"  {database}: not measured: {route}" for route in found["unmeasured"]]
    return lines
