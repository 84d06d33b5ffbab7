"""``kfbridge push``: a version of a pipeline under a name that can be moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.cli.conftest import Command

SOURCE = """
from kfp import dsl

@dsl.container_component
def hello(name: str):
    return dsl.ContainerSpec(image="alpine", command=["echo", "hello", name])

@dsl.pipeline(name="pushed-from-source")
def greet(name: str = "you"):
    hello(name=name)
"""


def changed(pipeline: str, **arguments: str) -> dict[str, Any]:
    """Another version of the pipeline, in the same file; its name."""
    document: dict[str, Any] = json.loads(Path(pipeline).read_text())
    document["pipelineInfo"]["description"] = json.dumps(arguments)
    Path(pipeline).write_text(json.dumps(document))
    return document


def test_a_run_takes_the_version_that_the_alias_means(kfbridge: Command, pipeline: str) -> None:
    name = changed(pipeline, version="one")["pipelineInfo"]["name"]
    first = kfbridge(
        "push", pipeline, "--alias", "prod", "--alias", "nightly", "--version", "2026.1", "--json"
    )
    assert first.code == 0, first.err
    digest = first.json["pipeline"]["digest"]
    assert [alias["alias"] for alias in first.json["aliases"]] == ["prod", "nightly"]
    changed(pipeline, version="two")
    second = kfbridge("push", pipeline, "--alias", "prod")
    assert second.code == 0, second.err
    assert f"(was {digest[:12]})" in second.out
    newer = second.out.split()[1]
    assert "(as before)" in kfbridge("push", pipeline, "--alias", "prod").out
    for alias, meant in (("prod", newer), ("nightly", digest), ("2026.1", digest)):
        submitted = kfbridge("submit", f"{name}@{alias}", "-a", "script=echo hi", "--json")
        assert submitted.code == 0, submitted.err
        assert submitted.json["pipeline"]["digest"] == meant


def test_source_is_compiled(kfbridge: Command, tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text(SOURCE)
    said = kfbridge("push", "greet.py", "--alias", "prod")
    assert said.code == 0, said.err
    assert "pushed-from-source@prod" in said.out
    assert kfbridge("submit", "pushed-from-source@prod", "--wait", "--timeout", "60s").code == 0


def test_nothing_is_registered_under_a_name_that_is_none(
    kfbridge: Command, alone: Command, pipeline: str
) -> None:
    name = changed(pipeline, version="never")["pipelineInfo"]["name"]
    said = kfbridge("push", pipeline, "--alias", "prod/eu")
    assert (said.code, "'prod/eu' is none" in said.err) == (2, True)
    assert kfbridge("submit", name, "-a", "script=true").code == 2
    assert alone("push", pipeline, "--patience", "0s").code == 5
