"""The one seam to Docker and Podman: their command line, which both spell alike."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EngineKind = Literal["docker", "podman"]

# A call that only asks or removes is over in well under a second; an engine that hangs must not hang a run.
CALL_SECONDS = 60.0
_SAID_CHARACTERS = 1000
_GPU_SPECS = (Path("/etc/cdi"), Path("/var/run/cdi"))


class EngineError(Exception):
    """There is no engine that answers, or it refused something. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call of the engine's program gave."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last line of what it complained of."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1].removeprefix("Error: ").removeprefix("Error response from daemon: ") if lines else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers.

    ``rootless``: the user 0 of a container is the user who calls. ``cpus`` is what a container may have at
    most. ``has_gpus``: it can hand NVIDIA devices into a container.
    """

    program: str
    kind: EngineKind
    version: str
    rootless: bool = False
    cpus: int = 1
    has_gpus: bool = False

    async def call(self, *arguments: str, env: Mapping[str, str] | None = None) -> Answer:
        """Calls the program and waits for its end. Raises ``EngineError`` if it cannot be started or does
        not end in ``CALL_SECONDS``."""
        return await call(self.program, *arguments, env=env)

    async def must(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """What the call prints. Raises ``EngineError`` if it fails."""
        answer = await self.call(*arguments, env=env)
        if answer.code != 0:
            raise EngineError(f"{self.kind} {arguments[0]}: {answer.said[:_SAID_CHARACTERS]}")
        return answer.out


async def find_engine(choice: str) -> Engine:
    """The engine to use: ``docker``, ``podman``, the path of a program, or for ``auto`` the first of the
    two that is installed and answers. Raises ``EngineError`` that tells what was tried."""
    tried = []
    for name in ("docker", "podman") if choice == "auto" else (choice,):
        program = shutil.which(name)
        if program is None:
            tried.append(f"{name} is not installed")
            continue
        try:
            return await _meet(program)
        except EngineError as error:
            tried.append(f"{name} does not answer ({error})")
    raise EngineError(f"no container engine can be used: {'; '.join(tried)}")


async def call(program: str, *arguments: str, env: Mapping[str, str] | None = None) -> Answer:
    """See ``Engine.call``."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(f"{program} could not be started: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(CALL_SECONDS):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise EngineError(f"{program} {arguments[0]} did not answer in {CALL_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Answer(process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


async def _meet(program: str) -> Engine:
    # Debian's podman-docker installs Podman under the name docker.
    version = await call(program, "--version")
    is_podman = "podman" in version.out.lower()
    answer = await call(program, "info", "--format", "json" if is_podman else "{{json .}}")
    try:
        facts = json.loads(answer.out)
    except ValueError:
        facts = None
    if answer.code != 0 or not isinstance(facts, dict):
        raise EngineError(answer.said[:_SAID_CHARACTERS] or f"'info' ended with {answer.code}")
    if is_podman:
        return _podman(program, facts)
    if facts.get("ServerErrors"):
        raise EngineError(str(facts["ServerErrors"][0])[:_SAID_CHARACTERS])
    return _docker(program, facts)


def _docker(program: str, facts: Mapping[str, Any]) -> Engine:
    hook = shutil.which("nvidia-container-runtime-hook") is not None
    return Engine(
        program=program,
        kind="docker",
        version=str(facts.get("ServerVersion", "")),
        rootless=any("name=rootless" in option for option in _texts(facts.get("SecurityOptions"))),
        cpus=int(facts.get("NCPU") or 1),
        has_gpus=hook or "nvidia" in (facts.get("Runtimes") or {}),
    )


def _podman(program: str, facts: Mapping[str, Any]) -> Engine:
    host = facts.get("host") or {}
    return Engine(
        program=program,
        kind="podman",
        version=str((facts.get("version") or {}).get("Version", "")),
        rootless=bool((host.get("security") or {}).get("rootless")),
        cpus=int(host.get("cpus") or 1),
        has_gpus=any(any(folder.glob("nvidia*")) for folder in _GPU_SPECS if folder.is_dir()),
    )


def _texts(values: Sequence[Any] | None) -> list[str]:
    return [str(value) for value in values or ()]
