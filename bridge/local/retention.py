"""Keeps the disk use of a backend within its limits: the oldest runs that are over go first."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bridge.local import store_retention
from bridge.local.rounds import Rounds
from bridge.local.store import Store
from bridge.local.store_retention import KeptRun

logger = logging.getLogger(__name__)
_DAY_SECONDS = 86400.0
_ROUND_SECONDS = 600.0
_LEAST_SECONDS = 1.0
_GIB = 1024**3
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept at most; ``None``: no limit.

    runs  how many runs that are over.
    days  how long after its end a run is kept.
    gib   GiB of logs, working files and artifacts of all runs together.
    """

    runs: int | None = None
    days: float | None = None
    gib: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.runs, self.days, self.gib))


class Retention:
    """Removes runs that are beyond the limits: row, tasks, logs, working files, artifacts and metadata.

    Never a run that is going on, nor one whose artifacts a run that is kept has taken over. Artifacts that
    were written outside the data directory are left alone. ``now`` is the clock (seconds since 1970).
    """

    def __init__(
        self, store: Store, data_dir: Path, limits: Limits, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._data_dir = data_dir
        self._limits = limits
        self._now = now
        self._sizes: dict[str, int] = {}
        self.rounds = Rounds("retention", self.sweep, _ROUND_SECONDS, _LEAST_SECONDS)

    async def sweep(self) -> float:
        """Remove what is beyond the limits; returns the pause until the next round."""
        if self._limits:
            runs = await self._store.read(store_retention.runs_by_age)
            sizes = await asyncio.to_thread(self._measure, runs)
            for run_id in beyond(runs, sizes, self._limits, self._now()):
                if await self._store.write(partial(_forget, run_id)):
                    await self._remove(run_id)
            for run_id in await self._store.read(store_retention.deleted_runs):
                await self._store.write(partial(_forget_metadata, run_id))
                await self._remove(run_id)
        await self._remove_leftovers()
        return _ROUND_SECONDS

    async def _remove(self, run_id: str) -> None:
        logger.info("the files of run %s are removed", run_id)
        self._sizes.pop(run_id, None)
        for folder in (*self._artifact_folders(run_id), self._data_dir / "runs" / run_id):
            await asyncio.to_thread(_remove_folder, folder)

    async def _remove_leftovers(self) -> None:
        # Listed before the database is asked: a run is written down before its folder is made.
        folders = await asyncio.to_thread(_runs_in, self._data_dir / "runs")
        known = await self._store.read(store_retention.run_ids)
        for name in folders:
            if name not in known:
                await asyncio.to_thread(_remove_folder, self._data_dir / "runs" / name)

    def _artifact_folders(self, run_id: str) -> list[Path]:
        return [folder for folder in (self._data_dir / "artifacts").glob(f"*/{run_id}") if folder.is_dir()]

    def _measure(self, runs: Sequence[KeptRun]) -> dict[str, int]:
        if self._limits.gib is None:
            return {}
        sizes = {}
        for run in runs:
            size = self._sizes.get(run.run_id)
            if size is None:
                folders = [self._data_dir / "runs" / run.run_id, *self._artifact_folders(run.run_id)]
                size = sum(size_of(folder) for folder in folders)
                if run.finished_at is not None:
                    self._sizes[run.run_id] = size
            sizes[run.run_id] = size
        return sizes


def beyond(runs: Sequence[KeptRun], sizes: dict[str, int], limits: Limits, now: float) -> list[str]:
    """The runs to remove, of all runs from the oldest to the newest."""
    over = [run for run in runs if run.finished_at is not None]
    count, size = len(over), sum(sizes.values())
    doomed: dict[str, None] = {}
    found_one = True
    while found_one:
        # Again, since who used a run's artifacts may have gone now.
        found_one = False
        for run in over:
            assert run.finished_at is not None, "only runs that are over"
            too_many = limits.runs is not None and count > limits.runs
            too_old = limits.days is not None and run.finished_at < now - limits.days * _DAY_SECONDS
            too_large = limits.gib is not None and size > limits.gib * _GIB
            if run.run_id in doomed or not (too_many or too_old or too_large) or run.users - set(doomed):
                continue
            doomed[run.run_id] = None
            count, size, found_one = count - 1, size - sizes.get(run.run_id, 0), True
    return list(doomed)


def remove_unused_environments(folder: Path, days: float, now: float) -> int:
    """Remove environments that no component has used for so many days; returns how many. Only for a folder
    that nobody else uses, before anything runs."""
    removed = 0
    for marker in folder.glob("*/kfbridge-complete.json"):
        if marker.stat().st_mtime < now - days * _DAY_SECONDS:
            _remove_folder(marker.parent)
            removed += 1
    return removed


def _remove_folder(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        # A component may have written what this user cannot remove; the rest still has to go.
        logger.warning("%s cannot be removed: %s", folder, error)


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder; links count for nothing."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += size_of(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        # A task that goes on removes what it no longer needs.
        return total
    return total


def _runs_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [entry.name for entry in folder.iterdir() if _RUN_ID.fullmatch(entry.name)]


def _forget(run_id: str, connection: sqlite3.Connection) -> bool:
    gone = store_retention.forget_run(connection, run_id)
    store_retention.forget_specs(connection)
    return gone


def _forget_metadata(run_id: str, connection: sqlite3.Connection) -> None:
    store_retention.forget_metadata(connection, run_id)
