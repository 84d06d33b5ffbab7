"""Queues runs, executes them, ends them when asked, and picks them up again after a restart."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from bridge.domain.states import RuntimeState
from bridge.local import store_mlmd, store_pipelines, store_runs, store_tasks
from bridge.local.driver import RunExecutor
from bridge.local.launcher import Runner
from bridge.local.leftovers import end_leftovers
from bridge.local.object_store import ObjectStore
from bridge.local.recording import Outcome, Recorder, RunToExecute, TaskResult
from bridge.local.specs import SpecCache
from bridge.local.status import DiskFull
from bridge.local.store import Store
from bridge.spec.load import Pipeline

logger = logging.getLogger(__name__)

# A run does not hold a slot while it only waits for its tasks, so more runs than slots may be open.
_OPEN_RUNS_PER_SLOT = 4
_DISK_FULL_PAUSE_SECONDS = 1.0
MAX_RESTARTS = 5
_STOPPED = "the local backend was stopped while the task was going on"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A run's row with the text of its spec and what an earlier life of it has finished."""

    row: sqlite3.Row
    spec_text: str
    finished: Mapping[str, TaskResult]

    def to_execute(
        self, pipeline: Pipeline, data_dir: Path, secrets_dir: Path | None, root: str | None
    ) -> RunToExecute:
        return RunToExecute(
            kfp_run_id=UUID(self.row["run_id"]),
            display_name=self.row["display_name"],
            pipeline=pipeline,
            parameters=json.loads(self.row["parameters"]),
            data_dir=data_dir,
            pipeline_root=self.row["pipeline_root"] or root,
            scheduled_at=datetime.fromtimestamp(self.row["scheduled_at"], UTC)
            if self.row["recurring_run_id"]
            else None,
            secrets_dir=secrets_dir,
            retry=self.row["retries"],
            finished=self.finished,
        )


class Supervisor:
    """Owns every execution of one backend. All methods are called from its event loop.

    ``max_parallel`` bounds the components that run at once, over all runs; runs are opened in the order
    in which they were queued. ``objects`` is the S3 server, if there is one, and ``artifacts`` the URI there
    under which artifacts go; without it they go below ``data_dir``.
    """

    def __init__(
        self,
        store: Store,
        specs: SpecCache,
        recorder: Recorder,
        runner: Runner,
        *,
        data_dir: Path,
        secrets_dir: Path | None = None,
        max_parallel: int,
        objects: ObjectStore | None = None,
        artifacts: str | None = None,
    ) -> None:
        self._store = store
        self._specs = specs
        self._recorder = recorder
        self._runner = runner
        self._data_dir = data_dir
        self._secrets_dir = secrets_dir
        self._objects = objects
        self._artifacts = artifacts
        self._slots = asyncio.Semaphore(max_parallel)
        self._open = asyncio.Semaphore(max_parallel * _OPEN_RUNS_PER_SLOT)
        self._executors: dict[str, RunExecutor] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._stopping = False

    def on_end(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever a run has ended."""
        self._listeners.append(listener)

    def enqueue(self, run_id: str) -> None:
        """Execute a PENDING run as soon as its turn comes."""
        if self._stopping:
            # The run is written down; the next start of the backend finds it.
            return
        before = self._lives.get(run_id)
        life = asyncio.create_task(self._live(run_id, before), name=f"run {run_id}")
        self._lives[run_id] = life
        life.add_done_callback(lambda done: self._forget(run_id, done))

    async def terminate(self, run_id: str) -> None:
        """End a run. Raises ``StatusError`` for a run that does not exist or cannot be terminated."""
        await self._store.write(lambda connection: store_runs.begin_termination(connection, run_id))
        executor = self._executors.get(run_id)
        if executor is not None:
            executor.cancel()
            return
        # It still waits in the queue, which will pass it over.
        await self._store.write(
            lambda connection: store_runs.end_run(connection, run_id, RuntimeState.CANCELED)
        )
        self._tell()

    async def retry(self, run_id: str) -> None:
        """Queue a failed or canceled run again; what it has finished is kept. Raises ``StatusError``."""
        await self._store.write(lambda connection: store_runs.begin_retry(connection, run_id))
        self.enqueue(run_id)

    async def discard(self, run_id: str) -> None:
        """Make sure that nothing of a run is going on, so that it can be deleted."""
        life = self._lives.get(run_id)
        if life is None:
            return
        executor = self._executors.get(run_id)
        if executor is not None:
            executor.cancel()
        else:
            # It still waits for its turn, which comes to nothing then.
            life.cancel()
        await asyncio.wait([life])

    async def recover(self) -> int:
        """Pick up what a backend that was stopped or killed left unfinished; returns how many runs.

        Runs continue: tasks that had finished are kept, those that were going on are run again. A run
        that was being canceled is canceled. One that was interrupted ``MAX_RESTARTS`` times is failed,
        since it may be what brings the backend down.
        """
        left = await self._store.read(store_runs.unfinished_runs)
        # Else a component, or the build of its environment, would run beside its own second start.
        folders = (self._data_dir / "runs", self._data_dir / "environments")
        ended = sum([await asyncio.to_thread(end_leftovers, folder) for folder in folders])
        if ended:
            logger.warning("%d process(es) that an earlier start had left behind were ended", ended)
        for run in left:
            if await self._store.write(partial(_pick_up, run)):
                self.enqueue(run["run_id"])
        return len(left)

    async def stop(self) -> None:
        """End every process of every run; the runs stay unfinished and continue at the next start."""
        self._stopping = True
        for executor in self._executors.values():
            executor.cancel()
        for run_id, life in self._lives.items():
            if run_id not in self._executors:
                life.cancel()
        if self._lives:
            await asyncio.wait(list(self._lives.values()))

    async def _live(self, run_id: str, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        async with self._open:
            try:
                await self._execute(run_id)
            except Exception as error:
                logger.exception("run %s could not be executed", run_id)
                reason = f"the local backend could not execute the run: {type(error).__name__}: {error}"
                await self._write_once_there_is_room(
                    lambda connection: _end_run(connection, run_id, RuntimeState.FAILED, reason)
                )

    async def _execute(self, run_id: str) -> None:
        loaded = await self._store.read(lambda connection: _load(connection, run_id))
        if loaded is None or loaded.row["state"] != RuntimeState.PENDING:
            return
        pipeline = await self._specs.stored(loaded.row["spec_id"], loaded.spec_text)
        run = loaded.to_execute(pipeline, self._data_dir, self._secrets_dir, self._artifacts)
        executor = RunExecutor(run, self._recorder, self._runner, slots=self._slots, objects=self._objects)
        self._executors[run_id] = executor
        try:
            if not await self._store.write(partial(_begin, loaded.row, self._root_of(run, pipeline))):
                await self._store.write(
                    lambda connection: store_runs.end_run(connection, run_id, RuntimeState.CANCELED)
                )
                return
            if self._stopping:
                return
            outcome = await executor.execute()
        finally:
            del self._executors[run_id]
            # What a component started outside its process group; in a container it would end with it, too.
            await asyncio.to_thread(end_leftovers, self._data_dir / "runs" / run_id)
        await self._record(run_id, outcome)

    def _root_of(self, run: RunToExecute, pipeline: Pipeline) -> str:
        folder = self._data_dir / "artifacts" / pipeline.name / str(run.kfp_run_id)
        return run.pipeline_root or folder.as_uri()

    async def _record(self, run_id: str, outcome: Outcome) -> None:
        def record(connection: sqlite3.Connection) -> None:
            asked_for = store_runs.is_canceling(connection, run_id)
            if self._stopping and outcome.state is RuntimeState.CANCELED and not asked_for:
                return
            _end_run(connection, run_id, outcome.state, outcome.message)

        await self._write_once_there_is_room(record)

    async def _write_once_there_is_room(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """An end that cannot be written down now is later: the run would go on for ever in its row."""
        while True:
            try:
                return await self._store.write(change)
            except DiskFull as error:
                if self._stopping:
                    raise
                logger.error("%s; an ended run waits to be written down", error.message)
                await asyncio.sleep(_DISK_FULL_PAUSE_SECONDS)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _forget(self, run_id: str, life: asyncio.Task[None]) -> None:
        if self._lives.get(run_id) is life:
            del self._lives[run_id]
        self._tell()
        if not life.cancelled() and life.exception() is not None:
            logger.error(
                "run %s ended in an error that could not be recorded", run_id, exc_info=life.exception()
            )


def _load(connection: sqlite3.Connection, run_id: str) -> _Loaded | None:
    row = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return None
    finished = store_tasks.finished_results(connection, run_id) if row["retries"] else {}
    return _Loaded(row, store_pipelines.get_spec(connection, row["spec_id"]), finished)


def _begin(run: sqlite3.Row, pipeline_root: str, connection: sqlite3.Connection) -> bool:
    if not store_runs.begin_execution(connection, run["run_id"]):
        return False
    store_mlmd.set_pipeline_root(connection, run["run_context_id"], pipeline_root)
    return True


def _pick_up(run: sqlite3.Row, connection: sqlite3.Connection) -> bool:
    run_id, state = run["run_id"], RuntimeState(run["state"])
    if state is RuntimeState.CANCELING:
        _end_run(connection, run_id, RuntimeState.CANCELED, None)
        return False
    if state is RuntimeState.PENDING:
        return True
    store_tasks.close_tasks(connection, run_id, RuntimeState.CANCELED, _STOPPED)
    if store_runs.continue_run(connection, run_id) <= MAX_RESTARTS:
        return True
    reason = (
        f"the local backend was stopped {MAX_RESTARTS + 1} times while this run was going on: "
        "it is not continued again by itself; retry it if the backend was not brought down by it"
    )
    _end_run(connection, run_id, RuntimeState.FAILED, reason)
    return False


def _end_run(connection: sqlite3.Connection, run_id: str, state: RuntimeState, error: str | None) -> None:
    # A run that ends leaves no task behind that still looks alive.
    store_tasks.close_tasks(connection, run_id, RuntimeState.CANCELED, error or "the run ended")
    store_runs.end_run(connection, run_id, state, error)
