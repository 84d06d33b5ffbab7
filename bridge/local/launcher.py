"""Runs the container of one task attempt as a process group of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bridge.local.environments import EnvironmentBuildError, Environments
from bridge.local.launcher_mounts import own_paths, place_mounts
from bridge.local.mounts import Mount
from bridge.local.placeholders import Placeholders
from bridge.local.processes import run_group
from bridge.local.staging import Staging
from bridge.spec.bootstrap import parse_bootstrap
from bridge.spec.model import ContainerSpec

# The child must not learn the bridge's own tokens, nor import from the bridge's environment.
_NOT_PASSED_ON = ("KFBRIDGE_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")

_OWN = "[kfbridge] "
_TAIL_BYTES = 8192
_LINE_CHARACTERS = 500


class LaunchError(Exception):
    """The container could not be run, or was ended by who ran it. The message is a sentence for the task's
    error; ``exit_code`` is there if it ran."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One attempt of one task: what to run, its ExecutorInput, and where to run it.

    ``container`` is ready to use: image and resources hold no placeholders any more; command, args and
    env still do, which ``placeholders`` replaces. ``work_dir`` exists and belongs to the attempt;
    ``log_path`` gets everything it writes; ``notes`` are lines for the log's beginning, about what cannot
    be honoured here.

    What the platform document asks for: ``env`` (secrets, config maps and the pod's own fields are in it;
    the container's own env wins over it), ``mounts``, ``user`` and ``group`` (numbers to run as),
    ``shared_memory_bytes`` (the size of /dev/shm) and ``pull_policy`` (``Always``, ``Never`` or
    ``IfNotPresent``). Its timeout is the caller's business: the run is cancelled then.

    ``staging`` is where objects of buckets are, if there is an S3 server; its mounts are among ``mounts``.
    """

    container: ContainerSpec
    executor_input: Mapping[str, Any]
    placeholders: Placeholders
    work_dir: Path
    log_path: Path
    notes: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    user: int | None = None
    group: int | None = None
    shared_memory_bytes: int | None = None
    pull_policy: str | None = None
    staging: Staging | None = None


class Runner(Protocol):
    """Something that can run a task's container: on this machine, or in an engine.

    An attribute ``honours``, a frozenset, may name what of a launch it sees to: ``resources``, ``user``,
    ``shared_memory``, ``pull_policy``. The task's log and state say what nobody sees to.
    """

    async def run(self, launch: Launch) -> int:
        """Runs it to its end and returns the exit code.

        Raises ``LaunchError`` if it cannot be started. When it is cancelled, every process of it has been
        killed before the ``CancelledError`` goes on.
        """
        ...


class SubprocessRunner:
    """Runs components on this machine, without their images.

    A component that the kfp compiler wrote gets a cached environment with the packages it names, in
    ``environments_dir``, which all runs share. Any other command line runs as it is, if its program
    exists here.
    """

    honours: frozenset[str] = frozenset()

    def __init__(self, environments_dir: Path) -> None:
        self.environments = Environments(environments_dir)

    async def run(self, launch: Launch) -> int:
        """See ``Runner.run``."""
        env = child_environment(launch)
        for note in launch.notes:
            say(launch.log_path, note)
        command = launch.container.command
        bootstrap = parse_bootstrap(command)
        if bootstrap is not None:
            try:
                venv = await self.environments.get(bootstrap.installs, launch.log_path)
            except EnvironmentBuildError as error:
                raise LaunchError(str(error)) from error
            env["VIRTUAL_ENV"] = str(venv)
            env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
            command = bootstrap.command
        words = launch.placeholders.command_line([*command, *launch.container.args])
        words = with_mounts(launch, words, env)
        program = _program(words, launch.container, env)
        try:
            return await run_group([program, *words[1:]], env=env, cwd=launch.work_dir, log=launch.log_path)
        except OSError as error:
            raise LaunchError(f"{words[0]} could not be started: {error.strerror or error}.") from error


def _program(words: Sequence[str], container: ContainerSpec, env: Mapping[str, str]) -> str:
    hint = (
        f"The subprocess runner runs command lines on this machine, not in the image {container.image}; "
        "install the program here, or run in images: --runner docker."
    )
    if not container.command or not words:
        raise LaunchError(f"The component names no command: only its image knows what to run. {hint}")
    found = shutil.which(words[0], path=env.get("PATH", os.defpath))
    if found is None:
        raise LaunchError(f"The program {words[0]} is not on this machine. {hint}")
    return found


def child_environment(launch: Launch) -> dict[str, str]:
    """The environment variables of a component that runs on this machine; its scratch folder is made."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_PASSED_ON)}
    scratch = launch.work_dir / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    # What components leave in temporary folders goes away with the run.
    env["TMPDIR"] = str(scratch)
    env["PYTHONUNBUFFERED"] = "1"
    env.update(launch.env)
    for name, value in launch.container.env:
        env[name] = launch.placeholders.replace(value)
    return env


def with_mounts(launch: Launch, words: Sequence[str], env: dict[str, str]) -> list[str]:
    """The words with mount paths replaced; so are those in the task's own variables, in ``env``."""
    own = own_paths(launch.executor_input, launch.work_dir)
    given = {name: env[name] for name in (*launch.env, *(name for name, _ in launch.container.env))}
    placed, variables, told = place_mounts(launch.mounts, words, given, own)
    env.update(variables)
    for line in told:
        say(launch.log_path, line)
    return placed


def say(path: Path, line: str) -> None:
    """Adds a line of the backend's own to a task's log."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{_OWN}{line}\n")


async def last_line(log: Path) -> str:
    """The last line of the component's own that says something in a log, shortened to what fits into an
    error message."""

    def read() -> str:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip() and not line.startswith(_OWN)]
        return said[-1][-_LINE_CHARACTERS:] if said else ""

    return await asyncio.to_thread(read)
