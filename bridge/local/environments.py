"""Python environments for components: one venv per set of packages, built once and then reused.

A venv is complete when its marker file is there, which is written last; a folder without it is what a
killed build left, and is built anew. A file lock per set lets one process build while others wait, so
that several backends may share one folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from bridge.local.processes import run_group
from bridge.spec.bootstrap import PipInstall

_LOCK_POLL_SECONDS = 0.05
_MARKER = "kfbridge-complete.json"
_MAX_ERROR_CHARACTERS = 2000


class EnvironmentBuildError(Exception):
    """An environment could not be built; the message ends with what the resolver said."""


class Environments:
    """The cached environments in one folder. Safe to share between tasks and between processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._uv = find_uv()

    async def get(self, installs: Sequence[PipInstall], log: Path) -> Path:
        """The venv with these packages, built if it is not there yet; progress goes to the log.

        Raises ``EnvironmentBuildError``.
        """
        key = environment_key(installs)
        venv = self.folder / key
        if _used(venv / _MARKER):
            return venv
        self.folder.mkdir(parents=True, exist_ok=True)
        async with _locked(self.folder / f"{key}.lock"):
            if not (venv / _MARKER).exists():
                await self._build(venv, installs, log)
        return venv

    async def _build(self, venv: Path, installs: Sequence[PipInstall], log: Path) -> None:
        packages = " ".join(requirement for install in installs for requirement in install.requirements)
        _say(log, f"Building the environment {venv.name} with {packages}")
        await asyncio.to_thread(shutil.rmtree, venv, ignore_errors=True)
        began = await asyncio.to_thread(_size, log)
        steps = [self._create(venv), *(self._install(venv, install) for install in installs)]
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        # By its TMPDIR the next start knows a build that outlived its backend.
        env = {**_build_environment(), "TMPDIR": str(scratch)}
        for step in steps:
            code = await run_group(step, env=env, cwd=self.folder, log=log)
            if code != 0:
                await asyncio.to_thread(shutil.rmtree, venv, ignore_errors=True)
                raise EnvironmentBuildError(_explain(packages, log, began))
        content = json.dumps([asdict(install) for install in installs], indent=1)
        (venv / _MARKER).write_text(content, encoding="utf-8")
        _say(log, "The environment is ready.")

    def _create(self, venv: Path) -> list[str]:
        if self._uv:
            return [self._uv, "venv", "--quiet", "--python", sys.executable, str(venv)]
        return [sys.executable, "-m", "venv", str(venv)]

    def _install(self, venv: Path, install: PipInstall) -> list[str]:
        python = str(venv / "bin" / "python")
        command = (
            [self._uv, "pip", "install", "--python", python] if self._uv else [python, "-m", "pip", "install"]
        )
        if install.no_deps:
            command.append("--no-deps")
        for position, url in enumerate(install.index_urls):
            command += ["--index-url" if position == 0 else "--extra-index-url", url]
        for host in install.trusted_hosts:
            command += ["--allow-insecure-host" if self._uv else "--trusted-host", host]
        return [*command, "--", *install.requirements]


def environment_key(installs: Sequence[PipInstall]) -> str:
    """The name of the environment for these packages: the same wherever the same is asked for."""
    version = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    content = json.dumps(
        [version, sys.base_prefix, [asdict(install) for install in installs]], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def find_uv() -> str | None:
    """The uv program: that of the ``uv`` package, else the one on PATH, else ``None``."""
    try:
        import uv

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


def _build_environment() -> Mapping[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    # uv does not read pip's settings; who has set an index for pip means it for both.
    for pip_name, uv_name in (
        ("PIP_INDEX_URL", "UV_INDEX_URL"),
        ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
        ("PIP_CERT", "SSL_CERT_FILE"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ):
        if pip_name in env and uv_name not in env:
            env[uv_name] = env[pip_name]
    return env


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    with path.open("w") as file:
        # Another process may hold it, and no event tells when it lets go.
        while not _try_lock(file.fileno()):  # noqa: ASYNC110
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _used(marker: Path) -> bool:
    """Whether the environment is there; its marker then tells when it was last used, for retention."""
    try:
        os.utime(marker)
    except FileNotFoundError:
        return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _say(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"[kfbridge] {line}\n")


def _explain(packages: str, log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(began)
        said = file.read().decode("utf-8", "replace").strip()
    return f"The environment with {packages} could not be built: {said[-_MAX_ERROR_CHARACTERS:]}"
