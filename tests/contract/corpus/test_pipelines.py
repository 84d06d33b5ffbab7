"""Every pipeline of KFP's corpus and of this repository, run by a backend and compared with what was worked
out by hand from its IR and its components (``expectations/``)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest

from tests.contract.corpus.checking import check_run
from tests.contract.corpus.expectation import load, names, pipeline_file
from tests.contract.corpus.observing import SeenRun
from tests.support.corpus import corpus_files

# A pipeline's second run waits behind everybody's first.
_PATIENCE_SECONDS = 280.0
pytestmark = [pytest.mark.corpus, pytest.mark.timeout(_PATIENCE_SECONDS + 20)]

_FOLDERS = ("critical", "failing", "local_execution", "parallel_and_nested")
_ABSENT = "KFP's test pipelines are not on this machine (set KFBRIDGE_CORPUS)"


@pytest.mark.parametrize("pipeline", names())
def test_runs_as_expected(pipeline: str, performed: Mapping[str, Future[list[SeenRun]]]) -> None:
    if pipeline_file(pipeline) is None:
        pytest.skip(_ABSENT)
    expectation = load(pipeline)
    runs = performed[pipeline].result(_PATIENCE_SECONDS)
    known: dict[str, Any] = {}
    differences = [
        f"run {number}: {difference}"
        for number, (expected, seen) in enumerate(zip(expectation.runs, runs, strict=True), start=1)
        for difference in check_run(expected, seen, known)
    ]
    assert not differences, "\n".join([f"{pipeline} is not as expected:", *differences])


def test_every_pipeline_has_an_expectation() -> None:
    files = corpus_files(*_FOLDERS)
    if not files:
        pytest.skip(_ABSENT)
    there = {f"{path.parent.name}/{path.stem}" for path in files}
    assert there == {name for name in names() if name.split("/")[0] in _FOLDERS}
