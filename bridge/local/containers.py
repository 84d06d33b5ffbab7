"""Runs each task attempt in a container of its own, made from the image that its component names."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from bridge.local.container_engine import Engine, EngineError
from bridge.local.container_files import Environment, bring_custom_paths, hand_over, open_up
from bridge.local.container_images import Images
from bridge.local.container_plan import LABEL, Plan, make_plan, owner_of
from bridge.local.container_resources import size
from bridge.local.launcher import Launch, LaunchError, last_line, say
from bridge.local.processes import run_group
from bridge.local.settings import ContainerSettings

logger = logging.getLogger(__name__)

# With what the engine needs to remove a container this stays below the two seconds that a cancel may take.
_TERMINATE_PATIENCE_SECONDS = 0.6
_REMOVE_TRIES = 3
_KILLED = 128 + signal.SIGKILL
_NEVER_STARTED = ("created", "configured", "initialized")


class ContainerRunner:
    """Runs components in Docker or Podman. One container per attempt; it is gone when the attempt is over."""

    honours = frozenset({"resources", "user", "shared_memory", "pull_policy"})

    def __init__(self, engine: Engine, settings: ContainerSettings, data_dir: Path) -> None:
        self.engine = engine
        self._settings = settings
        self._cache_dir = settings.cache_dir or data_dir / "container-cache"
        self._owner = owner_of(data_dir)
        self._images = Images(engine)

    async def run(self, launch: Launch) -> int:
        """See ``Runner.run``."""
        try:
            plan = make_plan(launch, self._settings, self.engine, self._cache_dir, self._owner)
        except ValueError as error:
            raise LaunchError(f"The container cannot be made as asked for: {error}.") from error
        for note in (*launch.notes, *plan.notes):
            say(launch.log_path, note)
        try:
            return await self._run(launch, plan)
        except EngineError as error:
            raise LaunchError(f"The container engine failed: {error}.") from error

    async def end_leftovers(self) -> int:
        """Removes every container of this data directory, running or not; returns how many. Only for a
        backend that has started nothing yet. Raises ``EngineError``."""
        chosen = f"label={LABEL}.owner={self._owner}"
        found = (await self.engine.must("ps", "--all", "--quiet", "--filter", chosen)).split()
        for container in found:
            await self._remove(container)
        if found:
            logger.warning("%d container(s) that an earlier start had left behind were removed", len(found))
        return len(found)

    async def _run(self, launch: Launch, plan: Plan) -> int:
        image_id = await self._images.ensure(plan.image, plan.pull, launch.log_path)
        await asyncio.to_thread(self._prepare, launch, plan)
        try:
            # A create that is interrupted may still go through, and nobody would know of its container.
            await _to_its_end(self._create(launch, plan))
            say(launch.log_path, f"Container {plan.name} of {plan.image} ({image_id})")
            code = await self._attend(launch, plan)
            if code == 0:
                await bring_custom_paths(self.engine, plan, launch)
            return code
        finally:
            await _to_its_end(self._clear(launch, plan))

    def _prepare(self, launch: Launch, plan: Plan) -> None:
        self._cache_dir.mkdir(parents=True, exist_ok=True)
        (launch.work_dir / "home").mkdir(exist_ok=True)
        if not plan.identity.is_ours:
            staged = os.walk(launch.staging.folder) if launch.staging else ()
            open_up([*plan.own_folders, *plan.shared_folders, *(Path(folder) for folder, _, _ in staged)])

    async def _create(self, launch: Launch, plan: Plan) -> None:
        with Environment(plan.env, launch.work_dir) as environment:
            words = [*plan.options, *environment.options, plan.image, *plan.words]
            answer = await self.engine.call("create", *words, env=environment.variables)
            if answer.code != 0 and "in use" in answer.err:
                # A backend that was killed left it, and its cleaning was cut off too.
                await self._remove(plan.name)
                answer = await self.engine.call("create", *words, env=environment.variables)
        if answer.code != 0:
            raise LaunchError(f"{self.engine.kind} refused to create the container: {answer.said}")

    async def _attend(self, launch: Launch, plan: Plan) -> int:
        """Starts the container, takes what it writes, and tells how it ended."""
        env = {**os.environ, "TMPDIR": str(launch.work_dir / "tmp")}
        (launch.work_dir / "tmp").mkdir(exist_ok=True)
        command = [self.engine.program, "start", "--attach", plan.name]
        await run_group(
            command,
            env=env,
            cwd=launch.work_dir,
            log=launch.log_path,
            patience_seconds=_TERMINATE_PATIENCE_SECONDS,
        )
        state = await self._state(plan)
        while state.get("Running"):
            # Only the view was lost, as when the engine itself is started again.
            say(launch.log_path, "What the container writes from here on is lost; it is waited for.")
            await run_group(
                [self.engine.program, "wait", plan.name], env=env, cwd=launch.work_dir, log=Path(os.devnull)
            )
            state = await self._state(plan)
        return await self._verdict(state, launch, plan)

    async def _verdict(self, state: Mapping[str, Any], launch: Launch, plan: Plan) -> int:
        code = int(state.get("ExitCode") or 0)
        status = str(state.get("Status", "")).lower()
        if state.get("Error") or status in _NEVER_STARTED:
            said = str(state.get("Error") or await last_line(launch.log_path))
            raise LaunchError(f"The container of {plan.image} could not be started: {said}")
        limit = plan.limits.memory_bytes
        if state.get("OOMKilled") and code != 0:
            allowed = f"its limit of {size(limit)}" if limit else "there is on this machine"
            raise LaunchError(f"OOMKilled: the component took more memory than {allowed}.", code)
        if limit and code == _KILLED:
            # Podman does not hear of it from every kernel.
            raise LaunchError(
                f"OOMKilled, it seems: the component was killed, and its memory limit is {size(limit)}.", code
            )
        return code

    async def _state(self, plan: Plan) -> dict[str, Any]:
        answer = await self.engine.must("container", "inspect", "--format", "{{json .State}}", plan.name)
        state = json.loads(answer)
        return state if isinstance(state, dict) else {}

    async def _clear(self, launch: Launch, plan: Plan) -> None:
        try:
            await self._remove(plan.name)
            if not plan.identity.is_ours:
                await hand_over(self.engine, plan)
        except EngineError as error:
            # How the task ended stays what it is; the next start removes what is left.
            logger.error("after task attempt %s: %s", plan.name, error)
            say(launch.log_path, f"Cleaning up after the container failed: {error}.")
        await asyncio.to_thread(shutil.rmtree, launch.work_dir / "home", ignore_errors=True)

    async def _remove(self, container: str) -> None:
        said = ""
        for _ in range(_REMOVE_TRIES):
            answer = await self.engine.call("rm", "--force", "--volumes", container)
            if answer.code == 0 or "no such container" in answer.err.lower():
                return
            said = answer.said
        raise EngineError(f"the container {container} could not be removed: {said}")


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Awaits something that must not be cut off; a cancellation goes on when it is done."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        task.result()
        return
    if task.exception() is not None:
        logger.error("what had to end before a cancel failed", exc_info=task.exception())
    raise cancelled
