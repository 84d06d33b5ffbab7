"""What a pipeline's Kubernetes document asks for: given, refused with a reason, or said not to be there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge.domain.states import RuntimeState
from bridge.local.claims import ClaimError, Claims
from bridge.local.recording import Outcome
from bridge.spec.load import Pipeline
from tests.support.handmade import (
    artifact_from_task,
    artifacts,
    component,
    constant,
    from_input,
    from_task,
    parameters,
    pipeline,
    sh,
    task,
)
from tests.unit.local.conftest import Driver

WRITE = component(outputs=parameters(Output="str"), executorLabel="write")
OUTPUT = "{{$.outputs.parameters['Output'].output_file}}"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A secret ``tok`` with the key ``password``, a config map ``conf`` with ``level``."""
    folder = tmp_path / "secrets"
    for name, key, value in (("tok", "password", "s3cret\n"), ("conf", "level", "high")):
        (folder / name).mkdir(parents=True)
        (folder / name / key).write_text(value)
    return folder


async def run(driver: Driver, config: Mapping[str, Any], script: str, *words: str, **more: Any) -> Outcome:
    """Runs one task, ``write``, of a pipeline with the parameter ``name``; its script's ``$0`` is the
    output file."""
    made = pipeline(
        [task("write", "write", **more.pop("task", {}))],
        {"write": WRITE},
        {"write": sh(script, OUTPUT, *words)},
        platform={"write": config},
        inputs=parameters(name="str?"),
    )
    return await driver.execute(made, **more)


def as_env(prefix: str, name: Any, key: str, **more: Any) -> dict[str, Any]:
    pair = {f"{prefix}Key": key, "envVar": "VALUE"}
    return {f"{prefix}AsEnv": [{f"{prefix}NameParameter": name, "keyToEnv": [pair], **more}]}


@pytest.mark.parametrize(
    ("config", "value"),
    [
        (as_env("secret", constant("tok"), "password"), "s3cret"),
        (as_env("secret", from_input("name"), "password"), "s3cret"),
        (as_env("configMap", constant("conf"), "level"), "high"),
        (as_env("secret", constant("tok"), "unheard", optional=True), "none"),
        (as_env("secret", constant("unheard"), "password", optional=True), "none"),
        ({"secretAsEnv": [{"secretName": "tok", "keyToEnv": [{"secretKey": "password", "envVar": "VALUE"}]}]},
         "s3cret"),
    ],
)  # fmt: skip
async def test_secrets_and_config_maps_as_variables(
    driver: Driver, secrets: Path, config: dict[str, Any], value: str
) -> None:
    outcome = await run(
        driver, config, 'printf "${VALUE-none}" > "$0"', secrets_dir=secrets, parameters={"name": "tok"}
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("write").parameters == {"Output": value}
    assert "s3cret" not in json.dumps(driver.recorder.starts["write"][0].platform)


async def test_a_name_that_is_null_leaves_its_entry_out(driver: Driver) -> None:
    config = as_env("secret", from_input("name"), "password") | {
        "tolerations": [{"tolerationJson": from_input("name")}],
        "nodeSelector": {"nodeSelectorJson": from_input("name")},
        "imagePullSecret": [{"secretNameParameter": from_input("name")}],
    }
    outcome = await run(driver, config, 'printf "${VALUE-none}" > "$0"')
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    start = driver.recorder.starts["write"][0]
    assert (dict(start.platform), list(start.notes)) == ({}, [])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            as_env("secret", constant("tok"), "user"),
            "The secret tok has no key user: write its value to {secrets}/tok/user.",
        ),
        (
            {"secretAsVolume": [{"secretNameParameter": constant("gone"), "mountPath": "/mnt/x"}]},
            "There is no secret gone: make the folder {secrets}/gone, with a file per key.",
        ),
        (as_env("secret", constant("../tok"), "password"), "'../tok' cannot be the name of a secret"),
        (as_env("configMap", constant("conf"), ".."), "'..' cannot be the key of the config map conf"),
        (
            {"pvcMount": [{"pvcNameParameter": constant("data"), "mountPath": "/data"}]},
            "no volume claim data: create it with CreatePVC, or make the folder {folder}/claims/data.",
        ),
        (
            {"pvcMount": [{"componentInputParameter": "name", "mountPath": "/data"}]},
            "write mounts a volume claim whose name has no value.",
        ),
        ({"secretAsEnv": {"secretName": "tok"}}, "/secretAsEnv: a list is expected here, not a mapping."),
        ({"activeDeadlineSeconds": "soon"}, "activeDeadlineSeconds is no whole number: 'soon'."),
    ],
)
async def test_what_is_missing_fails_the_task_at_once_and_says_what_to_do(
    driver: Driver, secrets: Path, config: dict[str, Any], sentence: str
) -> None:
    again = {"retryPolicy": {"maxRetryCount": 3, "backoffDuration": "60s"}}
    outcome = await run(driver, config, "true", secrets_dir=secrets, task=again)
    assert outcome.failed_tasks == ("write",)
    sentence = sentence.format(secrets=secrets, folder=driver.folder)
    assert sentence in str(driver.recorder.ends["write"].message)
    assert sentence in driver.log("write")
    assert len(driver.recorder.starts["write"]) == 1


async def test_a_secret_without_a_directory_of_secrets_names_the_option(driver: Driver) -> None:
    outcome = await run(driver, as_env("secret", constant("tok"), "password"), "true")
    assert "start it with --secrets-dir DIR, with a file DIR/tok/<key> per key" in str(outcome.message)


async def test_volumes_are_folders_whose_path_stands_in_the_command_line(
    driver: Driver, secrets: Path
) -> None:
    config = {
        "secretAsVolume": [{"secretName": "tok", "mountPath": "/etc/tok"}],
        "configMapAsVolume": [{"configMapName": "conf", "mountPath": "/etc/conf/"}],
        "emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/scratch", "sizeLimit": "1Gi"}],
        "genericEphemeralVolume": [{"volumeName": "eph", "mountPath": "/eph", "size": "1Gi"}],
    }
    script = (
        "cat /etc/tok/password /etc/conf/level > /scratch/both; cp /scratch/both --target-directory=/eph; "
        'cat "$1/both" > "$0"; [ ! -e /etc/conf.d/level ]'
    )
    outcome = await run(driver, config, script, "/eph", secrets_dir=secrets)
    assert outcome.state is RuntimeState.SUCCEEDED, driver.log("write")
    assert driver.recorder.result("write").parameters == {"Output": "s3cret\nhigh"}
    log = driver.log("write")
    assert f"The secret tok is at {secrets}/tok (only to be read, which is not enforced)" in log
    assert "/scratch was replaced by that 2 times in its command line and environment." in log
    assert "Not honoured: size and medium of emptyDirMounts" in log


async def test_a_mount_path_that_the_command_line_does_not_name_is_in_a_variable(
    driver: Driver, secrets: Path
) -> None:
    config = {"secretAsVolume": [{"secretName": "tok", "mountPath": "/etc/tok"}]}
    outcome = await run(driver, config, 'printf "%s" "$KFBRIDGE_MOUNTS" > "$0"', secrets_dir=secrets)
    assert outcome.state is RuntimeState.SUCCEEDED
    told = driver.recorder.result("write").parameters["Output"]
    assert json.loads(told) == {"/etc/tok": str(secrets / "tok")}
    assert "/etc/tok does not occur in its command line: it has to look into KFBRIDGE_MOUNTS" in driver.log(
        "write"
    )


def claim_tasks(*between: Any, **create: Any) -> list[Any]:
    given = {name: constant(value) for name, value in create.items()}
    made = task("createpvc", "createpvc", parameters=given, cachingOptions={"enableCache": True})
    return [made, *between]


CLAIM_COMPONENTS = {
    "createpvc": component(
        inputs=parameters(pvc_name="str?", pvc_name_suffix="str?", size="str?"),
        outputs=parameters(name="str"),
        executorLabel="createpvc",
    ),
    "deletepvc": component(inputs=parameters(pvc_name="str"), executorLabel="deletepvc"),
}
CLAIM_EXECUTORS = {name: {"container": {"image": f"argostub/{name}"}} for name in CLAIM_COMPONENTS}


async def test_claims_are_made_mounted_and_deleted(driver: Driver) -> None:
    claim = {"pvcNameParameter": from_task("createpvc", "name"), "mountPath": "/data"}
    made = pipeline(
        claim_tasks(
            task("put", "put", "createpvc"),
            task("get", "get", "put"),
            task("deletepvc", "deletepvc", "get", parameters={"pvc_name": from_task("createpvc", "name")}),
            pvc_name_suffix="-x",
            size="1Gi",
        ),
        {**CLAIM_COMPONENTS, "put": component(executorLabel="put"), "get": {**WRITE, "executorLabel": "get"}},
        {**CLAIM_EXECUTORS, "put": sh("echo kept > /data/in"), "get": sh('cat /data/kept/in > "$0"', OUTPUT)},
        platform={
            "put": {"pvcMount": [{**claim, "subPath": "kept"}]},
            "get": {"pvcMount": [claim]},
        },
    )
    outcome = await driver.execute(made)
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    name = driver.recorder.result("createpvc").parameters["name"]
    assert name.endswith("-x")
    assert driver.recorder.result("get").parameters == {"Output": "kept\n"}
    assert not (driver.folder / "claims" / name).exists()
    assert driver.recorder.starts["createpvc"][0].pod_name is None
    asked = driver.recorder.starts["put"][0].platform["pvcMount"]
    assert asked == [{"pvcName": name, "mountPath": "/data", "subPath": "kept"}]


async def test_a_claim_with_a_given_name_is_made_once_and_then_found_in_the_cache(driver: Driver) -> None:
    made = pipeline(claim_tasks(pvc_name="shared"), CLAIM_COMPONENTS, CLAIM_EXECUTORS)
    for state in ("SUCCEEDED", "SKIPPED"):
        assert (await driver.execute(made)).state is RuntimeState.SUCCEEDED
        assert driver.recorder.states() == {"createpvc": state}
        assert driver.recorder.result("createpvc").parameters == {"name": "shared"}
    failed = await driver.execute(made, caching=False)
    assert "The volume claim shared exists already" in str(failed.message)
    (driver.folder / "claims" / "shared").rmdir()
    assert (await driver.execute(made)).state is RuntimeState.SUCCEEDED
    assert driver.recorder.states() == {"createpvc": "SUCCEEDED"}


async def test_a_claims_task_that_is_run_again_finds_its_own_work_done(driver: Driver) -> None:
    made = pipeline(
        claim_tasks(
            task("deletepvc", "deletepvc", parameters={"pvc_name": from_task("createpvc", "name")}),
            pvc_name="shared",
        ),
        CLAIM_COMPONENTS,
        CLAIM_EXECUTORS,
    )
    run_id = uuid4()
    for _ in range(2):
        # The backend was ended before it could write down that the tasks were done.
        outcome = await driver.execute(made, kfp_run_id=run_id, caching=False)
        assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    claims = Claims(driver.folder / "claims")
    claims.create("mine", "run a")
    assert claims.create("mine", "run a") == claims.find("mine")
    with pytest.raises(ClaimError, match="exists already"):
        claims.create("mine", "run b")
    claims.delete("mine", "run a")
    with pytest.raises(ClaimError, match="no volume claim mine"):
        claims.delete("mine", "run b")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"pvc_name": "a", "pvc_name_suffix": "b"}, "Only one of pvc_name and pvc_name_suffix can be given."),
        ({"pvc_name": "../up"}, "'../up' cannot be the name of a volume claim in Kubernetes."),
    ],
)
async def test_claims_that_cannot_be_made(driver: Driver, given: dict[str, str], sentence: str) -> None:
    outcome = await driver.execute(pipeline(claim_tasks(**given), CLAIM_COMPONENTS, CLAIM_EXECUTORS))
    assert sentence in str(outcome.message)


async def test_what_has_no_effect_is_recorded_and_said(driver: Driver) -> None:
    config = {
        "nodeSelector": {"labels": {"disk": "ssd"}},
        "tolerations": [{"key": "gpu", "operator": "Exists"}, {"tolerationJson": constant([{"key": "b"}])}],
        "imagePullSecret": [{"secretNameParameter": constant("reg")}],
        "securityContext": {"runAsUser": "1000", "runAsNonRoot": True},
        "podMetadata": {"labels": {"team": "a"}},
        "initContainers": [{"name": "first"}],
        "fieldPathAsEnv": [{"name": "POD", "fieldPath": "metadata.name"}],
    }
    outcome = await run(driver, config, 'printf "$POD" > "$0"')
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    start = driver.recorder.starts["write"][0]
    assert driver.recorder.result("write").parameters == {"Output": start.pod_name}
    assert start.platform["nodeSelector"] == {"disk": "ssd"}
    assert start.platform["tolerations"] == [{"key": "gpu", "operator": "Exists"}, {"key": "b"}]
    assert start.platform["imagePullSecret"] == ["reg"]
    assert start.platform["podMetadata"] == {"labels": {"team": "a"}}
    told = [note.split(" ")[2].rstrip(":") for note in start.notes]
    assert told == ["imagePullSecret", "initContainers", "nodeSelector", "securityContext", "tolerations"]
    for note in start.notes:
        assert note in driver.log("write")


async def test_a_runner_that_sees_to_something_is_not_said_to_lack_it(driver: Driver) -> None:
    driver.runner.honours = frozenset({"user", "resources"})
    made = pipeline(
        [task("write", "write")],
        {"write": WRITE},
        {"write": sh("true", resources={"cpuLimit": 1.0})},
        platform={"write": {"securityContext": {"runAsUser": "1000"}}},
    )
    await driver.execute(made)
    assert driver.recorder.starts["write"][0].notes == []


async def test_a_time_limit_ends_the_component_and_counts_as_a_failed_attempt(driver: Driver) -> None:
    again = {"retryPolicy": {"maxRetryCount": 1, "backoffDuration": "0s"}}
    outcome = await run(
        driver,
        {"activeDeadlineSeconds": "1"},
        'echo $$ > "$1"; sleep 60',
        str(driver.folder / "pid"),
        task=again,
    )
    assert outcome.failed_tasks == ("write",)
    message = "The component was ended after 1 s, its active deadline."
    assert message in str(driver.recorder.ends["write"].message)
    assert message in driver.log("write")
    assert len(driver.recorder.starts["write"]) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((driver.folder / "pid").read_text()), 0)


async def test_a_pipelines_time_limit_ends_the_run(driver: Driver) -> None:
    made = pipeline(
        [task("slow", "slow"), task("after", "slow", "slow")],
        {"slow": component(executorLabel="slow")},
        {"slow": sh("sleep 60")},
        config={"activeDeadlineSeconds": 1, "resourceTtlOnCompletion": 5},
    )
    outcome = await driver.execute(made)
    assert outcome.state is RuntimeState.FAILED
    assert outcome.message == "The run was ended after 1 s, its active deadline."
    assert driver.recorder.states()["slow"] == "FAILED"
    assert driver.recorder.ends[""].state is RuntimeState.FAILED
    assert list(driver.recorder.starts[""][0].notes) == [
        "Not honoured: resourceTtlOnCompletion 5: runs are kept as long as the backend keeps any."
    ]


async def test_image_and_resources_come_from_inputs_that_the_component_does_not_declare(
    driver: Driver,
) -> None:
    channel = "{{$.inputs.parameters['pipelinechannel--x']}}"
    container = {"image": f"img:{channel}", "resources": {"resourceCpuLimit": channel}}
    given = {"pipelinechannel--x": from_input("name")}
    made = pipeline(
        [task("write", "write", parameters=given)],
        {"write": WRITE},
        {"write": {"container": {**container, "command": ["no-such-program"]}}},
        inputs=parameters(name="str"),
    )
    outcome = await driver.execute(made, parameters={"name": "500m"})
    assert "not in the image img:500m" in str(outcome.message)
    assert 'Not honoured: resources {"resourceCpuLimit": "500m"}' in driver.log("write")


async def test_a_component_gets_its_own_configuration(driver: Driver, secrets: Path) -> None:
    parts = [
        {"field": "ENV"},
        {"field": "RESOURCES", "applyToTask": True},
        *(
            {"field": f"KUBERNETES_{name}"}
            for name in ("NODE_SELECTOR", "TOLERATIONS", "AFFINITY", "VOLUMES")
        ),
    ]
    told = component(
        inputs={"config": {"parameterType": "TASK_CONFIG", "isOptional": True}},
        outputs=parameters(Output="dict", env="str"),
        executorLabel="tell",
        taskConfigPassthroughs=parts,
    )
    container = sh(
        'printf "%s" "$0" > "$1"; printf "${A-none}" > "$2"',
        "{{$.inputs.parameters['config']}}",
        OUTPUT,
        "{{$.outputs.parameters['env'].output_file}}",
        env=[{"name": "A", "value": "b"}],
        resources={"cpuLimit": 2.0, "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"}},
    )
    config = as_env("secret", constant("tok"), "password", optional=False) | {
        "nodeSelector": {"labels": {"x": "y"}},
        "tolerations": [{"key": "k"}],
        "nodeAffinity": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}], "weight": 2}],
        "secretAsVolume": [{"secretName": "tok", "mountPath": "/etc/tok", "optional": False}],
    }
    made = pipeline([task("tell", "tell")], {"tell": told}, {"tell": container}, platform={"tell": config})
    outcome = await driver.execute(made, secrets_dir=secrets)
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    result = driver.recorder.result("tell").parameters
    assert result["env"] == "none"
    reference = {"secretKeyRef": {"name": "tok", "key": "password", "optional": False}}
    term = {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    assert result["Output"] == {
        "env": [{"name": "A", "value": "b"}, {"name": "VALUE", "valueFrom": reference}],
        "resources": {"limits": {"cpu": "2", "nvidia.com/gpu": "1"}},
        "nodeSelector": {"x": "y"},
        "tolerations": [{"key": "k"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 2, "preference": term}]
            }
        },
        "volumes": [{"name": "tok", "secret": {"secretName": "tok", "optional": False}}],
        "volumeMounts": [{"name": "tok", "mountPath": "/etc/tok"}],
    }


def importing(uri: str) -> Pipeline:
    """A pipeline whose task ``use`` takes a model that lies at a URI."""
    importer = {
        "artifactUri": {"constant": uri},
        "typeSchema": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
    }
    components = {
        "import": component(output_artifacts=artifacts(artifact="Model"), executorLabel="import"),
        "use": component(input_artifacts=artifacts(model="Model"), executorLabel="use"),
    }
    model = artifact_from_task("import", "artifact")
    tasks = [task("import", "import"), task("use", "use", artifacts={"model": model})]
    return pipeline(tasks, components, {"import": {"importer": importer}, "use": sh("true")})


async def test_a_model_in_an_image_fails_the_task_that_takes_it(driver: Driver) -> None:
    outcome = await driver.execute(importing("oci://registry/org/model:v1"))
    assert outcome.failed_tasks == ("use",)
    assert "use needs model from the image oci://registry/org/model:v1" in str(outcome.message)


async def test_an_input_that_lies_elsewhere_is_not_brought_here_and_that_is_said(driver: Driver) -> None:
    outcome = await driver.execute(importing("s3://bucket/model"))
    assert outcome.state is RuntimeState.SUCCEEDED
    sentence = "Not brought here: the input model at s3://bucket/model; the component has to read it itself."
    assert list(driver.recorder.starts["use"][0].notes) == [sentence]
    assert sentence in driver.log("use")
