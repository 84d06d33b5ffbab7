"""Which pipelines a project admits: a refusal names the rule, the component and the value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.lineage.database import Database
from bridge.service.admission import breaches_of, full_name
from bridge.service.admission_settings import AdmissionSettings
from bridge.service.settings import SettingsError
from bridge.service.settings_sources import load_settings
from bridge.spec.load import load_pipeline
from tests.support import handmade
from tests.unit.service.harness import harness
from tests.unit.service.test_api import problem

DIGEST = "sha256:" + "a" * 64


def text(image: str = "registry.example/ml/train:1", **resources: Any) -> str:
    container: dict[str, Any] = {"image": image, "command": ["true"]}
    if resources:
        container["resources"] = resources
    return json.dumps(
        handmade.document(
            {"train": handmade.task("train", "comp-train")},
            {"comp-train": handmade.component(executorLabel="exec-train")},
            {"exec-train": {"container": container}},
        )
    )


def broken(rules: dict[str, Any], **pipeline: Any) -> list[str]:
    found = list(breaches_of(load_pipeline(text(**pipeline)), AdmissionSettings(**rules)))
    assert all(one.component == "train" for one in found)
    return [f"{one.rule}: {one.told}" for one in found]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python", "docker.io/library/python"),
        ("python:3.11", "docker.io/library/python:3.11"),
        ("bitnami/x", "docker.io/bitnami/x"),
        ("Registry.example/ml/x@sha256:1", "registry.example/ml/x@sha256:1"),
        ("localhost:5000/x", "localhost:5000/x"),
        ("localhost/x", "localhost/x"),
    ],
)
def test_an_image_has_a_registry_even_where_none_is_written(image: str, name: str) -> None:
    assert full_name(image) == name


@pytest.mark.parametrize(
    ("registries", "image", "admitted"),
    [
        (["registry.example/ml"], "registry.example/ml/train:1", True),
        (["registry.example/ml/"], "registry.example/ml/a/b@sha256:1", True),
        (["registry.example/ml"], "registry.example/mlx/train", False),
        (["registry.example/ml"], "registry.example.evil/ml/train", False),
        (["registry.example/ml"], "registry.example/ml/../other/train", False),
        (["docker.io/library"], "python:3.11", True),
        (["docker.io/library"], "somebody/python", False),
        (["registry.example"], "{{$.inputs.parameters['image']}}", False),
        ([], "python", False),
    ],
)
def test_images_come_from_the_registries_of_the_project(
    registries: list[str], image: str, admitted: bool
) -> None:
    found = broken({"registries": registries}, image=image)
    assert (not found) is admitted
    assert all(image in one for one in found)


def test_a_pinned_image_names_its_digest() -> None:
    rules = {"pinned_images": True}
    assert broken(rules, image=f"registry.example/x@{DIGEST}") == []
    assert "python:3.11 is not named by its digest" in broken(rules, image="python:3.11")[0]


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"resourceCpuLimit": "2", "resourceMemoryLimit": "1Gi"}, []),
        ({"cpuLimit": 2, "memoryLimit": 1}, []),
        ({"resourceCpuLimit": "2"}, ["it has no memory limit"]),
        ({"resourceCpuRequest": "2", "resourceMemoryLimit": "1Gi"}, ["it has no cpu limit"]),
        (
            {"resourceCpuLimit": "{{$.inputs.parameters['cpus']}}", "resourceMemoryLimit": "1Gi"},
            ["its cpu limit makes no sense, or is decided only when it runs"],
        ),
        ({}, ["it has no cpu limit", "it has no memory limit"]),
    ],
)
def test_limits_are_there_where_they_are_required(resources: dict[str, Any], told: list[str]) -> None:
    found = broken({"required_limits": ["cpu", "memory"]}, **resources)
    assert len(found) == len(told)
    assert all(wanted in one for wanted, one in zip(told, found, strict=True))


@pytest.mark.parametrize(
    ("accelerator", "told"),
    [
        ({"resourceType": "nvidia.com/gpu", "resourceCount": "2"}, ""),
        ({"type": "nvidia.com/gpu", "count": 3}, "it asks for 3 accelerators; at most 2 are allowed"),
        ({"resourceCount": "{{$.inputs.parameters['gpus']}}"}, "decided only when it runs"),
    ],
)
def test_a_component_takes_no_more_gpus_than_it_may(accelerator: dict[str, Any], told: str) -> None:
    found = broken({"max_accelerators": 2}, accelerator=accelerator)
    assert told in "".join(found)
    assert bool(found) is bool(told)


async def test_submitting_and_registering_are_refused_by_the_projects_rules(database: Database) -> None:
    assert load_settings({}).admission_of("any") == AdmissionSettings()
    rules: dict[str, Any] = {
        "admission": {"registries": ["registry.example"], "max_accelerators": 0},
        "projects": {"free": {"admission": {"registries": ["docker.io"]}}},
    }
    async with harness(database, **rules) as service:
        refused = await service.submit("k1", spec=text("python"), arguments={})
        told = problem(refused, 403, "not-admitted")
        (error,) = told.errors
        assert error.pointer == "/deploymentSpec/executors/exec-train/container/image"
        assert "train: its image python is of none of the registries registry.example (rule registries)" in (
            error.detail
        )
        registered = await service.client.post("/api/v1/pipelines", json={"spec": text("python")})
        problem(registered, 403, "not-admitted")
        admitted = await service.submit("k2", spec=text("python"), arguments={}, project="free")
        assert admitted.status_code == 202
        gpus = text("python", accelerator={"resourceCount": "1"})
        general = await service.submit("k3", spec=gpus, arguments={}, project="free")
        assert "rule max_accelerators" in (problem(general, 403, "not-admitted").detail or "")


def test_a_rule_that_is_none_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text('[admission]\nrequired_limits = ["disk"]\n')
    with pytest.raises(SettingsError, match="required_limits"):
        load_settings({}, config_file=path)
