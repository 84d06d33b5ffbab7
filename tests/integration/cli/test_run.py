"""``kfbridge run``: a pipeline here and now, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Command, finish, until
from tests.support.handmade import component, sh, task
from tests.support.handmade import pipeline as handmade

SOURCE = """
from kfp import dsl

print("importing writes to standard output")

@dsl.container_component
def hello(name: str):
    return dsl.ContainerSpec(image="alpine", command=["echo", "hello", name])

@dsl.pipeline(name="greeting")
def greet(name: str = "you"):
    hello(name=name)
"""
SECOND = """
@dsl.pipeline(name="twice")
def twice():
    greet(name="a")
    greet(name="b")
"""


def backends(folder: Path) -> list[int]:
    """The processes of this machine that have the folder on their command line or as a working directory."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
            where = str((process / "cwd").readlink())
        except OSError:
            continue
        if f"{folder}/.cache" in line or where.startswith(f"{folder}/.cache"):
            found.append(int(process.name))
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path) -> object:
    yield
    until(lambda: not backends(tmp_path))


def test_a_compiled_pipeline_runs_to_its_end(alone: Command, pipeline: str, tmp_path: Path) -> None:
    said = alone("run", pipeline, "-a", "script=echo hello")
    assert said.code == 0, said.err
    assert "work | hello" in said.err
    assert "✓ SUCCEEDED  work" in said.out
    assert "work.model  system.Model  file://" in said.out
    assert (tmp_path / ".cache" / "kfbridge" / "run" / "1").is_dir()


def test_a_failure_is_the_exit_code_and_says_where(alone: Command, pipeline: str) -> None:
    said = alone("run", pipeline, "-a", "script=echo the disk is full; exit 3", "--logs", "none")
    assert said.code == 1
    assert "work | " not in said.err
    assert "the disk is full" in said.out.split("Why it did not succeed")[1]


def test_secrets_come_from_a_directory(alone: Command, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "tok").mkdir(parents=True)
    (tmp_path / "secrets" / "tok" / "password").write_text("s3cret")
    secret = {"secretName": "tok", "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}]}
    made = handmade(
        [task("work", "work")],
        {"work": component(executorLabel="work")},
        {"work": sh('[ "$PASSWORD" = s3cret ] && echo it is right')},
        platform={"work": {"secretAsEnv": [secret]}},
    )
    (tmp_path / "secret.yaml").write_text(made.text)
    without = alone("run", str(tmp_path / "secret.yaml"))
    assert without.code == 1
    assert "start it with --secrets-dir DIR" in without.out + without.err
    said = alone("run", str(tmp_path / "secret.yaml"), "--secrets-dir", str(tmp_path / "secrets"))
    assert said.code == 0, said.err
    assert "work | it is right" in said.err


def test_the_result_as_json(alone: Command, pipeline: str) -> None:
    said = alone("run", pipeline, "-a", "script=true", "--json")
    assert said.err == ""
    assert said.json["state"] == "SUCCEEDED"
    assert list(said.json["artifacts"]) == ["work.model"]
    assert [task["path"] for task in said.json["tasks"]] == ["", "work"]


def test_finished_tasks_are_used_again(alone: Command, pipeline: str, tmp_path: Path) -> None:
    document = json.loads(Path(pipeline).read_text())
    document["root"]["dag"]["tasks"]["work"]["cachingOptions"] = {"enableCache": True}
    Path(pipeline).write_text(json.dumps(document))
    for _ in range(2):
        assert alone("run", pipeline, "-a", f"script=echo once >> {tmp_path}/count").code == 0
    assert (tmp_path / "count").read_text() == "once\n"


def test_the_option_wins_over_what_is_compiled(alone: Command, pipeline: str, tmp_path: Path) -> None:
    for option in ("--caching", "--caching", "--no-caching"):
        assert alone("run", pipeline, option, "-a", f"script=echo once >> {tmp_path}/count").code == 0
    assert (tmp_path / "count").read_text() == "once\nonce\n"


def test_a_timeout_cancels_the_run(alone: Command, pipeline: str) -> None:
    said = alone("run", pipeline, "-a", "script=sleep 300", "--timeout", "1s")
    assert said.code == 4
    assert "■ CANCELED" in said.out


def test_an_interruption_cancels_the_run(alone: Command, pipeline: str, tmp_path: Path) -> None:
    started = alone.start("run", pipeline, "-a", f"script=touch {tmp_path}/begun; sleep 300")
    until((tmp_path / "begun").exists)
    started.send_signal(signal.SIGINT)
    said = finish(started)
    assert said.code == 3, said.err
    assert "■ CANCELED" in said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["run.lock", "local.lock", "local.json"])
def test_an_interruption_on_the_way_to_the_run_ends_it(
    number: signal.Signals, moment: str, alone: Command, pipeline: str, tmp_path: Path
) -> None:
    started = alone.start("run", pipeline, "-a", "script=sleep 300")
    until((tmp_path / ".cache" / "kfbridge" / "run" / "1" / moment).exists)
    started.send_signal(number)
    said = finish(started)
    # The very first moment, before there is a loop, has the signal's own effect.
    codes = (3, 130, -number) if moment == "run.lock" else (3, 130)
    assert said.code in codes, said.err
    assert "Traceback" not in said.err


def test_the_cache_keeps_the_newest_runs_only(alone: Command, pipeline: str, tmp_path: Path) -> None:
    def options(*given: str) -> list[str]:
        go = tmp_path / f"go{len(given)}"
        command = alone.start(
            "run", pipeline, *given, "-a", f"script=while ! test -e {go}; do sleep 0.1; done"
        )

        def line() -> list[str]:
            lines = [Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in backends(tmp_path)]
            return next((words for words in lines if "local" in words), [])

        found = until(line)
        go.touch()
        assert finish(command).code == 0
        return list(found)

    assert "--keep-runs" in options()
    assert "--keep-runs" not in options("--data-dir", str(tmp_path / ".cache" / "mine"))


def test_a_killed_command_takes_its_backend_with_it(alone: Command, pipeline: str, tmp_path: Path) -> None:
    started = alone.start("run", pipeline, "-a", f"script=touch {tmp_path}/begun; sleep 300")
    until((tmp_path / "begun").exists)
    assert backends(tmp_path)
    started.kill()
    finish(started)
    until(lambda: not backends(tmp_path))
    said = alone("run", pipeline, "-a", "script=echo next")
    assert said.code == 0, said.err


def test_two_at_once_do_not_meet(alone: Command, pipeline: str, tmp_path: Path) -> None:
    first = alone.start("run", pipeline, "-a", f"script=while ! test -e {tmp_path}/go; do sleep 0.1; done")
    until((tmp_path / ".cache" / "kfbridge" / "run" / "1" / "local.json").exists)
    said = alone("run", pipeline, "-a", f"script=touch {tmp_path}/go")
    assert said.code == 0, said.err
    assert finish(first).code == 0


def test_python_source_is_compiled(alone: Command, tmp_path: Path) -> None:
    (tmp_path / "greeting.py").write_text(SOURCE)
    said = alone("run", "greeting.py", "-a", "name=world")
    assert said.code == 0, said.err
    assert "hello world" in said.err


def test_source_may_use_kfps_client(alone: Command, tmp_path: Path) -> None:
    uses = (
        "import kfp\nfrom kfp.client import Client\nimport kfp.client.auth\n"
        "assert kfp.Client is Client and Client.list_runs.__module__ == 'kfp.client.client'\n"
    )
    (tmp_path / "greeting.py").write_text(uses + SOURCE)
    said = alone("run", "greeting.py", "-a", "name=world")
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    ("source", "options", "complaint"),
    [
        (SOURCE + SECOND, [], "defines 2 pipelines; there are: greet, twice"),
        (SOURCE, ["--function", "gret"], "has no pipeline gret; there are: greet"),
        ("x = 1", [], "defines no pipeline"),
        ("raise RuntimeError('no data here')", [], "RuntimeError: no data here"),
        ("def f(:", [], "SyntaxError"),
    ],
    ids=["several", "wrong", "none", "raises", "syntax"],
)
def test_source_that_cannot_be_compiled(
    source: str, options: list[str], complaint: str, alone: Command, tmp_path: Path
) -> None:
    (tmp_path / "source.py").write_text(source)
    said = alone("run", "source.py", *options)
    assert said.code == 2
    assert complaint in said.err


def test_one_of_several_pipelines_is_chosen(alone: Command, tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(SOURCE + SECOND)
    said = alone("run", "source.py", "--function", "twice", "--json")
    assert said.code == 0, said.err
    assert said.json["pipeline"]["name"] == "twice"


def test_a_python_without_kfp_is_told(alone: Command, tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(SOURCE)
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    said = alone("run", "source.py", "--python", str(bare))
    assert said.code == 2
    assert f"kfp is not installed for {bare}" in said.err
    assert alone("run", "source.py", "--python", str(tmp_path / "nowhere")).code == 2


def test_wrong_arguments_start_nothing(alone: Command, pipeline: str) -> None:
    said = alone("run", pipeline, "-a", "scrpt=x")
    assert said.code == 2
    assert "Did you mean script?" in said.err
