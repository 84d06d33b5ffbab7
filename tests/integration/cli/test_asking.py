"""The commands that ask a bridge, as a scheduler's shell runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Command, finish, until


def runs_of(kfbridge: Command, pipeline: str) -> list[dict[str, Any]]:
    """The runs of the test's own pipeline."""
    name = json.loads(Path(pipeline).read_text())["pipelineInfo"]["name"]
    found: list[dict[str, Any]] = kfbridge("runs", "--pipeline", name, "--json").json["items"]
    return found


def running(kfbridge: Command, pipeline: str) -> str:
    """The id of the pipeline's one run, once it runs."""

    def look() -> str | None:
        found = [run["run_id"] for run in runs_of(kfbridge, pipeline) if run["state"] == "RUNNING"]
        return found[0] if found else None

    return str(until(look))


def test_a_run_that_succeeds(kfbridge: Command, pipeline: str, tmp_path: Path) -> None:
    said = kfbridge("submit", pipeline, "-a", "script=echo hello", "--wait", "--timeout", "60s")
    assert said.code == 0, said.err
    assert "✓ SUCCEEDED" in said.out.splitlines()[0]
    assert "SUCCEEDED  work" in said.err
    assert "work.model  system.Model  file://" in said.out
    (run,) = runs_of(kfbridge, pipeline)
    assert kfbridge("logs", run["run_id"][:8], "work").out.endswith("hello\n")
    explained = kfbridge("explain", run["run_id"])
    assert explained.code == 0
    assert "work.model  file://" in explained.out
    shown = kfbridge("show", run["run_id"], "--json").json
    assert shown["run"]["state"] == "SUCCEEDED"
    assert shown["run"]["arguments"] == {"script": "echo hello"}
    assert {task["path"]: task["state"] for task in shown["tasks"]}["work"] == "SUCCEEDED"


def test_a_run_that_fails_says_where_and_why(kfbridge: Command, pipeline: str) -> None:
    script = "script=echo before; echo the disk is full >&2; exit 7"
    said = kfbridge("submit", pipeline, "-a", script, "--wait")
    assert said.code == 1
    why = said.out.split("Why it did not succeed\n", 1)[1]
    assert why.startswith("  work: ")
    assert "    the disk is full" in why
    (run,) = runs_of(kfbridge, pipeline)
    shown = kfbridge("show", run["run_id"])
    assert (shown.code, "✗ FAILED  work" in shown.out) == (0, True)
    assert "the disk is full" in kfbridge("logs", run["run_id"]).out


def test_a_run_that_is_canceled_meanwhile(kfbridge: Command, pipeline: str) -> None:
    waiting = kfbridge.start("submit", pipeline, "-a", "script=sleep 300", "--wait")
    run_id = running(kfbridge, pipeline)
    assert kfbridge("cancel", run_id).code == 0
    assert finish(waiting).code == 3
    assert "is over already: CANCELED" in kfbridge("cancel", run_id).out


def test_a_run_that_takes_too_long(kfbridge: Command, pipeline: str) -> None:
    said = kfbridge("submit", pipeline, "-a", "script=sleep 300", "--wait", "--timeout", "1s")
    assert said.code == 4
    assert "it goes on" in said.err
    assert kfbridge("cancel", running(kfbridge, pipeline)).code == 0


def test_an_interruption_lets_the_run_go_on(kfbridge: Command, pipeline: str) -> None:
    waiting = kfbridge.start("submit", pipeline, "-a", "script=sleep 300", "--wait")
    run_id = running(kfbridge, pipeline)
    waiting.send_signal(signal.SIGINT)
    said = finish(waiting)
    assert said.code == 130
    assert f"kfbridge cancel {run_id[:8]}" in said.err
    assert runs_of(kfbridge, pipeline)[0]["state"] == "RUNNING"
    assert kfbridge("cancel", run_id).code == 0


def test_a_scheduler_that_stops_the_command_stops_the_run(kfbridge: Command, pipeline: str) -> None:
    waiting = kfbridge.start("submit", pipeline, "-a", "script=sleep 300", "--wait", "--cancel-on-interrupt")
    running(kfbridge, pipeline)
    waiting.send_signal(signal.SIGTERM)
    assert finish(waiting).code == 130
    until(lambda: runs_of(kfbridge, pipeline)[0]["state"] == "CANCELED")


def test_one_key_is_one_run(kfbridge: Command, pipeline: str) -> None:
    key = ["--key", f"nightly {Path(pipeline).parent.name}"]
    first = kfbridge("submit", pipeline, "-a", "script=true", *key, "--wait", "--json").json
    again = kfbridge("submit", pipeline, "-a", "script=true", *key)
    assert again.out.strip() == first["run_id"]
    other = kfbridge("submit", pipeline, "-a", "script=false", *key)
    assert other.code == 2
    assert "What to do: use another --key" in other.err
    assert len(runs_of(kfbridge, pipeline)) == 1


def test_a_higher_try_runs_again_what_failed(kfbridge: Command, pipeline: str, tmp_path: Path) -> None:
    key = ["--key", f"again {tmp_path.name}"]
    script = f"script=test -e {tmp_path}/done"
    assert kfbridge("submit", pipeline, "-a", script, *key, "--wait").code == 1
    (tmp_path / "done").touch()
    assert kfbridge("submit", pipeline, "-a", script, *key, "--try", "2", "--wait").code == 0
    assert [run["state"] for run in runs_of(kfbridge, pipeline)] == ["SUCCEEDED", "FAILED"]


def test_a_failed_run_is_retried_in_place(kfbridge: Command, pipeline: str, tmp_path: Path) -> None:
    assert kfbridge("submit", pipeline, "-a", f"script=test -e {tmp_path}/done", "--wait").code == 1
    (tmp_path / "done").touch()
    (run,) = runs_of(kfbridge, pipeline)
    said = kfbridge("retry", run["run_id"], "--wait")
    assert said.code == 0, said.err
    assert len(runs_of(kfbridge, pipeline)) == 1


def test_an_input_is_explained_in_its_version(kfbridge: Command, pipeline: str, tmp_path: Path) -> None:
    (tmp_path / "do-it").write_text("echo done")
    said = kfbridge("submit", pipeline, "--input", "script=do-it", "--json")
    assert said.code == 0, said.err
    explained = kfbridge("explain", said.json["run_id"], "--json").json
    (found,) = explained["inputs"]
    assert (found["name"], found["uri"], found["version_kind"]) == (
        "script",
        (tmp_path / "do-it").as_uri(),
        "sha256",
    )
    assert explained["parameters"]["script"] == (tmp_path / "do-it").as_uri()


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["-a", "scrpt=x"],
        ["-a", "script=x", "-a", "times=often"],
        ["-a", "script=x", "--backend", "nowhere"],
        ["-a", "script=x", "--gate", "work.auc >>> 1"],
    ],
    ids=["missing", "unknown", "mistyped", "backend", "gate"],
)
def test_what_is_refused_leaves_nothing_behind(argv: list[str], kfbridge: Command, pipeline: str) -> None:
    said = kfbridge("submit", pipeline, *argv)
    assert (said.code, said.out) == (2, "")
    assert "What to do: " in said.err
    assert "Traceback" not in said.err
    assert runs_of(kfbridge, pipeline) == []


def test_a_file_that_is_no_pipeline_leaves_nothing_behind(kfbridge: Command, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\n")
    before = kfbridge("runs", "--json").json
    said = kfbridge("submit", "pod.yaml")
    assert said.code == 2
    assert "It is a Kubernetes object of kind Pod." in said.err
    assert kfbridge("runs", "--json").json == before


@pytest.mark.parametrize(
    "argv", [["runs"], ["show", "latest"], ["cancel", "latest"], ["explain", "abcd1234"]]
)
def test_a_bridge_that_is_not_there(argv: list[str], alone: Command) -> None:
    said = alone(*argv, "--patience", "0")
    assert said.code == 5
    assert "the bridge at http://127.0.0.1:1 cannot be connected to (Connection refused)" in said.err
    assert "'kfbridge serve'" in said.err


def test_submit_needs_the_base_installation_only(alone: Command, pipeline: str) -> None:
    blocked = ("fastapi", "uvicorn", "sqlmodel", "sqlalchemy", "alembic", "google", "jinja2", "rich", "kfp")
    argv = ["submit", pipeline, "-a", "script=x", "--wait", "--patience", "0"]
    code = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import bridge.cli
sys.exit(bridge.cli.main({argv!r}))
"""
    probe = subprocess.run(
        [sys.executable, "-c", code], env=alone.environ, capture_output=True, text=True, check=False
    )
    assert probe.returncode == 5, probe.stderr
