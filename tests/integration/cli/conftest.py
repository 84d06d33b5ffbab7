"""A real local backend, a real bridge service, and ``kfbridge`` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import handmade
from tests.support.bridge_service import start_service
from tests.support.local_backend import start_local_backend

_PATIENCE_SECONDS = 60.0


@dataclass
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Command:
    """Runs ``kfbridge`` with an environment that knows nothing but what the test gives it."""

    environ: dict[str, str]
    cwd: Path

    def __call__(self, *argv: str, timeout_seconds: float = 90.0) -> Said:
        done = subprocess.run(
            self._line(argv),
            env=self.environ,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """The command, still running, in a process group of its own as a shell would start it."""
        return subprocess.Popen(
            self._line(argv),
            env=self.environ,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _line(self, argv: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "bridge.cli", *argv]


def finish(process: subprocess.Popen[str]) -> Said:
    """Wait for a command that was started."""
    try:
        out, err = process.communicate(timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Said(process.returncode, out, err)


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives once it gives something; it is asked for a minute at most."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{condition} did not come true")


def environment(home: Path, **more: str) -> dict[str, str]:
    """The caller's environment without what would lead a command elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KFBRIDGE_", "XDG_"))}
    return {**kept, "HOME": str(home), "COLUMNS": "200", **more}


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Commands can be interrupted also where the tests run in the background of a shell, which has SIGINT
    ignored and hands that on to every process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def bridge_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bridge with a backend behind it, for the whole session."""
    folder = tmp_path_factory.mktemp("stack")
    with (
        start_local_backend(folder / "local") as backend,
        start_service(folder / "service", backend.url) as service,
    ):
        yield service.url


@pytest.fixture
def kfbridge(bridge_url: str, tmp_path: Path) -> Command:
    """``kfbridge`` that asks the real bridge."""
    return Command(environment(tmp_path, KFBRIDGE_URL=bridge_url), tmp_path)


@pytest.fixture
def alone(tmp_path: Path) -> Command:
    """``kfbridge`` without any bridge."""
    return Command(environment(tmp_path, KFBRIDGE_URL="http://127.0.0.1:1"), tmp_path)


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """A pipeline whose one component runs the shell script ``script``; its name tells tests apart."""
    component = handmade.component(
        inputs=handmade.parameters(script="str"),
        output_artifacts=handmade.artifacts(model="Model"),
        executorLabel="exec-work",
    )
    run_it = handmade.sh('mkdir -p "$(dirname "$1")"; echo weights > "$1"; eval "$0"')
    run_it["container"]["args"] = [
        "{{$.inputs.parameters['script']}}",
        "{{$.outputs.artifacts['model'].path}}",
    ]
    work = handmade.task("work", "comp-work", parameters={"script": handmade.from_input("script")})
    document = handmade.document(
        {"work": work},
        {"comp-work": component},
        {"exec-work": run_it},
        name=f"cli-{tmp_path.name[-40:].replace('_', '-').lower()}",
        inputs=handmade.parameters(script="str", times="int=1"),
    )
    path = tmp_path / "work.yaml"
    path.write_text(json.dumps(document))
    return str(path)
