"""What an Airflow holds while it works: slots and memory, sampled beside it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from deploy.laptop.processes import ManagedProcess, wait_for

_SLOTS_EVERY_SECONDS = 0.5
_MEMORY_EVERY_SECONDS = 3.0
# What fills a slot of the executor. A deferred task is in none.
_RUNNING = "SELECT COUNT(*) FROM task_instance WHERE state = 'running'"
_DEFERRED = "SELECT COUNT(*) FROM task_instance WHERE state = 'deferred'"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: seconds since the watch began, and what was found."""

    at: float
    value: float


def memory_mib(process: ManagedProcess) -> float:
    """The memory of a process and all that it started, each shared page counted once, in MiB."""
    return sum(_proportional_bytes(one) for one in process.family()) / 2**20


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0  # it ended meanwhile
    lines = (line.split() for line in text.splitlines())
    return sum(int(words[1]) * 1024 for words in lines if words[0] == "Pss:")


class AirflowWatch:
    """Samples an Airflow from ``with`` to its end; reads its database without writing to it."""

    def __init__(self, process: ManagedProcess, database: Path) -> None:
        self._process = process
        self._database = database
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch_slots, daemon=True),
            threading.Thread(target=self._watch_memory, daemon=True),
        ]
        self._began = time.monotonic()
        self.slots: list[Sample] = []
        self.deferred: list[Sample] = []
        self.memory: list[Sample] = []
        self.error: BaseException | None = None

    def __enter__(self) -> AirflowWatch:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(30)
        if error is None and self.error is not None:
            raise self.error

    @property
    def slot_seconds(self) -> float:
        """The slots held, summed up over time."""
        pairs = zip(self.slots, self.slots[1:], strict=False)
        return sum(earlier.value * (later.at - earlier.at) for earlier, later in pairs)

    def wait_dag_run(self, dag_run_id: str, *, seconds: float) -> str:
        """The state in which the DagRun ends; asks the database, which a busy API server does not hold up."""

        def ended() -> str | None:
            self._process.ensure_alive()
            with closing(self._connect()) as connection:
                statement = "SELECT state FROM dag_run WHERE run_id = ?"
                (state,) = connection.execute(statement, (dag_run_id,)).fetchone()
            return str(state) if state in ("success", "failed") else None

        return wait_for(ended, seconds=seconds, what=f"DagRun {dag_run_id} to end", pause=0.5)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)

    def _watch_slots(self) -> None:
        try:
            with closing(self._connect()) as connection:
                while not self._done.wait(_SLOTS_EVERY_SECONDS):
                    for statement, samples in ((_RUNNING, self.slots), (_DEFERRED, self.deferred)):
                        (count,) = connection.execute(statement).fetchone()
                        samples.append(Sample(time.monotonic() - self._began, count))
        except sqlite3.Error as error:
            self.error = error

    def _watch_memory(self) -> None:
        while not self._done.wait(_MEMORY_EVERY_SECONDS):
            self.memory.append(Sample(time.monotonic() - self._began, memory_mib(self._process)))
