"""What components find in their containers, and what comes back from there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bridge.domain.states import RuntimeState
from bridge.local.container_engine import find_engine
from bridge.local.containers import ContainerRunner
from bridge.local.launcher import Launch
from bridge.local.mounts import Mount
from bridge.local.object_store import ObjectStore
from bridge.local.placeholders import Placeholders
from bridge.local.settings import ContainerSettings
from bridge.spec.load import load_pipeline
from bridge.spec.model import ContainerSpec
from tests.containers.conftest import one
from tests.containers.engine import FOREIGN_IMAGE, FOREIGN_USER, SPEAKING_IMAGE, RealEngine
from tests.support.corpus import corpus_file
from tests.support.handmade import artifact_from_task, artifacts, component, parameters, pipeline, sh, task
from tests.support.s3 import running_s3
from tests.unit.local.conftest import Driver

SUCCEEDED = RuntimeState.SUCCEEDED


async def test_artifacts_go_from_one_container_to_the_next(driver: Driver, engine: RealEngine) -> None:
    made = load_pipeline(corpus_file("critical/two_step_pipeline_containerized.yaml"))
    outcome = await driver.execute(made, parameters={"text": "from here"})
    assert outcome.state is SUCCEEDED, driver.log("component1")
    (written,) = driver.recorder.ends["component1"].result.artifacts["output_gcs"]
    path = Path(written.uri.removeprefix("file://"))
    assert path.read_text() == "from here\n"
    assert path.stat().st_uid == os.getuid()
    assert "from here" in driver.log("component2")
    assert engine.containers() == []


@pytest.mark.parametrize("image", ["alpine", FOREIGN_IMAGE])
async def test_artifacts_in_buckets_are_where_those_would_be_mounted(
    driver: Driver, engine: RealEngine, settings: ContainerSettings, image: str
) -> None:
    """Also for a container whose user is somebody else than who runs the backend."""
    driver.runner = ContainerRunner(
        await find_engine(engine.program), replace(settings, user="image"), driver.folder
    )
    write = sh('mkdir "$0"; echo "$0" > "$0/x"', "{{$.outputs.artifacts['data'].path}}")
    read = sh('cat "$0/x" > "$1"', "{{$.inputs.artifacts['data'].path}}", SAID)
    for container in (write, read):
        container["container"]["image"] = image
    data = artifacts(data="Dataset")
    made = pipeline(
        [
            task("write", "comp-write"),
            task("read", "comp-read", artifacts={"data": artifact_from_task("write", "data")}),
        ],
        {
            "comp-write": component(output_artifacts=data, executorLabel="write"),
            "comp-read": component(
                input_artifacts=data, outputs=parameters(said="str"), executorLabel="read"
            ),
        },
        {"write": write, "read": read},
    )
    with running_s3() as s3:
        kept = s3.bucket("kept")
        driver.objects = ObjectStore(s3.options)
        outcome = await driver.execute(made, pipeline_root="s3://kept")
        assert outcome.state is SUCCEEDED, outcome.message
        keys = [one.key for one in kept.objects.all()]
    place = f"by-hand/{driver.recorder.starts['write'][0].kfp_run_id}/write/data"
    assert keys == [f"{place}/x"]
    assert said(driver, "read") == f"/s3/kept/{place}\n"
    assert not list(driver.folder.rglob("buckets"))


async def test_a_component_without_inputs(driver: Driver) -> None:
    made = load_pipeline(corpus_file("critical/container_component_with_no_inputs.yaml"))
    assert (await driver.execute(made)).state is SUCCEEDED
    assert driver.log("hello-world-container").splitlines()[-1] == "hello world"


def said(driver: Driver, path: str = "work", key: str = "said") -> Any:
    """What a task gave for an output parameter."""
    return driver.recorder.ends[path].result.parameters[key]


SAID = "{{$.outputs.parameters['said'].output_file}}"


async def test_a_container_has_its_own_environment_and_not_this_machines(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "not for components")
    lines = "first\nsecond = 'x' #no comment"
    reading = "import json, os; print(json.dumps([dict(os.environ), os.getuid(), os.getcwd()]))"
    container = {
        "command": ["sh", "-c", f'python3 -c "{reading}" > "$0"'],
        "args": [SAID],
        "env": [
            {"name": "GREETING", "value": "hello {{$.pipeline_task_name}}"},
            {"name": "SEVERAL_LINES", "value": lines},
            {"name": "LONG", "value": "x" * 70_000},
        ],
    }
    run_id = UUID(int=7)
    made = one(more=container, outputs=parameters(said="list"))
    outcome = await driver.execute(made, kfp_run_id=run_id)
    assert outcome.state is SUCCEEDED, driver.log("work")
    env, user, folder = said(driver)
    assert "SECRET_OF_THE_SERVER" not in env
    assert (env["GREETING"], env["SEVERAL_LINES"], len(env["LONG"])) == ("hello work", lines, 70_000)
    assert env["KFP_RUN_ID"] == str(run_id)
    assert env["KFP_POD_NAME"] == driver.recorder.starts["work"][0].pod_name
    assert (user, folder) == (os.getuid(), "/")
    # The variables lay in a file on their way; a secret among them must not stay there.
    assert not list(driver.folder.rglob(".env-*"))


@pytest.mark.parametrize(
    ("container", "line"),
    [
        ({"image": SPEAKING_IMAGE}, "from the image"),
        ({"image": SPEAKING_IMAGE, "args": ["from", "args"]}, "from args"),
        ({"image": SPEAKING_IMAGE, "command": ["printf", "%s-%s\n"], "args": ["a", "b"]}, "a-b"),
        ({"image": SPEAKING_IMAGE, "command": ["pwd"]}, "/"),
    ],
)
async def test_command_and_args_take_the_place_of_the_images_own(
    driver: Driver, container: dict[str, Any], line: str
) -> None:
    outcome = await driver.execute(one(more=container))
    assert outcome.state is SUCCEEDED
    assert driver.log("work").splitlines()[-1] == line


async def test_a_lightweight_component_installs_and_runs_in_its_image(
    driver: Driver,
) -> None:
    made = load_pipeline(Path(__file__).parent / "lightweight.yaml")
    outcome = await driver.execute(made, parameters={"count": 3})
    assert outcome.state is SUCCEEDED, driver.log("produce") + driver.log("consume")
    assert outcome.result.parameters["Output"] == 6
    # Debian's Python in the image, not the one that runs this test.
    assert "/usr/lib/python3" in driver.log("produce")


async def test_what_pip_and_uv_download_is_kept_for_later_containers(driver: Driver, cache_dir: Path) -> None:
    script = 'for d in "$PIP_CACHE_DIR" "$UV_CACHE_DIR"; do mkdir -p "$d"; echo kept > "$d/probe"; done'
    assert (await driver.execute(one(script))).state is SUCCEEDED
    assert [(cache_dir / name / "probe").read_text() for name in ("pip", "uv")] == ["kept\n", "kept\n"]


async def test_siblings_run_at_the_same_time(driver: Driver) -> None:
    # Each of the two waits until it sees the other: one after the other they would never end.
    script = (
        'touch "$1/$0"; i=0; until [ -e "$1/$2" ]; do sleep 0.05; i=$((i+1)); [ $i -lt 400 ] || exit 1; done'
    )
    executors = {
        f"exec-{name}": {
            "container": {
                "image": "alpine",
                "command": ["sh", "-c", script],
                "args": [name, "{{$.workspace_path}}", other],
            }
        }
        for name, other in (("left", "right"), ("right", "left"))
    }
    made = pipeline(
        [task("left", "comp-left"), task("right", "comp-right")],
        {f"comp-{name}": component(executorLabel=f"exec-{name}") for name in ("left", "right")},
        executors,
    )
    assert (await driver.execute(made)).state is SUCCEEDED


async def test_the_images_own_user_leaves_outputs_that_are_ours(
    driver: Driver, engine: RealEngine, settings: ContainerSettings
) -> None:
    theirs = replace(settings, user="image")
    driver.runner = ContainerRunner(await find_engine(engine.program), theirs, driver.folder)
    script = 'id -u > "$0"; mkdir -p "$1/deep"; id -u > "$1/deep/file"; chmod 700 "$1/deep"'
    made = one(
        script,
        image=FOREIGN_IMAGE,
        more={"args": [SAID, "{{$.outputs.artifacts['data'].path}}"]},
        outputs=parameters(said="int"),
        output_artifacts=artifacts(data="Dataset"),
    )
    outcome = await driver.execute(made)
    assert outcome.state is SUCCEEDED, driver.log("work")
    assert said(driver) == FOREIGN_USER
    assert {path.stat().st_uid for path in driver.folder.rglob("*")} == {os.getuid()}


async def test_an_artifact_at_a_path_of_the_components_own_choice(driver: Driver) -> None:
    report = {"artifacts": {"data": {"artifacts": [{"custom_path": "/tmp/of-its-own/file"}]}}}
    script = 'mkdir -p /tmp/of-its-own; echo content > /tmp/of-its-own/file; printf %s "$1" > "$0"'
    made = one(
        script,
        more={"args": ["{{$.outputs.output_file}}", json.dumps(report)]},
        output_artifacts=artifacts(data="Dataset"),
    )
    outcome = await driver.execute(made)
    assert outcome.state is SUCCEEDED, driver.log("work")
    (found,) = driver.recorder.ends["work"].result.artifacts["data"]
    assert Path(found.uri.removeprefix("file://")).read_text() == "content\n"
    assert not Path("/tmp/of-its-own").exists()


async def test_inputs_cannot_be_changed_in_place(driver: Driver) -> None:
    made = pipeline(
        [
            task("give", "comp-give"),
            task("spoil", "comp-spoil", "give", artifacts={"data": artifact_from_task("give", "data")}),
        ],
        {
            "comp-give": component(executorLabel="exec-give", output_artifacts=artifacts(data="Dataset")),
            "comp-spoil": component(executorLabel="exec-spoil", input_artifacts=artifacts(data="Dataset")),
        },
        {
            "exec-give": sh('echo given > "$0"', "{{$.outputs.artifacts['data'].path}}"),
            "exec-spoil": sh('echo spoilt > "$0"', "{{$.inputs.artifacts['data'].path}}"),
        },
    )
    outcome = await driver.execute(made)
    assert outcome.state is RuntimeState.FAILED
    assert "Read-only file system" in str(outcome.message)


async def test_a_launch_can_carry_mounts_and_a_user(driver: Driver, tmp_path: Path) -> None:
    for name in ("claim", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "token").write_text("s3cret")
    script = "cat /etc/secret/token > /data/copy; id -u >> /data/copy; df -k /dev/shm | tail -1 > /data/shm"
    work_dir = tmp_path / "attempt"
    work_dir.mkdir()
    launch = Launch(
        container=ContainerSpec(image="alpine", command=("sh", "-c", script)),
        executor_input={"inputs": {}, "outputs": {"artifacts": {}, "outputFile": str(work_dir / "out.json")}},
        placeholders=Placeholders({}),
        work_dir=work_dir,
        log_path=work_dir / "log.txt",
        mounts=(
            Mount(source=tmp_path / "claim", target="/data", name="the claim data"),
            Mount(source=tmp_path / "secret", target="/etc/secret", name="the secret", read_only=True),
        ),
        user=FOREIGN_USER,
        shared_memory_bytes=16 << 20,
        pull_policy="Never",
    )
    assert await driver.runner.run(launch) == 0, launch.log_path.read_text()
    assert (tmp_path / "claim" / "copy").read_text() == f"s3cret{FOREIGN_USER}\n"
    assert (tmp_path / "claim" / "shm").read_text().split()[1] == str(16 << 10)


async def test_secrets_and_claims_lie_where_the_pipeline_mounts_them(driver: Driver) -> None:
    secret = driver.folder / "secrets" / "tok"
    secret.mkdir(parents=True)
    (secret / "password").write_text("s3cret")
    (driver.folder / "claims" / "shared").mkdir(parents=True)
    config = {
        "secretAsVolume": [{"secretName": "tok", "mountPath": "/etc/tok"}],
        "secretAsEnv": [{"secretName": "tok", "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}]}],
        "pvcMount": [{"constant": "shared", "mountPath": "/data"}],
    }
    # The path of the claim is put together by the component: only a mount can serve it.
    script = 'd=da; cat "/${d}ta/before" /etc/tok/password > "$0"; printf %s "$PASSWORD" > "/${d}ta/after"'
    (driver.folder / "claims" / "shared" / "before").write_text("claimed ")
    made = pipeline(
        [task("work", "comp-work")],
        {"comp-work": component(executorLabel="exec-work", outputs=parameters(said="str"))},
        {"exec-work": sh(script, SAID)},
        platform={"exec-work": config},
    )
    outcome = await driver.execute(made, secrets_dir=driver.folder / "secrets")
    assert outcome.state is SUCCEEDED, driver.log("work")
    assert said(driver) == "claimed s3cret"
    assert (driver.folder / "claims" / "shared" / "after").read_text() == "s3cret"
    assert "s3cret" not in driver.log("work")
