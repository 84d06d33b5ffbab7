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
from bridge.lineage import specs
from bridge.lineage.database import Database
from bridge.lineage.records import BackendVersion
from bridge.service.accept import Accepted
from bridge.service.access.caller import NOBODY, Caller
from bridge.service.problems import ProblemError
from bridge.service.revive import retry_failed_tasks
from bridge.service.routes import runs as run_routes
from bridge.spec.load import load_pipeline
from tests.faults.simulated.checks import Checks
from tests.faults.simulated.clock import Clock, prepare_postgresql
from tests.faults.simulated.kfp import SimulatedKfp
from tests.faults.simulated.processes import WORKERS, Pending, Process, World
from tests.support.postgres import PostgresServer

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SPEC = (Path(__file__).parents[1] / "support" / "pipelines" / "training.yaml").read_text(encoding="utf-8")
PIPELINE = load_pipeline(SPEC)
FAULTS = ("ok", "ok", "ok", "refused", "vanishes", "lost", "late", "gateway", "busy", "orphan")
# Around the lease, KFP's grace and the longest backoffs.
PAUSES = (1.0, 5.0, 40.0, 340.0, 490.0)
_ROUNDS = 40

tasks = st.integers(0, 1)
places = st.integers(0, 1)
which = st.integers(0, 11)
workers = st.sampled_from(WORKERS)


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

    @initialize(seed=st.integers(0, 255), sent=st.booleans())
    def start(self, seed: int, sent: bool) -> None:
        self.stack = ExitStack()
        self.broken = False
        self.checked = (0, 0)
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
        self._submit(self.asking[0], 0)
        self.world.flow()
        if sent:
            self.work("submit", 0)

    def _born(self) -> Process:
        self.born += 1
        process = Process(f"process-{self.born}", self.world)
        process.context.backends["default"].experiments[("", "Default")] = "experiment"
        return process

    # Callers

    @rule(
        task=tasks,
        place=places,
        how=st.sampled_from(["same", "same", "retry", "retry", "clear", "another body", "zombie"]),
        on_retry=st.sampled_from(["new_run", "retry_failed_tasks"]),
        on_clear=st.sampled_from(["cancel_then_new", "adopt", "detach"]),
        undisturbed=st.booleans(),
    )
    def ask(self, task: int, place: int, how: str, on_retry: str, on_clear: str, undisturbed: bool) -> None:
        """A task of Airflow asks, in one of the ways in which it does."""
        asking = self.asking[task]
        next_try = asking.try_number + 1
        match how:
            case "retry":
                asking = replace(asking, try_number=next_try, epochs=3 - asking.epochs, on_retry=on_retry)
                self.asking[task] = asking
            case "clear":
                generation = asking.generation + 1
                asking = replace(asking, try_number=next_try, generation=generation, on_clear=on_clear)
                self.asking[task] = asking
            case "another body":
                asking = replace(asking, epochs=7)
            case "zombie" if self.asked:
                asking = self.asked[len(self.asked) // 2]
        self._submit(asking, place)
        if undisturbed:
            self.world.flow(self.processes[place])

    @rule(run=which, place=places, how=st.sampled_from(["cancel", "cancel for its task", "retry"]))
    def interfere(self, run: int, place: int, how: str) -> None:
        """A person cancels a run or lets it go on, or a trigger cancels it in the name of its task."""
        stored = self.checks.runs()
        if not stored:
            return
        wanted, process = stored[run % len(stored)], self.processes[place]
        body = CancelRequest()
        if how == "cancel for its task" and wanted.submission_key is not None:
            body = CancelRequest(key=wanted.submission_key, try_number=wanted.origin.try_number)
        if how == "retry":
            work: Any = retry_failed_tasks(process.context, wanted)
            if wanted.attempt == max(
                run.attempt for run in stored if run.submission_key == wanted.submission_key
            ):
                # A try that asks meanwhile may make the next attempt; an older one is never revived.
                self.kfp.revived_elsewhere.add(wanted.kfp_run_id)
        else:
            work = process.context.store.transact(
                lambda s: run_routes._cancel(s, Caller(NOBODY), wanted.run_id, body)
            )
        self.requests.append((None, self.world.begin(process, work)))

    def _submit(self, asking: Asking, place: int) -> None:
        self.asked.append(asking)
        process = self.processes[place]
        work = process.acceptance.accept(asking.request(), None)
        self.requests.append((asking, self.world.begin(process, work)))

    # Processes

    @rule(worker=workers, place=places, steps=st.integers(1, 8), fault=st.sampled_from(FAULTS))
    def begin(self, worker: str, place: int, steps: int, fault: str) -> None:
        """A worker begins a round and comes so far; something may go wrong with a request of it."""
        process = self.processes[place]
        process.begin(worker)
        self._take(process, steps, fault)

    @rule(place=places, steps=st.integers(1, 4), fault=st.sampled_from(FAULTS))
    def go_on(self, place: int, steps: int, fault: str) -> None:
        """A process goes on with what it has begun."""
        self._take(self.processes[place], steps, fault)

    @precondition(lambda self: self.world.pending)
    @rule(step=which, fault=st.sampled_from(FAULTS))
    def overtake(self, step: int, fault: str) -> None:
        """A step is taken out of its turn."""
        pending = self.world.pending
        self._go(pending[step % len(pending)], fault)

    @precondition(lambda self: self.world.pending)
    @rule(place=places)
    def finish(self, place: int) -> None:
        """A process comes to the end of all it has begun."""
        self.world.flow(self.processes[place])

    @rule(worker=workers, place=places)
    def work(self, worker: str, place: int) -> None:
        """A worker's whole round, undisturbed."""
        process = self.processes[place]
        process.begin(worker)
        self.world.flow(process)

    @rule(place=places)
    def work_all(self, place: int) -> None:
        """A process is left alone for a while."""
        self._round(self.processes[place])

    @rule(
        worker=st.sampled_from(["submit", "mirror", "cancel"]),
        place=places,
        steps=st.integers(1, 6),
        seconds=st.sampled_from(PAUSES[2:]),
    )
    def freeze(self, worker: str, place: int, steps: int, seconds: float) -> None:
        """A process stops in the middle of its work while time passes and the other one works."""
        process = self.processes[place]
        process.begin(worker)
        self._take(process, steps, "ok")
        if self.world.pending:
            self.clock.advance(seconds)
            self._round(self.processes[1 - place])
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

    def _take(self, process: Process, steps: int, fault: str) -> None:
        for _ in range(steps):
            mine = [one for one in self.world.pending if one.process is process]
            if not mine:
                return
            fault = self._go(mine[0], fault)

    def _go(self, pending: Pending, fault: str) -> str:
        """Let a step be taken; a fault that can only happen to another kind of step is kept for that."""
        fits = pending.kind == ("answer" if fault == "lost" else "ask")
        self.world.go(pending, fault if fits else "ok")
        return "ok" if fits else fault

    def _round(self, process: Process) -> None:
        for worker in WORKERS:
            process.begin(worker)
            self.world.flow(process)

    # The backend

    @precondition(lambda self: self.kfp.runs or self.kfp.late)
    @rule(
        run=which,
        what=st.sampled_from(
            ["progress", "succeed", "succeed", "fail", "fail", "cancel", "retry", "delete", "late"]
        ),
        seconds_ago=st.sampled_from([0.0, 2.0, 300.0]),
    )
    def at_backend(self, run: int, what: str, seconds_ago: float) -> None:
        """Something happens to a run at the backend, which may say so late; or a POST comes late."""
        kfp, live, failed = self.kfp, self.kfp.live(), self._failed_at_backend()
        ends = {"succeed": "SUCCEEDED", "fail": "FAILED", "cancel": "CANCELED"}
        if what == "late" and kfp.late:
            kfp.arrive_late()
        elif what == "delete" and kfp.runs:
            kfp.delete(UUID(list(kfp.runs)[run % len(kfp.runs)]))
        elif what == "retry" and failed:
            kfp.retry_elsewhere(failed[run % len(failed)])
        elif what == "progress" and live:
            kfp.progress(live[run % len(live)])
        elif what in ends and live:
            kfp.end(live[run % len(live)], ends[what], seconds_ago=seconds_ago)

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
        changes = (self.world.writes, len(self.kfp.workflows))
        if changes != self.checked:
            self.checks.after_every_step()
            self.checked = changes
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
            # Of the same task: a higher try, or a later generation.
            mine = (asking.generation, asking.try_number)
            since = {(one.generation, one.try_number) for one in self.asked if one.name == asking.name}
            assert max(since) > mine, "nobody asked since"
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
            self._round(self.processes[number % 2])
            self.holds()
            if number > 1:
                # What nobody wants any more was asked to end by now.
                for run_id in self.kfp.live():
                    self.kfp.end(run_id, "SUCCEEDED")
            if number > 2 and self._is_quiet():
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


@pytest.mark.timeout(0 if LONG else 900)
def test_any_interleaving_on_sqlite(sqlite_databases: Databases) -> None:
    Interleavings.databases = sqlite_databases
    play(Interleavings, settings=_settings(80))


@pytest.mark.postgres
@pytest.mark.timeout(0 if LONG else 900)
def test_any_interleaving_on_postgresql(postgresql_databases: Databases) -> None:
    Interleavings.databases = postgresql_databases
    play(Interleavings, settings=_settings(12))


@pytest.fixture
def history(sqlite_databases: Databases) -> Iterator[Interleavings]:
    """A history that a test writes down; at its end everything comes to rest and is checked."""
    Interleavings.databases = sqlite_databases
    played = Interleavings()
    yield played
    played.holds()
    played.teardown()


# What random histories meet seldom is met each time: every step of a submission, and what can befall it.
every_step = pytest.mark.parametrize("steps", range(1, 9))


@every_step
def test_a_worker_may_freeze_at_any_step_of_a_submission(history: Interleavings, steps: int) -> None:
    history.start(seed=0, sent=False)
    history.freeze("submit", 0, steps, PAUSES[-1])


@every_step
def test_a_worker_may_die_at_any_step_of_a_submission(history: Interleavings, steps: int) -> None:
    history.start(seed=0, sent=False)
    history.begin("submit", 0, steps, "ok")
    history.crash(0)
    history.holds()
    history.wait(PAUSES[-1])
    history.work_all(1)


@pytest.mark.parametrize("fault", sorted(set(FAULTS)))
def test_anything_may_befall_a_post(history: Interleavings, fault: str) -> None:
    history.start(seed=0, sent=False)
    while not any(one.what == "POST /apis/v2beta1/runs" for one in history.world.pending):
        history.begin("submit", 0, 1, "ok")
    history.go_on(0, 4, fault)
    for pause in PAUSES[1:]:
        history.work_all(1)
        history.holds()
        history.wait(pause)
    history.at_backend(0, "late", 0.0)
    history.work_all(1)


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_run_may_end_anew_at_any_step_of_its_mirror(history: Interleavings, steps: int) -> None:
    history.start(seed=0, sent=True)
    history.at_backend(0, "progress", 0.0)
    history.at_backend(0, "fail", 300.0)
    history.work("track", 0)
    history.begin("mirror", 0, steps, "ok")
    history.at_backend(0, "retry", 0.0)
    history.at_backend(0, "progress", 0.0)
    if steps % 2:
        history.work("track", 1)
    history.at_backend(0, "succeed", 0.0)
    history.work("track", 1)
    history.finish(0)


@pytest.mark.parametrize("on_clear", ["cancel_then_new", "adopt", "detach"])
def test_a_cleared_task_asks_while_its_run_is_alive(history: Interleavings, on_clear: str) -> None:
    history.start(seed=0, sent=True)
    history.ask(0, 1, "clear", "new_run", on_clear, True)
    history.work_all(1)
    history.holds()
    history.ask(0, 0, "zombie", "new_run", on_clear, True)
    history.at_backend(0, "succeed", 0.0)
    history.work_all(0)


def test_a_later_try_asks_after_a_failure_and_an_earlier_one_wakes(history: Interleavings) -> None:
    history.start(seed=0, sent=True)
    history.at_backend(0, "fail", 0.0)
    history.work_all(0)
    history.ask(0, 1, "retry", "new_run", "adopt", True)
    history.ask(0, 0, "zombie", "new_run", "adopt", True)
    history.ask(0, 0, "another body", "new_run", "adopt", True)
    history.work_all(1)


def test_a_deleted_run_is_lost_and_its_task_may_ask_again(history: Interleavings) -> None:
    history.start(seed=0, sent=True)
    history.at_backend(0, "delete", 0.0)
    history.work_all(0)
    history.holds()
    history.ask(0, 1, "retry", "new_run", "adopt", True)


def test_an_adopted_run_fails_and_its_task_asks_again(history: Interleavings) -> None:
    history.start(seed=0, sent=True)
    history.ask(0, 1, "clear", "new_run", "adopt", True)
    history.at_backend(0, "fail", 0.0)
    history.work_all(0)
    history.ask(0, 1, "retry", "new_run", "adopt", True)


def test_a_cleared_task_adopts_a_run_that_is_then_given_up(history: Interleavings) -> None:
    history.start(seed=0, sent=False)
    while not any(one.what == "POST /apis/v2beta1/runs" for one in history.world.pending):
        history.begin("submit", 0, 1, "ok")
    history.go_on(0, 4, "vanishes")
    history.ask(0, 1, "clear", "new_run", "adopt", True)
    for pause in PAUSES[1:]:
        history.wait(pause)
        history.work_all(1)
