"""Runs one task of an earlier run again, here, on the inputs that it had there."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from bridge.local.driver_finish import Leaf
from bridge.local.driver_leaf import prepare_launch
from bridge.local.driver_platform import PlatformError
from bridge.local.driver_scope import Inputs, RunContext, Scope, utc_now
from bridge.local.environments import EnvironmentBuildError
from bridge.local.launcher import Launch, LaunchError, SubprocessRunner, child_environment, with_mounts
from bridge.local.launcher_output import OutputError, read_outputs
from bridge.local.recording import (
    CachedTask,
    RunToExecute,
    StoredArtifact,
    TaskCreated,
    TaskFinished,
    TaskResult,
    TaskStarted,
)
from bridge.spec.bootstrap import parse_bootstrap
from bridge.spec.load import Pipeline
from bridge.spec.model import MISSING, Component, ContainerSpec, PipelineModel, Task
from bridge.spec.values import as_type

_ITERATION = re.compile(r"\[\d+\]$")
_EXECUTOR = "kfp.dsl.executor_main"
_DEBUGGED = Path(__file__).with_name("replay_child.py")


class ReplayError(ValueError):
    """The task cannot be replayed; a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A task and what it was given. ``artifacts`` have URIs that can be read here; everything the task
    writes goes below ``folder``. ``secrets_dir`` holds what the cluster's secrets and config maps hold."""

    kfp_run_id: UUID
    display_name: str
    pipeline: Pipeline
    path: str
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, tuple[StoredArtifact, ...]]
    folder: Path
    environments_dir: Path
    secrets_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How it ended: the exit code, why it counts as failed if it does, what it gave, and where it ran."""

    exit_code: int
    message: str | None
    result: TaskResult
    folder: Path
    log_path: Path

    @property
    def succeeded(self) -> bool:
        """Whether the component came to its end and its outputs can be read."""
        return self.message is None


@dataclass(frozen=True, slots=True)
class Found:
    """The task at a path, the component that it is a task of, and what it runs."""

    parent: Component
    task: Task
    component: Component
    container: ContainerSpec

    @property
    def source(self) -> str | None:
        """The Python source of a component that was made from a function."""
        command = _component_command(self.container)
        is_python = len(command) == 4 and _EXECUTOR in command[2]
        return command[3] if is_python else None


def find_task(model: PipelineModel, path: str) -> Found:
    """The task at a dotted path; iterations (``loop[3].train``) lead to what every iteration runs.

    Raises ``ReplayError``, which names the tasks there are.
    """
    parent = component = model.root
    task = None
    for name in path.split("."):
        parent = component
        tasks = component.dag.tasks if component.dag else {}
        task = tasks.get(_ITERATION.sub("", name))
        if task is None:
            known = ", ".join(sorted(tasks)) or "none"
            raise ReplayError(f"the pipeline has no task {path}: at {name} there are {known}")
        component = model.components[task.component]
    executor = model.executors.get(component.executor or "")
    if task is None or not isinstance(executor, ContainerSpec):
        kind = "an importer or other platform's task" if executor else "a group of tasks"
        raise ReplayError(f"{path} is {kind}, which runs no component: name a task within it")
    return Found(parent, task, component, executor)


def typed_parameters(component: Component, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the component declares them: metadata stores keep every number as a double."""
    typed = {}
    for name, parameter in component.parameters.items():
        if name in values:
            typed[name] = as_type(parameter.type, values[name])
        elif parameter.default is not MISSING:
            typed[name] = parameter.default
    return typed


async def replay(wanted: Replay, found: Found, *, debug: bool) -> Replayed:
    """Run the component that was found at the path to its end; under the debugger it talks with this
    process's terminal. Raises ``ReplayError``."""
    if debug and found.source is None:
        raise ReplayError(
            f"{wanted.path} is no Python function but the command line of an image: "
            "there is nothing for Python's debugger; replay it without --pdb"
        )
    runner = SubprocessRunner(wanted.environments_dir)
    try:
        launch = await asyncio.to_thread(_prepare, wanted, found, runner)
        code = await (_debugged(runner, launch, found) if debug else runner.run(launch))
    except (PlatformError, LaunchError, EnvironmentBuildError) as error:
        raise ReplayError(str(error)) from error
    return await asyncio.to_thread(_ended, wanted, found, launch, code)


def _prepare(wanted: Replay, found: Found, runner: SubprocessRunner) -> Launch:
    run = RunToExecute(
        kfp_run_id=wanted.kfp_run_id,
        display_name=wanted.display_name,
        pipeline=wanted.pipeline,
        parameters={},
        data_dir=wanted.folder,
        secrets_dir=wanted.secrets_dir,
    )
    context = RunContext(
        run=run,
        recorder=_Unrecorded(),
        runner=runner,
        slots=asyncio.Semaphore(1),
        artifact_root=str(wanted.folder / "artifacts"),
        started_at=utc_now(),
    )
    leaf = Leaf(
        scope=Scope(found.parent, wanted.path.rpartition(".")[0], run.kfp_run_id, Inputs()),
        task=found.task,
        component=found.component,
        path=wanted.path,
        inputs=Inputs(typed_parameters(found.component, wanted.parameters), wanted.artifacts),
        given=Inputs(wanted.parameters, wanted.artifacts),
    )
    return prepare_launch(context, leaf, found.container, context.run_dir / "work")


async def _debugged(runner: SubprocessRunner, launch: Launch, found: Found) -> int:
    bootstrap = parse_bootstrap(launch.container.command)
    python = sys.executable
    if bootstrap is not None:
        venv = await runner.environments.get(bootstrap.installs, launch.log_path)
        python = str(venv / "bin" / "python")
    env = {**child_environment(launch), "_KFP_RUNTIME": "true"}
    words = [found.source or "", *launch.placeholders.command_line(launch.container.args)]
    text, *words = with_mounts(launch, words, env)
    source = launch.work_dir / "ephemeral_component.py"
    source.write_text(text, encoding="utf-8")
    with _interrupts_left_to_the_child():
        child = await asyncio.create_subprocess_exec(
            python, str(_DEBUGGED), str(source), *words, env=env, cwd=launch.work_dir
        )
        try:
            return await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


def _ended(wanted: Replay, found: Found, launch: Launch, code: int) -> Replayed:
    message, result = f"the component exited with {code}" if code else None, TaskResult()
    if code == 0:
        try:
            result = read_outputs(found.component, launch.executor_input)
        except (OutputError, OSError, UnicodeDecodeError) as error:
            message = f"its outputs cannot be read: {error}"
    return Replayed(code, message, result, wanted.folder, launch.log_path)


def _component_command(container: ContainerSpec) -> tuple[str, ...]:
    bootstrap = parse_bootstrap(container.command)
    return bootstrap.command if bootstrap else tuple(container.command)


@contextmanager
def _interrupts_left_to_the_child() -> Iterator[None]:
    # Ctrl-C at the debugger's prompt is the debugger's; this process only waits for it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Unrecorded:
    """A replay is nobody's history: what the driver would record is not kept."""

    async def task_created(self, task: TaskCreated) -> None:
        return None

    async def task_started(self, start: TaskStarted) -> None:
        return None

    async def task_finished(self, end: TaskFinished) -> Mapping[str, tuple[int, ...]]:
        return {}

    async def find_cached(self, fingerprint: str) -> CachedTask | None:
        return None

    async def find_artifact(self, artifact: StoredArtifact) -> int | None:
        return None
