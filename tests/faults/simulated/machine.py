"""Histories of two processes on one database: callers, workers, crashes, faults and the backend's doings."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

import anyio.to_thread
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.client.models import CancelRequest
from bridge.service.accept import Accepted
from bridge.service.access.caller import NOBODY, Caller
from bridge.service.problems import ProblemError
from bridge.service.revive import retry_failed_tasks
from bridge.service.routes import runs as run_routes
from tests.faults.simulated.asking import Asking, know_the_pipeline
from tests.faults.simulated.checks import Checks
from tests.faults.simulated.databases import Databases, Errors
from tests.faults.simulated.kfp import SimulatedKfp
from tests.faults.simulated.processes import WORKERS, Pending, Process, World

FAULTS = ("ok", "ok", "ok", "refused", "vanishes", "lost", "late", "gateway", "busy", "orphan")
# Around the lease, KFP's grace and the longest backoffs.
PAUSES = (1.0, 5.0, 40.0, 340.0, 490.0)
_ROUNDS = 40

tasks = st.integers(0, 1)
places = st.integers(0, 1)
which = st.integers(0, 11)
workers = st.sampled_from(WORKERS)


class Interleavings(RuleBasedStateMachine):
    """One history: what may be done next, and what has to hold after it. ``databases`` is set before."""

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
        self.errors = self.stack.enter_context(Errors.listening())
        self.born = 0
        self.processes = [self._born(), self._born()]
        self.asking = [Asking("etl"), Asking("train")]
        self.asked: list[Asking] = []
        self.requests: list[tuple[Any, Any]] = []
        know_the_pipeline(database, self.kfp)
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
