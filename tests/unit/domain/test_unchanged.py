"""What counts as the same submission as that of the last good run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.domain.lineage import InputVersion, PipelineRef
from bridge.domain.unchanged import what_changed
from tests.unit.domain.builders import a_run, a_submission

FLIGHTS = InputVersion(name="flights", uri="s3://lake/day=1", version="abc", version_kind="sha256")
WEATHER = InputVersion(name="weather", uri="s3://lake/weather", version="7", version_kind="s3")
ASKED = replace(
    a_submission(), inputs=(FLIGHTS, WEATHER), arguments={"epochs": 3, "rate": 0.1}, gate="e.auc > 0"
)
LAST = replace(a_run(), backend=ASKED.backend, namespace=ASKED.namespace, pipeline=ASKED.pipeline)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, ()),
        ({"inputs": (WEATHER, FLIGHTS)}, ()),
        ({"arguments": {"rate": 0.1, "epochs": 3}}, ()),
        ({"display_name": "another", "labels": {"a": "b"}, "caching": True, "experiment": "e2"}, ()),
        ({"arguments": {"epochs": 4, "rate": 0.1}}, ("arguments",)),
        ({"arguments": {"epochs": 3, "rate": 0.1, "note": ""}}, ("arguments",)),
        ({"inputs": (FLIGHTS,)}, ("inputs",)),
        ({"inputs": (replace(FLIGHTS, version="abd"), WEATHER)}, ("inputs",)),
        ({"inputs": (replace(FLIGHTS, name="planes"), WEATHER)}, ("inputs",)),
        ({"inputs": (replace(FLIGHTS, version=None), WEATHER)}, ("inputs",)),
        ({"gate": None}, ("gate",)),
        ({"backend": "gpu"}, ("backend",)),
        ({"namespace": "team-b"}, ("backend",)),
        ({"pipeline": PipelineRef(name=ASKED.pipeline.name, digest="e" * 64)}, ("spec",)),
        ({"gate": None, "arguments": {}}, ("arguments", "gate")),
    ],
)
def test_what_is_told_of_a_submission(change: dict[str, Any], named: tuple[str, ...]) -> None:
    assert what_changed(replace(ASKED, **change), LAST, ASKED) == named


def test_what_is_unknown_on_both_sides_is_not_the_same() -> None:
    unknown = replace(ASKED, inputs=(replace(FLIGHTS, version=None),))
    assert what_changed(unknown, LAST, unknown) == ("inputs",)


def test_a_run_that_nobody_submitted_is_no_answer() -> None:
    assert what_changed(ASKED, LAST, None) == ("origin",)
