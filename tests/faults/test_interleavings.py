"""All rows at once: random interleavings of callers, workers, crashes, faults and the backend's doings.

One example is one history of two processes on one database, step by step (``tests/faults/simulated``). What
held is checked after each step, and at the end, when everything was allowed to come to rest. A failure is
printed as the steps that lead to it. ``HYPOTHESIS_PROFILE=long`` goes on for longer: docs/developing.md.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import anyio.to_thread
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as play

from bridge.client.models import CancelRequest, OriginModel, SubmitRequest
from bridge.domain.states import RuntimeState
from bridge.lineage import specs
from bridge.lineage.database import Database
from bridge.lineage.records import BackendVersion
from bridge.service.accept import Accepted
from bridge.service.problems import ProblemError
from bridge.service.revive import retry_failed_tasks
from bridge.service.routes import runs as run_routes
from bridge.spec.load import load_pipeline
from tests.faults.simulated.checks import Checks
from tests.faults.simulated.clock import Clock, prepare_postgresql
from tests.faults.simulated.kfp import SimulatedKfp
from tests.faults.simulated.processes import WORKERS, Process, World
from tests.support.postgres import PostgresServer

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SPEC = (Path(__file__).parents[1] / "support" / "pipelines" / "training.yaml").read_text(encoding="utf-8")
PIPELINE = load_pipeline(SPEC)
FAULTS = ("ok", "ok", "ok", "refused", "vanishes", "late", "gateway", "busy", "orphan")
# Around the lease, KFP's grace and the longest backoffs.
PAUSES = (1.0, 5.0, 40.0, 301.0, 490.0)
_ROUNDS = 40

tasks = st.integers(0, 1)
places = st.integers(0, 1)
which = st.integers(0, 11)


@dataclass(frozen=True)
class Asking:
    """A task instance of Airflow, as it stands: what the next request for it says."""

    name: str
    generation: int = 0
    try_number: int = 1
    epochs: int = 1
    on_retry: str = "new_run"
    on_clear: str = "cancel_then_new"

    def request(self) -> SubmitRequest:
        """The request."""
        origin = OriginModel(
            scheduler="airflow",
            dag_id="dag",
            dag_run_id="run",
            task_id=self.name,
            try_number=self.try_number,
            max_tries=self.generation,
        )
        return SubmitRequest.model_validate(
            {
                "spec": SPEC,
                "arguments": {"epochs": self.epochs},
                "on_retry": self.on_retry,
                "on_clear": self.on_clear,
                "origin": origin,
            }
        )


@dataclass
class Databases:
    """Makes an empty database with a clock of its own for every example."""

    folder: Path
    empty: Path | None = None
    server: PostgresServer | None = None
    template: str = ""
    count: int = 0

    def open(self, stack: ExitStack) -> tuple[Database, Clock]:
        """A fresh one, closed and removed with the stack."""
        self.count += 1
        if self.server is None:
            clock = Clock()
            stack.enter_context(clock.rules_sqlite())
            path = self.folder / f"{self.count}.db"
            assert self.empty is not None
            shutil.copy(self.empty, path)
            stack.callback(path.unlink)
            database = Database(f"sqlite:///{path}", pool_size=2)
        else:
            name = self.server.create_database(template=self.template)
            stack.callback(self.server.drop_database, name)
            url = self.server.url(name)
            self.server.execute(f'ALTER DATABASE "{name}" SET search_path = simulated, public, pg_catalog')
            clock = Clock(stack.enter_context(psycopg.connect(url, autocommit=True)))
            database = Database(url, pool_size=2)
        stack.callback(database.close)
        return database, clock


class _Errors(logging.Handler):
    """What the service logs as an exception: a job that failed is forgotten in production, and not here."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.records.append(record)

    def told(self) -> str:
        """The exceptions with their traces."""
        return "\n".join(logging.Formatter().format(record) for record in self.records)

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[_Errors]:
        """For as long as the block runs."""
        handler, log = cls(), logging.getLogger("bridge")
        log.addHandler(handler)
        propagates, log.propagate = log.propagate, False
        try:
            yield handler
        finally:
            log.propagate = propagates
            log.removeHandler(handler)


class Interleavings(RuleBasedStateMachine):
    """See the module."""

    databases: ClassVar[Databases]

    @initialize(seed=st.integers(0, 255))
    def start(self, seed: int) -> None:
        self.stack = ExitStack()
        self.broken = False
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        chance = random.Random(seed)
        patch.setattr(os, "urandom", chance.randbytes)
        patch.setattr(anyio.to_thread, "run_sync", _at_once)
        database, self.clock = self.databases.open(self.stack)
        self.kfp = SimulatedKfp(now=lambda: self.clock.now)
        self.checks = Checks(database, self.kfp)
        self.kfp.on_post = self.checks.before_a_post
        self.world = World(database, self.kfp, self.clock, self.checks.under_claim)
        self.stack.callback(self.world.close)
        self.errors = self.stack.enter_context(_Errors.listening())
        self.born = 0
        self.processes = [self._born(), self._born()]
        self.asking = [Asking("etl"), Asking("train")]
        self.asked: list[Asking] = []
        self.requests: list[tuple[Any, Any]] = []
        _know_the_pipeline(database, self.kfp)

    def _born(self) -> Process:
        self.born += 1
        process = Process(f"process-{self.born}", self.world)
        process.context.backends["default"].experiments[("", "Default")] = "experiment"
        return process

    # Callers

    @rule(task=tasks, place=places)
    def submit(self, task: int, place: int) -> None:
        """Ask, or ask the same again."""
        self._submit(self.asking[task], place)

    @rule(
        task=tasks,
        place=places,
        epochs=st.integers(1, 2),
        on_retry=st.sampled_from(["new_run", "retry_failed_tasks"]),
    )
    def retry(self, task: int, place: int, epochs: int, on_retry: str) -> None:
        """The scheduler tries again, perhaps with another body."""
        before = self.asking[task]
        self.asking[task] = replace(
            before, try_number=before.try_number + 1, epochs=epochs, on_retry=on_retry
        )
        self._submit(self.asking[task], place)

    @rule(task=tasks, place=places, on_clear=st.sampled_from(["cancel_then_new", "adopt", "detach"]))
    def clear(self, task: int, place: int, on_clear: str) -> None:
        """The task is cleared: a new generation."""
        before = self.asking[task]
        self.asking[task] = replace(
            before, generation=before.generation + 1, try_number=before.try_number + 1, on_clear=on_clear
        )
        self._submit(self.asking[task], place)

    @rule(task=tasks, place=places)
    def send_another_body(self, task: int, place: int) -> None:
        """The same key and try, asked for something else."""
        self._submit(replace(self.asking[task], epochs=7), place)

    @precondition(lambda self: self.asked)
    @rule(old=which, place=places)
    def wake_a_zombie(self, old: int, place: int) -> None:
        """An earlier process of the task asks again what it asked."""
        self._submit(self.asked[old % len(self.asked)], place)

    @precondition(lambda self: self.checks.runs())
    @rule(run=which, place=places, speaks=st.booleans())
    def cancel(self, run: int, place: int, speaks: bool) -> None:
        """A person cancels, or a trigger in the name of its task."""
        stored = self.checks.runs()
        wanted = stored[run % len(stored)]
        body = CancelRequest()
        if speaks and wanted.submission_key is not None:
            body = CancelRequest(key=wanted.submission_key, try_number=wanted.origin.try_number)
        process = self.processes[place]
        work = process.context.store.transact(lambda s: run_routes._cancel(s, wanted.run_id, body))
        self.requests.append((None, self.world.begin(process, work)))

    @precondition(lambda self: any(run.state is RuntimeState.FAILED for run in self.checks.runs()))
    @rule(run=which, place=places)
    def go_on_with_failed_tasks(self, run: int, place: int) -> None:
        """A person retries a failed run through the bridge."""
        failed = [one for one in self.checks.runs() if one.state is RuntimeState.FAILED]
        wanted = failed[run % len(failed)]
        self.kfp.revived_elsewhere.add(wanted.kfp_run_id)
        process = self.processes[place]
        self.requests.append((None, self.world.begin(process, retry_failed_tasks(process.context, wanted))))

    def _submit(self, asking: Asking, place: int) -> None:
        self.asked.append(asking)
        process = self.processes[place]
        work = process.acceptance.accept(asking.request(), None)
        self.requests.append((asking, self.world.begin(process, work)))

    # Processes

    @rule(worker=st.sampled_from(WORKERS), place=places)
    def begin(self, worker: str, place: int) -> None:
        """A worker begins a round."""
        self.processes[place].begin(worker)

    @precondition(lambda self: self.world.pending)
    @rule(step=which, fault=st.sampled_from(FAULTS))
    def step(self, step: int, fault: str) -> None:
        """Some process takes its next step, and something may go wrong with it."""
        pending = self.world.pending
        self.world.go(pending[step % len(pending)], fault)

    @precondition(lambda self: self.world.pending)
    @rule(place=places)
    def finish(self, place: int) -> None:
        """A process comes to the end of all it has begun."""
        self.world.flow(self.processes[place])

    @rule(worker=st.sampled_from(WORKERS), place=places)
    def work(self, worker: str, place: int) -> None:
        """A worker's whole round, undisturbed."""
        process = self.processes[place]
        process.begin(worker)
        self.world.flow(process)

    @rule(place=places)
    def crash(self, place: int) -> None:
        """A process dies where it stands, and another one begins anew."""
        self.world.kill(self.processes[place])
        self.processes[place] = self._born()

    @rule(seconds=st.sampled_from(PAUSES))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    # The backend

    @precondition(lambda self: self.kfp.live())
    @rule(run=which)
    def progress_at_backend(self, run: int) -> None:
        """A task of a run comes to its end."""
        live = self.kfp.live()
        self.kfp.progress(live[run % len(live)])

    @precondition(lambda self: self.kfp.live())
    @rule(
        run=which,
        state=st.sampled_from(["SUCCEEDED", "FAILED", "CANCELED"]),
        seconds_ago=st.sampled_from([0.0, 2.0, 300.0]),
    )
    def end_at_backend(self, run: int, state: str, seconds_ago: float) -> None:
        """A run ends; the backend may say so late."""
        live = self.kfp.live()
        self.kfp.end(live[run % len(live)], state, seconds_ago=seconds_ago)

    @precondition(lambda self: self._failed_at_backend())
    @rule(run=which)
    def retry_at_backend(self, run: int) -> None:
        """Somebody lets a failed run go on, past the bridge."""
        failed = self._failed_at_backend()
        self.kfp.retry_elsewhere(failed[run % len(failed)])

    @precondition(lambda self: self.kfp.runs)
    @rule(run=which)
    def delete_at_backend(self, run: int) -> None:
        """Somebody deletes a run."""
        names = list(self.kfp.runs)
        self.kfp.delete(UUID(names[run % len(names)]))

    @precondition(lambda self: self.kfp.late)
    @rule()
    def arrive_late(self) -> None:
        """A POST that nobody waits for any more is carried out."""
        self.kfp.arrive_late()

    def _failed_at_backend(self) -> list[UUID]:
        return [
            UUID(name) for name, row in self.kfp.runs.items() if row.get("state") in ("FAILED", "CANCELED")
        ]

    # What holds

    @invariant()
    def holds(self) -> None:
        """Everything that has to hold after each step."""
        if not hasattr(self, "world"):
            return
        self.broken = True
        for asking, task in self.requests:
            if task.done() and not task.cancelled():
                self._answered(asking, task)
        self.requests = [one for one in self.requests if not one[1].done()]
        for process in self.processes:
            for task in process.steps.values():
                if task.done() and not task.cancelled():
                    task.result()
        assert not self.errors.records, f"a job failed: {self.errors.told()}"
        assert not self.world.errors, self.world.errors
        self.checks.after_every_step()
        self.broken = False

    def _answered(self, asking: Asking | None, task: Any) -> None:
        try:
            answer = task.result()
        except ProblemError as problem:
            self._refused(asking, problem.slug)
            return
        if isinstance(answer, Accepted):
            self.checks.accepted(answer.run)

    def _refused(self, asking: Asking | None, kind: str) -> None:
        """A refusal has to have its reason in what was asked before."""
        if asking is None:
            return
        same = [one for one in self.asked if (one.name, one.generation) == (asking.name, asking.generation)]
        if kind == "key-reused":
            bodies = {one.epochs for one in same if one.try_number == asking.try_number}
            assert len(bodies) > 1, "the same body was called another one"
        elif kind == "superseded":
            assert max(one.try_number for one in same) > asking.try_number, "nobody asked since"
        else:
            assert kind in ("canceling", "backend-unavailable", "backend-refused", "not-retryable"), kind

    def teardown(self) -> None:
        """Let everything come to rest; then the bridge and the backend agree, and nothing is owed."""
        if not hasattr(self, "world"):
            return
        try:
            if not self.broken:
                self._come_to_rest()
                self.checks.at_the_end()
        finally:
            self.stack.close()

    def _come_to_rest(self) -> None:
        self.world.flow()
        self.holds()
        while self.kfp.late:
            self.kfp.arrive_late()
        self.world.flowing = True
        for number in range(_ROUNDS):
            for process in self.processes:
                for worker in WORKERS:
                    process.begin(worker)
                    self.world.flow(process)
            self.holds()
            if number > 2:
                # What nobody wants any more was asked to end by now.
                for run_id in self.kfp.live():
                    self.kfp.end(run_id, "SUCCEEDED")
            if number > 3 and self._is_quiet():
                return
            self.clock.advance(600.0)

    def _is_quiet(self) -> bool:
        return all(run.phase.is_over and run.settled_at for run in self.checks.runs()) and not self.kfp.live()


async def _at_once(work: Any, *arguments: Any, **_: Any) -> Any:
    return work(*arguments)


def _know_the_pipeline(database: Database, kfp: SimulatedKfp) -> None:
    """The backend has the pipeline already: uploading it is another story."""
    kfp.versions["version"] = {"pipeline_version_id": "version", "pipeline_id": "pipeline", "name": "v"}
    kfp.pipelines["pipeline"] = {"pipeline_id": "pipeline", "name": PIPELINE.name}
    version = BackendVersion(
        backend="default",
        namespace="",
        digest=PIPELINE.digest,
        pipeline_id="pipeline",
        version_id="version",
        pipeline_name=PIPELINE.name,
        version_name="v",
    )
    database.transact(lambda s: specs.remember_version(s, version))


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples * 100 if LONG else examples,
        stateful_step_count=120 if LONG else 50,
        deadline=None,
        derandomize=not LONG,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )


@pytest.fixture(scope="module")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Copies of a migrated file."""
    folder = tmp_path_factory.mktemp("interleavings")
    empty = folder / "empty.db"
    database = Database(f"sqlite:///{empty}")
    database.migrate()
    database.close()
    return Databases(folder, empty=empty)


@pytest.fixture(scope="module")
def postgresql_databases(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Copies of a migrated database."""
    name = postgres_server.create_database()
    database = Database(postgres_server.url(name))
    database.migrate()
    database.close()
    prepare_postgresql(postgres_server.url(name), name)
    yield Databases(tmp_path_factory.mktemp("interleavings"), server=postgres_server, template=name)
    postgres_server.drop_database(name)


@pytest.mark.timeout(0 if LONG else 300)
def test_any_interleaving_on_sqlite(sqlite_databases: Databases) -> None:
    Interleavings.databases = sqlite_databases
    play(Interleavings, settings=_settings(60))


@pytest.mark.postgres
@pytest.mark.timeout(0 if LONG else 300)
def test_any_interleaving_on_postgresql(postgresql_databases: Databases) -> None:
    Interleavings.databases = postgresql_databases
    play(Interleavings, settings=_settings(10))
