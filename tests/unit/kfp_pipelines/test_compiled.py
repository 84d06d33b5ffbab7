"""What is committed is what the code compiles to, and holds what others rely on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_pipelines.compile import COMPILED, PIPELINES, compile_all, main, stale_files
from kfp_pipelines.environment import BASE_IMAGE, TRAINING_PACKAGES


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((COMPILED / f"{name}.yaml").read_text(encoding="utf-8"))
    return document


def _command(document: dict[str, Any], task: str) -> str:
    return "\n".join(document["deploymentSpec"]["executors"][f"exec-{task}"]["container"]["command"])


def test_the_committed_files_are_what_the_code_compiles_to() -> None:
    assert stale_files(COMPILED) == []


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in compile_all(tmp_path / "first")}
    second = {path.name: path.read_bytes() for path in compile_all(tmp_path / "second")}
    assert first == second
    assert len(first) == len(PIPELINES)


def test_a_changed_a_missing_and_a_leftover_file_are_found(tmp_path: Path) -> None:
    changed, missing, *_ = compile_all(tmp_path)
    changed.write_text("components: {}\n", encoding="utf-8")
    missing.unlink()
    (tmp_path / "leftover.yaml").write_text("", encoding="utf-8")
    assert stale_files(tmp_path) == sorted([changed.name, missing.name, "leftover.yaml"])


def test_the_check_command_tells_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setattr("kfp_pipelines.compile.COMPILED", tmp_path)
    assert main(["--check"]) == 1
    assert "flight_delay.yaml" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_flight_delay_has_the_tasks_that_gates_and_readers_name() -> None:
    document = _load("flight_delay")
    assert document["pipelineInfo"]["name"] == "flight-delay"
    tasks = set(document["root"]["dag"]["tasks"])
    assert tasks == {"for-loop-1", "validate", "features", "train", "evaluate", "register"}


def test_each_partition_is_imported_under_the_uri_that_was_handed_over() -> None:
    document = _load("flight_delay")
    loop = document["root"]["dag"]["tasks"]["for-loop-1"]
    assert loop["inputs"]["parameters"]["pipelinechannel--flights"] == {"componentInputParameter": "flights"}
    assert loop["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--flights"}
    [importer] = document["components"]["comp-for-loop-1"]["dag"]["tasks"].values()
    assert importer["inputs"]["parameters"]["uri"] == {
        "componentInputParameter": loop["parameterIterator"]["itemInput"]
    }
    spec = document["deploymentSpec"]["executors"]["exec-importer"]["importer"]
    assert spec["artifactUri"] == {"runtimeParameter": "uri"}
    assert spec["typeSchema"]["schemaTitle"] == "system.Dataset"
    assert not spec.get("reimport", False)


def test_only_the_flights_have_to_be_named() -> None:
    parameters = _load("flight_delay")["root"]["inputDefinitions"]["parameters"]
    assert [name for name, spec in parameters.items() if not spec.get("isOptional")] == ["flights"]
    assert all(spec["description"] for spec in parameters.values())


def test_training_tasks_share_one_exact_set_of_packages() -> None:
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", package) for package in TRAINING_PACKAGES)
    document = _load("flight_delay")
    wanted = " ".join(f"'{package}'" for package in TRAINING_PACKAGES)
    for task in ("validate", "features", "train", "evaluate"):
        assert wanted in _command(document, task)
    assert TRAINING_PACKAGES[0] not in _command(document, "register")


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_components_run_in_one_image_and_name_no_package_index(name: str) -> None:
    document = _load(name)
    for label, executor in document["deploymentSpec"]["executors"].items():
        if "container" in executor:
            assert executor["container"]["image"] == BASE_IMAGE, label
            assert "index-url" not in _command(document, label.removeprefix("exec-"))


def test_shapes_holds_every_shape() -> None:
    document = _load("shapes")
    tasks = document["root"]["dag"]["tasks"]
    strategies = {task.get("triggerPolicy", {}).get("strategy") for task in tasks.values()}
    assert "ALL_UPSTREAM_TASKS_COMPLETED" in strategies
    text = (COMPILED / "shapes.yaml").read_text(encoding="utf-8")
    assert "parameterIterator" in text
    assert "triggerPolicy" in text
    assert "system.Metrics" in text
