from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.commands.console import Console
from tests.support import handmade
from tests.unit.client.fake_bridge import FakeBridge


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Said:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs ``kfbridge`` in this process against the fake bridge, with an environment of its own."""

    bridge: FakeBridge
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *argv: str, tty: bool = False) -> Said:
        stream = FakeTerminal if tty else io.StringIO
        console = Console(out=stream(), err=stream(), environ=self.environ, transport=self.bridge.transport())
        code = main(argv, console)
        return Said(code, console.out.getvalue(), console.err.getvalue())  # type: ignore[attr-defined]


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


@pytest.fixture
def kfbridge(bridge: FakeBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(bridge, {"HOME": str(tmp_path)})


@pytest.fixture
def training(tmp_path: Path) -> str:
    """A pipeline that takes an argument of every type, as a compiled file."""
    inputs = handmade.parameters(
        epochs="int", lr="float=0.1", shuffle="bool?", flights="list?", options="dict?", note='str=""'
    )
    component = handmade.component(executorLabel="exec-train")
    document = handmade.document(
        {"train": handmade.task("train", "comp-train")},
        {"comp-train": component},
        {"exec-train": handmade.sh("echo trained")},
        name="training",
        inputs=inputs,
    )
    path = tmp_path / "training.yaml"
    path.write_text(json.dumps(document))
    return str(path)
