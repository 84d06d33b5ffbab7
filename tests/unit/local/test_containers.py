"""What a container engine is asked for, and how its answers are read; the engine itself plays no part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.local.container_engine import Answer, Engine, EngineError, find_engine
from bridge.local.container_files import Environment
from bridge.local.container_plan import Bind, Plan, make_plan, owner_of
from bridge.local.container_resources import limits, quantity, size
from bridge.local.launcher import Launch
from bridge.local.placeholders import Placeholders
from bridge.local.settings import ContainerSettings, LocalSettings
from bridge.spec.model import ContainerSpec

DOCKER = Engine(program="docker", kind="docker", version="1", cpus=4)
PODMAN = Engine(program="podman", kind="podman", version="1", cpus=4)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        (1.5, 1.5),
        ("1Gi", 1024.0**3),
        ("256Mi", 256 * 1024.0**2),
        ("1e3", 1000.0),
        ("3k", 3000.0),
        ("1E", 1e18),
        (".5G", 5e8),
    ],
)
def test_quantities(text: Any, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "much", "1 GB", "-1", "1mi", "0x10"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, []),
        ({"cpuLimit": 0.5}, ["--cpus", "0.5"]),
        ({"cpuLimit": 1.0, "resourceCpuLimit": "250m"}, ["--cpus", "0.25"]),
        ({"resourceCpuLimit": "64"}, ["--cpus", "4"]),
        ({"resourceCpuRequest": "500m"}, ["--cpu-shares", "512"]),
        ({"memoryLimit": 0.256}, ["--memory", "256000000", "--memory-swap", "256000000"]),
        ({"resourceMemoryLimit": "1Mi"}, ["--memory", "6291456", "--memory-swap", "6291456"]),
        (
            {"resourceMemoryLimit": "1Gi", "resourceMemoryRequest": "512Mi"},
            ["--memory", "1073741824", "--memory-swap", "1073741824", "--memory-reservation", "536870912"],
        ),
    ],
)
def test_limits(resources: dict[str, Any], options: list[str]) -> None:
    assert list(limits(resources, DOCKER).options) == options


def test_gpus_are_asked_for_where_there_are_some() -> None:
    wish = {"accelerator": {"resourceCount": "2", "resourceType": "nvidia.com/gpu"}}
    with_gpus = Engine(program="docker", kind="docker", version="1", has_gpus=True)
    assert limits(wish, with_gpus).options == ("--gpus", "2")
    with_gpus = Engine(program="podman", kind="podman", version="1", has_gpus=True)
    assert limits(wish, with_gpus).options == (
        "--device",
        "nvidia.com/gpu=0",
        "--device",
        "nvidia.com/gpu=1",
    )
    without = limits(wish, PODMAN)
    assert without.options == ()
    assert without.notes == (
        "2 x nvidia.com/gpu is asked for; podman here has no GPUs to give, so none is given.",
    )


@pytest.mark.parametrize(("count", "text"), [(64 << 20, "64 MiB"), (10, "10 B"), (1536 << 20, "1.5 GiB")])
def test_sizes_for_readers(count: int, text: str) -> None:
    assert size(count) == text


def launch(folder: Path, **more: Any) -> Launch:
    """A launch as the driver makes it: one output below the run's root, an input elsewhere."""
    for name in ("root/work", "attempt", "workspace", "elsewhere"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    outputs = {"data": {"artifacts": [{"uri": f"{folder}/root/work/data"}]}}
    inputs = {
        "near": {"artifacts": [{"uri": f"{folder}/root/other/near"}]},
        "far": {"artifacts": [{"uri": f"{folder}/elsewhere"}, {"uri": f"{folder}/gone"}]},
    }
    executor_input = {"inputs": {"artifacts": inputs}, "outputs": {"artifacts": outputs}}
    names = {
        "pipeline_root": f"{folder}/root",
        "workspace_path": f"{folder}/workspace",
        "pipeline_job_uuid": "run",
    }
    container = ContainerSpec(
        image="image",
        command=("program", "{{$.pipeline_job_uuid}}"),
        args=("--x",),
        env=(("A", "of the container"),),
    )
    fields = {
        "container": container,
        "executor_input": executor_input,
        "placeholders": Placeholders(executor_input, names),
        "work_dir": folder / "attempt",
        "log_path": folder / "attempt" / "log.txt",
        "env": {"A": "of the platform", "B": "of the platform"},
    }
    return Launch(**{**fields, **more})


def plan(
    folder: Path, settings: ContainerSettings | None = None, engine: Engine = DOCKER, **more: Any
) -> Plan:
    settings = settings or ContainerSettings()
    return make_plan(launch(folder, **more), settings, engine, folder / "cache", "owner")


def option(made: Plan, name: str) -> list[str]:
    """All values of an option."""
    words = made.options
    return [words[place + 1] for place, word in enumerate(words) if word == name]


def test_paths_are_the_same_inside_and_only_what_is_needed_can_be_written_to(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert {bind.target: bind.read_only for bind in made.binds} == {
        f"{tmp_path}/root": True,
        f"{tmp_path}/elsewhere": True,
        f"{tmp_path}/root/work": False,
        f"{tmp_path}/attempt": False,
        f"{tmp_path}/workspace": False,
        f"{tmp_path}/cache": False,
    }
    assert all(str(bind.source) == bind.target for bind in made.binds)


def test_a_mount_with_a_comma_in_its_path() -> None:
    bind = Bind(Path('/a,"b'), "/target", read_only=True)
    assert bind.option == 'type=bind,"source=/a,""b",target=/target,readonly'


def test_command_and_args(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert (made.entrypoint, made.words) == ("program", ("run", "--x"))
    assert option(made, "--entrypoint") == ["program"]
    made = plan(tmp_path, container=ContainerSpec(image="image", args=("a",)))
    assert (made.entrypoint, made.words) == (None, ("a",))
    assert option(made, "--entrypoint") == []


@pytest.mark.parametrize(
    ("engine", "settings", "asked", "user", "is_ours"),
    [
        (DOCKER, {}, {}, f"{os.getuid()}:{os.getgid()}", True),
        (Engine(program="p", kind="podman", version="1", rootless=True), {}, {}, "0:0", True),
        (DOCKER, {"user": "image"}, {}, None, False),
        (DOCKER, {}, {"user": os.getuid() + 1}, f"{os.getuid() + 1}", False),
        (DOCKER, {"user": "image"}, {"user": os.getuid() + 1, "group": 7}, f"{os.getuid() + 1}:7", False),
        (DOCKER, {}, {"group": 7}, f"{os.getuid()}:7", True),
    ],
)
def test_who_a_container_runs_as(
    tmp_path: Path, engine: Engine, settings: Any, asked: Any, user: str | None, is_ours: bool
) -> None:
    made = plan(tmp_path, ContainerSettings(**settings), engine, **asked)
    assert option(made, "--user") == ([] if user is None else [user])
    assert made.identity.is_ours is is_ours
    assert ("HOME" in made.env) is (user is not None and not user.startswith("0"))


def test_variables_of_the_container_win_over_those_of_the_platform_and_the_settings(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    made = plan(tmp_path, ContainerSettings(ca_bundle=bundle, env={"B": "of the settings", "C": "too"}))
    assert (made.env["A"], made.env["B"], made.env["C"]) == ("of the container", "of the platform", "too")
    assert made.env["PIP_CERT"] == made.env["SSL_CERT_FILE"] == "/etc/kfbridge/ca-bundle.pem"
    assert made.env["PIP_CACHE_DIR"] == f"{tmp_path}/cache/pip"
    assert "PATH" not in made.env


@pytest.mark.parametrize(
    ("asked", "policy"), [(None, "always"), ("IfNotPresent", "missing"), ("Never", "never")]
)
def test_a_task_may_have_a_pull_policy_of_its_own(tmp_path: Path, asked: str | None, policy: str) -> None:
    assert plan(tmp_path, ContainerSettings(pull="always"), pull_policy=asked).pull == policy


def test_a_name_that_engines_take(tmp_path: Path) -> None:
    work_dir = tmp_path / "prüfung & co-1234-0-0"
    work_dir.mkdir()
    assert plan(tmp_path, work_dir=work_dir).name == "kfbridge-pr-fung-co-1234-0-0"


def test_backends_tell_their_containers_apart() -> None:
    assert owner_of(Path("/a")) == owner_of(Path("/a")) != owner_of(Path("/b"))


def test_variables_go_through_a_file_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAKEN", "here")
    env = {
        "A": "x = #y ",
        "TWO_LINES": "1\n2",
        "LONG": "x" * 70_000,
        "TAKEN": "1\n2",
        "odd name": "v",
        "DOCKER_X": "\n",
    }
    with Environment(env, tmp_path) as environment:
        (file,) = tmp_path.iterdir()
        assert file.read_text() == "A=x = #y \n"
        assert file.stat().st_mode & 0o777 == 0o600
        assert environment.options[:2] == ["--env-file", str(file)]
        assert environment.options[2:] == [
            *("--env", "TWO_LINES"),
            *("--env", "LONG"),
            *("--env", "TAKEN=1\n2"),
            *("--env", "odd name=v"),
            *("--env", "DOCKER_X=\n"),
        ]
        assert environment.variables == {"TWO_LINES": "1\n2", "LONG": "x" * 70_000}
    assert list(tmp_path.iterdir()) == []


def test_what_an_engine_says_is_its_last_line() -> None:
    assert Answer(1, "", "noise\nError: no such container\n\n").said == "no such container"
    assert Answer(1, "out\n", "").said == "out"


def fake_engine(folder: Path, script: str) -> str:
    """A program that answers like an engine."""
    program = folder / "engine"
    program.write_text(f'#!/bin/sh\ncase "$1" in\n--version) {script};;\ninfo) cat "{folder}/info";;\nesac\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("version", "info", "expected"),
    [
        (
            "Docker version 28.2.2, build e6534b4",
            '{"ServerVersion": "28.2.2", "NCPU": 8, "SecurityOptions": ["name=seccomp", "name=rootless"], '
            '"Runtimes": {"nvidia": {}}}',
            {"kind": "docker", "version": "28.2.2", "rootless": True, "cpus": 8, "has_gpus": True},
        ),
        (
            "podman version 4.3.1",
            '{"host": {"cpus": 2, "security": {"rootless": false}}, "version": {"Version": "4.3.1"}}',
            {"kind": "podman", "version": "4.3.1", "rootless": False, "cpus": 2},
        ),
    ],
)
async def test_what_an_engine_tells_of_itself(
    tmp_path: Path, version: str, info: str, expected: dict[str, Any]
) -> None:
    (tmp_path / "info").write_text(info)
    found = await find_engine(fake_engine(tmp_path, f'echo "{version}"'))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("info", ["", "not json", '{"ServerErrors": ["Cannot connect to the daemon"]}'])
async def test_an_engine_that_does_not_answer(tmp_path: Path, info: str) -> None:
    (tmp_path / "info").write_text(info)
    with pytest.raises(EngineError, match="does not answer"):
        await find_engine(fake_engine(tmp_path, "echo Docker version 1"))


async def test_no_engine_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="docker is not installed; podman is not installed"):
        await find_engine("auto")


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        LocalSettings(data_dir=tmp_path, containers=ContainerSettings(ca_bundle=tmp_path / "none.pem"))
