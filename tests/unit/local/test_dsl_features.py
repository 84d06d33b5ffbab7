"""The table of docs/dsl-features.md: every row names a test that is there, and no feature of the SDK lacks
a row."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.features import FEATURES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "dsl-features.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| Feature"))
]
FOLDERS = ("tests/unit/local", "tests/unit/spec", "tests/integration/local")
# Names of kfp.dsl that are no feature of the language: what it is written with, and types.
NO_FEATURES = {"PipelineTask", "ContainerSpec", "Condition", "InputPath", "OutputPath", "Input", "Output"}


def source_of(file: str) -> str:
    found = [ROOT / folder / f"{file}.py" for folder in FOLDERS if (ROOT / folder / f"{file}.py").is_file()]
    assert found, f"there is no {file}.py in {', '.join(FOLDERS)}"
    return found[0].read_text()


def expected_of_the_corpus(pipeline: str) -> bool:
    expectation = ROOT / "tests" / "contract" / "corpus" / "expectations" / f"{pipeline}.yaml"
    table = ROOT / "tests" / "integration" / "local" / "test_driver_corpus.py"
    return expectation.is_file() or (table.is_file() and f'"{pipeline}"' in table.read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row[0])[:40])
def test_every_row_names_a_test_that_is_there(row: list[str]) -> None:
    assert len(row) == 5, row
    named = re.findall(r"`([^`]+)`", row[2])
    assert named, row
    for name in named:
        feature = re.fullmatch(r"feature\[(.+)\]", name)
        if feature:
            assert feature[1] in {item.pipeline for item in FEATURES}
            continue
        corpus = re.fullmatch(r"corpus\[(.+)\]", name)
        if corpus:
            assert expected_of_the_corpus(corpus[1])
            continue
        file, _, function = name.partition("::")
        assert re.search(
            rf"^(async )?def {re.escape(function.partition('[')[0])}\(", source_of(file), re.MULTILINE
        )
        if "[" in function:
            assert f'"{function.partition("[")[2].rstrip("]")}"' in source_of(file)


def test_every_feature_pipeline_is_in_the_table() -> None:
    named = set(re.findall(r"`feature\[([\w-]+)\]`", PAGE))
    assert {feature.pipeline for feature in FEATURES} == named


def test_everything_that_the_sdk_offers_is_in_the_table() -> None:
    """The public names of kfp.dsl and kfp.kubernetes and what can be set on a task, as the packages say."""
    script = (
        "import inspect, warnings; warnings.simplefilter('ignore')\n"
        "from kfp import dsl, kubernetes\n"
        "tasks = [n for n, _ in inspect.getmembers(dsl.PipelineTask, inspect.isfunction) if n[0] != '_']\n"
        "print(*dsl.__all__, *kubernetes.__all__, *tasks)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    offered = set(done.stdout.split()) - NO_FEATURES
    missing = {name for name in offered if not re.search(rf"\b{name}\b", PAGE)}
    assert not missing
