"""Processes of the bridge that take their steps one at a time, in the order that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import httpx
from sqlmodel import Session

from bridge.domain.lineage import RunMirror
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpUnreachable
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metadata import Changes
from bridge.kfp_api.retry import RetryPolicy
from bridge.lineage.database import Database
from bridge.lineage.records import Claim
from bridge.service.accept import Acceptance
from bridge.service.backend_settings import BackendSettings
from bridge.service.backends import Backend, policy_of
from bridge.service.context import Context
from bridge.service.convert import Presenter
from bridge.service.settings import ServiceSettings
from bridge.service.store import Store
from bridge.service.stores import Stores
from bridge.service.waiters import Waiters
from bridge.service.wakeups import Wakeups
from bridge.service.workers.cancel import CancelWorker
from bridge.service.workers.claiming import ClaimWorker
from bridge.service.workers.mirror import MirrorWorker
from bridge.service.workers.sequencer import Sequencer
from bridge.service.workers.submit import SubmitWorker
from bridge.service.workers.track import TrackWorker
from bridge.service.workers.watch import MetadataWatch
from tests.faults.simulated.clock import Clock
from tests.faults.simulated.kfp import SimulatedKfp

T = TypeVar("T")

WORKERS = ("submit", "track", "mirror", "cancel", "watch", "sequencer")
LEASE_SECONDS = 300.0
_STEP_SECONDS = 0.01
_MOST_STEPS = 5_000

_current_process: ContextVar[Process | None] = ContextVar("process", default=None)
_current_claim: ContextVar[Claim | None] = ContextVar("claim", default=None)

# Looks at a transaction under a claim, from before it to after it.
Watch = Callable[[Claim, Callable[[], Any], str], Any]


@dataclass(eq=False)
class Pending:
    """A step that a process is about to take."""

    process: Process
    kind: str
    what: str
    go: asyncio.Future[str]

    def __str__(self) -> str:
        return f"{self.process.name}: {self.kind} {self.what}"


class World:
    """The processes' event loop and the steps that wait for their turn.

    While ``flowing`` is set steps are taken at once, in the order in which they come.
    """

    def __init__(self, database: Database, kfp: SimulatedKfp, clock: Clock, watch: Watch) -> None:
        self.database = database
        self.kfp = kfp
        self.clock = clock
        self.watch = watch
        self.flowing = False
        self.writes = 0
        self.errors: list[str] = []
        self._pending: list[Pending] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(_remembering)
        self._loop.set_exception_handler(lambda _, told: self.errors.append(str(told)))

    @property
    def pending(self) -> list[Pending]:
        """The steps that wait for their turn, the one that came first first."""
        self._pending = [one for one in self._pending if not one.go.done()]
        return self._pending

    def begin(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let a process begin something; it stops before its first step."""

        async def start() -> asyncio.Task[T]:
            _current_process.set(process)
            return asyncio.create_task(work)

        task = self._loop.run_until_complete(start())
        self.settle()
        return task

    def go(self, pending: Pending, fault: str = "ok") -> None:
        """Let a step be taken, with what goes wrong with it."""
        pending.go.set_result(fault)
        self.settle()

    def flow(self, process: Process | None = None) -> None:
        """Take all steps (of one process) until none is left; nothing goes wrong."""
        for _ in range(_MOST_STEPS):
            mine = [one for one in self.pending if process is None or one.process is process]
            if not mine:
                return
            self.go(mine[0])
        raise AssertionError(f"more than {_MOST_STEPS} steps and no end")

    def settle(self) -> None:
        """Run until every task waits for its turn or is done."""

        async def quiet() -> None:
            while True:
                await asyncio.sleep(0)
                if not self._loop._ready:  # type: ignore[attr-defined]
                    return

        self._loop.run_until_complete(quiet())

    async def turn(self, process: Process, kind: str, what: str) -> str:
        """Wait for one's turn; what goes wrong with the step."""
        if not process.alive:
            raise asyncio.CancelledError
        fault = "ok"
        if not self.flowing:
            pending = Pending(process, kind, what, self._loop.create_future())
            self._pending.append(pending)
            fault = await pending.go
        self.clock.advance(_STEP_SECONDS)
        return fault

    def kill(self, process: Process) -> None:
        """The process is no more: nothing that it was about to do is done."""
        process.alive = False
        for task in list(process.tasks):
            task.cancel()
        self.settle()

    def close(self) -> None:
        """Let nothing be left behind."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self.settle()
        self._loop.close()


def _remembering(loop: asyncio.AbstractEventLoop, work: Any, **kwargs: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **kwargs)
    process = _current_process.get()
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task


class _Store(Store):
    """A store whose every transaction is a step of its process."""

    def __init__(self, world: World, process: Process, wakeups: Wakeups) -> None:
        super().__init__(world.database, wakeups)
        self._world = world
        self._process = process

    async def read(self, work: Callable[[Session], T]) -> T:
        await self._world.turn(self._process, "read", _name(work))
        return self._world.database.read(work)

    async def transact(self, work: Callable[[Session], T], *, repeatable: bool = False) -> T:
        await self._world.turn(self._process, "write", _name(work))
        self._world.writes += 1
        claim = _current_claim.get()

        def write() -> T:
            return self._world.database.transact(work, repeatable=repeatable)

        result: T = write() if claim is None else self._world.watch(claim, write, _name(work))
        return result


def _name(work: Callable[..., Any]) -> str:
    return work.__qualname__.replace(".<locals>", "")


@dataclass
class _Reader:
    """The metadata's reader, whose every reading is two steps: it is asked, and the answer comes."""

    world: World
    process: Process

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        if await self.world.turn(self.process, "ask", "metadata of a run") != "ok":
            raise KfpUnreachable("the metadata service is away", sent=False)
        found = await self.world.kfp.reader().read_run(kfp_run_id, tasks)
        await self.world.turn(self.process, "answer", "metadata of a run")
        return found

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        return {}

    async def changed_since(self, since_ms: int) -> Changes | None:
        if await self.world.turn(self.process, "ask", "what changed") != "ok":
            raise KfpUnreachable("the metadata service is away", sent=False)
        return await self.world.kfp.reader().changed_since(since_ms)


@dataclass(eq=False)
class Process:
    """One process of the bridge. It dies for good; its successor is another one."""

    name: str
    world: World
    alive: bool = True
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    context: Context = field(init=False)
    acceptance: Acceptance = field(init=False)
    workers: dict[str, Any] = field(init=False)
    steps: dict[str, asyncio.Task[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        quick = {"tick_seconds": 0.001, "slow_sweep_seconds": 3600, "max_submitting": 2}
        settings = ServiceSettings(
            backends=(BackendSettings(url="http://kfp.example", **quick),),
            workers=False,
            lease_seconds=LEASE_SECONDS,
        )
        item, wakeups = settings.backends[0], Wakeups()
        backend = Backend(
            settings=item, client=self._client(), reader=_Reader(self.world, self), policy=policy_of(item)
        )
        store = _Store(self.world, self, wakeups)
        self.context = Context(
            settings=settings,
            store=store,
            background=store,
            wakeups=wakeups,
            backends={item.name: backend},
            presenter=Presenter(settings),
            stores=Stores(settings),
            waiters=Waiters(store, None),
            holder=self.name,
        )
        self.acceptance = Acceptance(self.context)
        self.workers = {
            "submit": SubmitWorker(self.context, backend),
            "track": TrackWorker(self.context, backend),
            "mirror": MirrorWorker(self.context, backend),
            "cancel": CancelWorker(self.context, backend),
            "watch": MetadataWatch(self.context, backend),
            "sequencer": Sequencer(self.context),
        }
        for worker in self.workers.values():
            if isinstance(worker, ClaimWorker):
                _claims_are_known(worker)

    def begin(self, worker: str) -> None:
        """Let a worker begin its next round, if the last one is over."""
        last = self.steps.get(worker)
        if last is not None:
            if not last.done():
                return
            last.result()
        if worker == "track":
            self.workers["track"].slow_next()
        self.steps[worker] = self.world.begin(self, self.workers[worker].step())

    def is_idle(self) -> bool:
        """Whether no worker is in the middle of something."""
        return not any(one.process is self for one in self.world.pending)

    def _client(self) -> KfpClient:
        async def no_sleep(seconds: float) -> None:
            assert seconds >= 0

        return KfpClient(
            "http://kfp.example",
            transport=httpx.MockTransport(self._exchange),
            retry=RetryPolicy(attempts=1),
            sleep=no_sleep,
            timeout_seconds=600.0,
        )

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        world, what = self.world, f"{request.method} {request.url.path}"
        makes_run = what == "POST /apis/v2beta1/runs"
        match await world.turn(self, "ask", what):
            case "refused":
                raise httpx.ConnectError("connection refused", request=request)
            case "vanishes":
                raise httpx.ReadTimeout("no answer", request=request)
            case "late" if makes_run:
                world.kfp.late.append(request.content)
                raise httpx.ReadTimeout("no answer", request=request)
            case "gateway":
                return httpx.Response(503, text="upstream connect error")
            case "busy":
                return httpx.Response(429, json={"code": 8, "message": "slow down"})
            case "orphan" if makes_run:
                world.kfp.orphan_next = True
        answer = await world.kfp.handle(request)
        if await world.turn(self, "answer", what) == "lost":
            raise httpx.ReadTimeout("no answer", request=request)
        return answer


def _claims_are_known(worker: ClaimWorker) -> None:
    """Let what is done under a claim be told from what is done without one."""
    work = worker._work

    async def known(claim: Claim) -> None:
        _current_claim.set(claim)
        await work(claim)

    worker._work = known  # type: ignore[method-assign]
