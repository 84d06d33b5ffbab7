"""A compiled pipeline, part by part."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.spec.load import Pipeline, load_pipeline
from bridge.spec.parts import (
    code_by_component,
    images_by_component,
    packages_by_component,
    resources_by_component,
    split_requirement,
)
from tests.support import handmade


def _pipeline(command: str, **container: Any) -> Pipeline:
    executor = handmade.sh(command)
    executor["container"] |= container
    component = handmade.component(executorLabel="exec-train")
    tasks = {"train": handmade.task("train", "comp-train")}
    return load_pipeline(
        json.dumps(handmade.document(tasks, {"comp-train": component}, {"exec-train": executor}))
    )


def test_code_changes_with_the_command_and_not_with_the_image() -> None:
    plain = code_by_component(_pipeline("echo 1"))
    assert plain == code_by_component(_pipeline("echo 1", image="python:3.12"))
    assert plain != code_by_component(_pipeline("echo 2"))
    assert plain != code_by_component(_pipeline("echo 1", env=[{"name": "A", "value": "1"}]))


def test_images_and_resources_go_by_the_component() -> None:
    pipeline = _pipeline("echo", image="python:3.12", resources={"cpuLimit": 2})
    assert images_by_component(pipeline) == {"train": "python:3.12"}
    assert resources_by_component(pipeline) == {"train": {"cpuLimit": 2}}


@pytest.mark.parametrize(
    ("requirement", "parts"),
    [
        ("pandas==2.1", ("pandas", "==2.1")),
        ("pandas", ("pandas", "")),
        ("s3fs[boto3]>=2024.1,<2025", ("s3fs[boto3]", ">=2024.1,<2025")),
        ("git+https://example.org/x.git", ("git", "+https://example.org/x.git")),
        ("./wheel", ("./wheel", "")),
    ],
)
def test_a_requirement_is_a_name_and_what_it_says_of_the_version(
    requirement: str, parts: tuple[str, str]
) -> None:
    assert split_requirement(requirement) == parts


def test_packages_are_told_by_component() -> None:
    script = "python3 -m pip install --quiet 'pandas==2.1' 'scikit-learn' && \"$0\" \"$@\""
    executor = {
        "container": {"image": "python:3.11", "command": ["sh", "-c", script, "python3", "-c", "pass"]}
    }
    tasks = {"train": handmade.task("train", "comp-train")}
    component = handmade.component(executorLabel="exec-train")
    document = handmade.document(tasks, {"comp-train": component}, {"exec-train": executor})
    assert packages_by_component(load_pipeline(json.dumps(document))) == {
        "train: pandas": "==2.1",
        "train: scikit-learn": "any",
    }
