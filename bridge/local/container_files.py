"""Files between this machine and a container: its environment, its outputs, whom they belong to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bridge.local.artifacts import to_place
from bridge.local.container_engine import Engine
from bridge.local.container_plan import Plan
from bridge.local.launcher import Launch, LaunchError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# Docker reads its file of variables by lines, of at most 64 KiB.
_MAX_LINE_BYTES = 60_000


class Environment:
    """A container's variables on their way to the engine, out of sight of who lists processes.

    Most go through a file that only this user can read and that is gone at the end of the block. What does
    not fit into a line of it goes through the engine program's own environment (``variables``); only what
    would there mean something else stands on the command line.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.options: list[str] = []
        self.variables: dict[str, str] = {}
        self._lines: list[str] = []
        self._folder = folder
        self._path: Path | None = None
        for name, value in env.items():
            self._sort(name, value)

    def __enter__(self) -> Environment:
        descriptor, name = tempfile.mkstemp(prefix=".env-", dir=self._folder)
        self._path = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self._lines)
        self.options = ["--env-file", name, *self.options]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _sort(self, name: str, value: str) -> None:
        line = f"{name}={value}"
        fits = "\n" not in value and "\r" not in value and len(line.encode()) <= _MAX_LINE_BYTES
        if fits and _NAME.fullmatch(name):
            self._lines.append(line)
        elif (
            _NAME.fullmatch(name) and name not in os.environ and not name.startswith(("DOCKER_", "CONTAINER"))
        ):
            self.options += ["--env", name]
            self.variables[name] = value
        else:
            self.options += ["--env", line]


def open_up(folders: Sequence[Path]) -> None:
    """Lets any user write to these folders: that of the container is somebody else than ours."""
    for folder in folders:
        for place in (
            folder,
            *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()),
        ):
            if place.stat().st_uid == os.geteuid():
                place.chmod(0o777)


async def hand_over(engine: Engine, plan: Plan) -> None:
    """Makes what a container's user wrote into its own folders belong to the user of this process.

    Who is not root here asks the image's ``chown``. Raises ``EngineError``.
    """
    if os.geteuid() == 0:
        await asyncio.to_thread(_own, plan.own_folders)
        return
    owner = "0:0" if engine.rootless else f"{os.getuid()}:{os.getgid()}"
    places = [str(folder) for folder in plan.own_folders]
    words = ["run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0", "--entrypoint", "chown"]
    words += ["--security-opt", "label=disable"]
    words += [word for bind in plan.binds if bind.target in places for word in ("--mount", bind.option)]
    await engine.must(*words, plan.image, "-R", owner, *places)


async def bring_custom_paths(engine: Engine, plan: Plan, launch: Launch) -> None:
    """Copies artifacts that a component wrote to paths of its own choice out of its container to where they
    belong, and says so in ``executor_output.json``. Raises ``LaunchError`` if one cannot be copied."""
    output = Path(str(launch.executor_input["outputs"]["outputFile"]))
    written = await asyncio.to_thread(_read, output)
    found = list(_customs(written, launch, plan))
    for message, custom, target in found:
        await _bring(engine, plan, message, custom, target)
    if found:
        await asyncio.to_thread(output.write_text, json.dumps(written), encoding="utf-8")


def _read(output: Path) -> Any:
    try:
        return json.loads(output.read_text(encoding="utf-8")) if output.is_file() else None
    except ValueError:
        # Who reads the outputs next says what is wrong with them.
        return None


async def _bring(engine: Engine, plan: Plan, message: dict[str, Any], custom: str, target: Path) -> None:
    await asyncio.to_thread(_make_room, target)
    answer = await engine.call("cp", f"{plan.name}:{custom}", str(target))
    if answer.code != 0:
        raise LaunchError(f"The artifact at {custom} could not be taken out of the container: {answer.said}")
    message.pop("custom_path", None)
    message.pop("customPath", None)


def _customs(written: Any, launch: Launch, plan: Plan) -> Iterator[tuple[dict[str, Any], str, Path]]:
    """The messages of artifacts whose content lies in the container alone, where, and where it belongs."""
    declared = launch.executor_input["outputs"]["artifacts"]
    lists = (written.get("artifacts") or {}).items() if isinstance(written, dict) else ()
    for key, found in lists:
        for message in found.get("artifacts") or () if isinstance(found, dict) else ():
            custom = message.get("custom_path") or message.get("customPath")
            if not isinstance(custom, str) or not custom.startswith("/") or _is_shared(custom, plan):
                continue
            place = message.get("uri") or declared.get(key, {"artifacts": [{}]})["artifacts"][0].get("uri")
            staged = launch.staging.place(launch.staging.uri(str(place))) if launch.staging else None
            target = staged or Path(to_place(str(place)))
            if target.is_absolute():
                yield message, custom, target


def _is_shared(path: str, plan: Plan) -> bool:
    """Whether a path in the container is the same file on this machine."""
    return any(
        str(bind.source) == bind.target and Path(path).is_relative_to(bind.target) for bind in plan.binds
    )


def _make_room(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _own(folders: Sequence[Path]) -> None:
    for folder in folders:
        os.chown(folder, os.getuid(), os.getgid())
        for place, names, files in os.walk(folder):
            for name in (*names, *files):
                os.chown(Path(place) / name, os.getuid(), os.getgid(), follow_symlinks=False)
