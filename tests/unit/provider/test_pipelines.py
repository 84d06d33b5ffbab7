"""Where pipelines come from, and how rendered text becomes typed arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, ObjectStoragePath

from bridge.provider import fetching, pipelines
from bridge.provider.fetching import PipelineProblem
from bridge.provider.pipelines import (
    find_file,
    is_static,
    load_file,
    load_pipeline_from,
)
from bridge.spec.arguments import as_declared
from tests.unit.provider.support import TRAINING


@pytest.mark.parametrize(
    ("value", "static"),
    [
        (1, True),
        (None, True),
        ("plain", True),
        ("{{ ds }}", False),
        ("{% if x %}", False),
        ({"a": [1, "b"]}, True),
        ({"a": [1, "{{ b }}"]}, False),
        ({"{{ k }}": 1}, False),
        (Asset("a"), False),
        (object(), False),
    ],
)
def test_what_is_known_when_a_dag_is_parsed(value: Any, static: bool) -> None:
    assert is_static(value) is static


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("epochs", " 3 ", 3),
        ("epochs", "three", "three"),
        ("rate", "0.5", 0.5),
        ("rate", "NaN", "NaN"),
        ("shuffle", "True", True),
        ("shuffle", "false", False),
        ("flights", '["a", "b"]', ["a", "b"]),
        ("note", "3", "3"),
        ("unknown", "3", "3"),
    ],
)
def test_text_from_a_template_becomes_the_declared_type(name: str, text: str, value: Any) -> None:
    done = as_declared(load_file(TRAINING), {name: text}, [name])
    assert done == {name: value}
    assert type(done[name]) is type(value)


def test_text_that_was_no_template_stays_text() -> None:
    assert as_declared(load_file(TRAINING), {"epochs": "3"}, []) == {"epochs": "3"}


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
    (far / "p.yaml").touch()
    assert find_file("p.yaml", [near, far]) == far / "p.yaml"
    (near / "p.yaml").touch()
    assert find_file("p.yaml", [near, far]) == near / "p.yaml"
    assert find_file(f"file://{far}/p.yaml", []) == far / "p.yaml"
    assert find_file("s3://b/p.yaml", [near]) is None


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(TRAINING.read_text())
    before = load_file(path).name
    path.write_text(TRAINING.read_text().replace("name: training", "name: training-two"))
    assert (before, load_file(path).name) == ("training", "training-two")


def test_an_object_storage_path_is_read_lazily(tmp_path: Path) -> None:
    path = ObjectStoragePath(f"file://{tmp_path}/p.yaml")
    with pytest.raises(PipelineProblem, match="cannot be read"):
        load_pipeline_from(path, [])
    (tmp_path / "p.yaml").write_bytes(TRAINING.read_bytes())
    assert load_pipeline_from(path, []).name == "training"


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pipelines, fetching):
        monkeypatch.setattr(module, "MAX_PIPELINE_BYTES", 10)
    (tmp_path / "p.yaml").write_bytes(TRAINING.read_bytes())
    with pytest.raises(PipelineProblem, match="10 at most"):
        load_file(tmp_path / "p.yaml")
    with pytest.raises(PipelineProblem, match="longer than 10 bytes"):
        load_pipeline_from(ObjectStoragePath(f"file://{tmp_path}/p.yaml"), [])
