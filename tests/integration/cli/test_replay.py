"""``kfbridge replay``: the failed task of a run, here, on its real inputs, under the debugger."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from bridge.commands.compiling import compiled
from tests.integration.cli.conftest import Command, Said, until
from tests.support.local_backend import start_local_backend

SOURCE = """
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

@dsl.component
def make(count: int, rows: Output[Dataset]):
    with open(rows.path, "w") as file:
        file.write("\\n".join(str(number % 7) for number in range(1, count)))

@dsl.component
def invert(rows: Input[Dataset], scale: int) -> float:
    import statistics

    def inverse(text):
        return scale / int(text)

    with open(rows.path) as file:
        return statistics.fmean(inverse(line) for line in file)

@dsl.pipeline(name="fails-on-its-data")
def fails_on_its_data(count: int = 10):
    rows = make(count=count).outputs["rows"]
    invert(rows=rows, scale=3)
"""


def replay(command: Command, *argv: str, typed: str = "") -> Said:
    """The command, with somebody who types at its debugger."""
    line = [sys.executable, "-m", "bridge.cli", "replay", *argv]
    done = subprocess.run(
        line,
        env=command.environ,
        cwd=command.cwd,
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def compiled_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "source.py").write_text(SOURCE)
    with compiled(folder / "source.py", function=None, python=None) as path:
        return Path((folder / "fails.yaml").write_text(path.read_text()) and folder / "fails.yaml")


def test_the_debugger_stops_at_the_line_that_fails_on_the_real_inputs(
    alone: Command, compiled_pipeline: Path, tmp_path: Path
) -> None:
    ran = alone("run", str(compiled_pipeline), "--data-dir", str(tmp_path / "data"), "--json")
    assert ran.code == 1, ran.err
    began = time.monotonic()
    said = replay(
        alone,
        ran.json["kfp_run_id"],
        "--data-dir",
        str(tmp_path / "data"),
        "--pdb",
        typed="p ('text is', text)\np ('scale is', scale)\nquit\n",
    )
    assert time.monotonic() - began < 60
    assert said.code == 1, said.err
    assert "-> return scale / int(text)" in said.out
    assert "('text is', '0\\n')" in said.out
    assert "('scale is', 3)" in said.out
    assert "ZeroDivisionError" in said.err
    assert "executor_main" not in said.err
    assert "replaying invert of fails-on-its-data" in said.err


def test_a_failed_run_says_how_to_replay_it(alone: Command, compiled_pipeline: Path) -> None:
    ran = alone("run", str(compiled_pipeline), "--logs", "none")
    (hint,) = [line for line in ran.out.splitlines() if "kfbridge replay" in line]
    words = hint.split("kfbridge replay ", 1)[1].split()
    assert words[1] == "invert"
    said = replay(alone, *words[:-1])
    assert said.code == 1, said.err
    assert "ZeroDivisionError" in said.err


def test_a_run_that_the_bridge_knows(kfbridge: Command, compiled_pipeline: Path, tmp_path: Path) -> None:
    submitted = kfbridge("submit", str(compiled_pipeline), "--wait", "--timeout", "80s", "--json")
    assert submitted.code == 1, submitted.err
    run_id = submitted.json["run_id"]
    failed = replay(kfbridge, run_id, "--json")
    assert failed.json["task"] == "invert"
    assert failed.json["exit_code"] == 1
    assert failed.json["inputs"] == {"scale": 3}
    assert "ZeroDivisionError" in failed.json["log"]
    good = replay(kfbridge, run_id, "make", "--folder", str(tmp_path / "here"))
    assert good.code == 0, good.err
    assert (tmp_path / "here/artifacts/make/rows").read_text().splitlines() == list("123456012")
    assert "make  ✓ SUCCEEDED" in good.out


@pytest.mark.parametrize("shape", ["mlmd", "native"])
def test_a_run_that_a_backend_knows(
    alone: Command, compiled_pipeline: Path, tmp_path: Path, shape: str
) -> None:
    spec = yaml.safe_load(compiled_pipeline.read_text())
    with start_local_backend(tmp_path / "kfp", options=("--metadata", shape)) as backend:
        runs = f"{backend.url}/apis/v2beta1/runs"
        body = {"display_name": "there", "pipeline_spec": spec}
        run_id = httpx.post(runs, json=body).raise_for_status().json()["run_id"]
        until(lambda: httpx.get(f"{runs}/{run_id}").json().get("state") == "FAILED")
        said = replay(alone, run_id, "--kfp-url", backend.url, "--json")
    assert (said.code, said.json["task"], said.json["inputs"]) == (1, "invert", {"scale": 3}), said.err
    assert "ZeroDivisionError" in said.json["log"]


def test_what_cannot_be_replayed_is_told(
    alone: Command, kfbridge: Command, pipeline: str, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    run_id = alone("run", pipeline, "-a", "script=echo from here", "--data-dir", data, "--json").json[
        "kfp_run_id"
    ]
    no_failure = replay(alone, run_id, "--data-dir", data)
    assert (no_failure.code, "no task of the run failed" in no_failure.err) == (2, True)
    unknown = replay(alone, run_id, "nothing", "--data-dir", data)
    assert (unknown.code, "its tasks are: work" in unknown.err) == (2, True)
    shell = replay(alone, run_id, "work", "--data-dir", data, "--pdb")
    assert (shell.code, "replay it without --pdb" in shell.err) == (1, True)
    assert "from here" in replay(alone, run_id, "work", "--data-dir", data).err
    assert "no whole run id" in replay(alone, "4f7a", "--data-dir", data).err
    assert replay(alone, run_id, "--kfp-url", "http://127.0.0.1:1").code == 5
    assert "'kfbridge runs' lists" in replay(kfbridge, "4f7a4f7a-0000-4000-8000-000000000000").err
