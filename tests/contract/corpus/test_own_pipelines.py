"""The pipelines beside this are what their sources compile to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.corpus.expectation import names, pipeline_file
from tests.contract.corpus.pipelines import COMPILED, comparable

pytestmark = pytest.mark.corpus


def test_the_committed_files_are_what_the_sources_compile_to(tmp_path: Path) -> None:
    # In a process of its own: kfp changes the warnings filters of whoever imports it.
    command = [sys.executable, "-m", "tests.contract.corpus.pipelines.compile", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    fresh = {path.name: comparable(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*.yaml")}
    stored = {path.name: comparable(path.read_text(encoding="utf-8")) for path in COMPILED.glob("*.yaml")}
    assert fresh.keys() == stored.keys()
    stale = [name for name in fresh if fresh[name] != stored[name]]
    assert not stale, f"run python -m tests.contract.corpus.pipelines.compile for {stale}"


def test_every_own_pipeline_has_an_expectation() -> None:
    files = {path.stem for path in COMPILED.glob("*.yaml")}
    assert files == {name.removeprefix("own/") for name in names() if name.startswith("own/")}
    assert all(path is not None and path.is_file() for path in map(pipeline_file, names()))
