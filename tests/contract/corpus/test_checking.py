"""The suite's own checks find what they are there to find."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bridge.domain.states import RuntimeState
from tests.contract.corpus.checking import check_run
from tests.contract.corpus.expectation import ExpectedRun, load, names, parse
from tests.contract.corpus.observing import SeenArtifact, SeenRun, SeenTask

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)
WRITTEN = """
says: draws a number and writes it down
runs:
  - outputs: {Output: 7}
    from: what the components return
    files: {note: seen}
    tasks:
      draw:
        outputs: {Output: !let {drawn: !between [5, 9]}}
        metrics: {score: 0.5}
        from: draw() gives a number
      write:
        inputs: {number: !known drawn}
        takes: {seed: draw.seed}
        artifacts: {page: {type: system.HTML, content: !text 'drawn {drawn}', metadata: {lines: 1}}}
        log: [begin, !matches 'wrote .*']
        from: write() writes the number
      loop: {kind: dag, iterations: 2, from: it loops over two items}
      loop[0..1]: {kind: dag, outputs: {Output: !text 'item {i}'}, from: one item each}
"""
DRAW = SeenTask(
    path="draw",
    state=RuntimeState.SUCCEEDED,
    kind="container",
    cached=False,
    inputs={},
    outputs={"Output": 7.0},
    started_at=NOON,
    finished_at=NOON,
    metrics={"score": 0.5},
)
PAGE = SeenArtifact(
    id="1", type="system.HTML", uri="x", metadata={"lines": 1.0}, content="drawn 7", origin="write.page"
)
SEED = SeenArtifact(id="2", type="system.Artifact", uri="x", metadata={}, content=None, origin="draw.seed")
WRITE = replace(
    DRAW,
    path="write",
    inputs={"number": 7.0, "beside": 1},
    outputs={},
    started_at=LATER,
    finished_at=LATER,
    artifacts={"page": (PAGE,)},
    takes={"seed": (SEED,)},
    metrics={},
    log=("begin", "between", "wrote it"),
)
LOOP = replace(DRAW, path="loop", kind="dag", outputs={}, metrics={})
TASKS = {
    "": replace(LOOP, path="", outputs={"Output": 7.0}),
    "draw": DRAW,
    "write": WRITE,
    "loop": LOOP,
    "loop[0]": replace(LOOP, path="loop[0]", outputs={"Output": "item 0"}),
    "loop[1]": replace(LOOP, path="loop[1]", outputs={"Output": "item 1"}),
}


@pytest.fixture
def expected() -> ExpectedRun:
    return parse(WRITTEN).runs[0]


@pytest.fixture
def seen(tmp_path: Path) -> SeenRun:
    (tmp_path / "note").write_text("seen")
    return SeenRun(
        state=RuntimeState.SUCCEEDED,
        error=None,
        tasks=TASKS,
        doubles=(),
        has_iterations=True,
        detailed={},
        known={},
        scratch=tmp_path,
    )


def with_task(seen: SeenRun, path: str, **changes: Any) -> SeenRun:
    return replace(seen, tasks={**seen.tasks, path: replace(seen.tasks[path], **changes)})


def test_a_run_as_expected(expected: ExpectedRun, seen: SeenRun) -> None:
    assert check_run(expected, seen) == []


@pytest.mark.parametrize(
    ("path", "changes", "told"),
    [
        ("", {"outputs": {"Output": "7"}}, "outputs of the run: Output: '7' instead of 7"),
        ("draw", {"state": RuntimeState.FAILED}, "draw: FAILED; expected SUCCEEDED"),
        ("draw", {"state": RuntimeState.SKIPPED, "cached": True}, "draw: SKIPPED, from the cache"),
        ("draw", {"kind": "importer"}, "draw: a importer, not a container"),
        ("draw", {"outputs": {"Output": 4.0}}, "draw: outputs: Output: 4.0 is no whole number from 5 to 9"),
        ("draw", {"outputs": {"Output": True}}, "draw: outputs: Output: True is no whole number"),
        ("draw", {"outputs": {"Output": 7.0, "More": 1}}, "draw: outputs: More is not expected"),
        ("draw", {"outputs": {}}, "draw: outputs: Output is missing"),
        ("draw", {"metrics": {"score": 0.6}}, "draw: metrics: score: 0.6 instead of 0.5"),
        ("draw", {"metrics": {}}, "draw: metrics: score is missing"),
        ("draw", {"blobs": {"curve": {"roc": []}}}, "draw: blobs: curve is not expected"),
        ("draw", {"finished_at": LATER + timedelta(seconds=1)}, "write: started at"),
        ("draw", {"finished_at": None}, "draw: started at"),
        ("draw", {"artifacts": {"page": (PAGE,)}}, "draw: the artifact page is not expected"),
        ("write", {"inputs": {"number": 8.0}}, "write: inputs: number: 8.0 instead of 7.0"),
        ("write", {"inputs": {}}, "write: inputs: number is missing"),
        ("write", {"takes": {}}, "write: takes: seed is missing"),
        ("write", {"takes": {"seed": (PAGE,)}}, "write: takes: seed: [0]: 'write.page'"),
        ("write", {"artifacts": {}}, "write: the artifact page is missing"),
        ("write", {"artifacts": {"page": (PAGE, PAGE)}}, "write: 2 artifacts page instead of 1"),
        (
            "write",
            {"artifacts": {"page": (replace(PAGE, content="drawn 8"),)}},
            "content: 'drawn 8' instead of",
        ),
        ("write", {"artifacts": {"page": (replace(PAGE, type="system.Model"),)}}, "type: 'system.Model'"),
        ("write", {"artifacts": {"page": (replace(PAGE, metadata={}),)}}, "metadata: lines is missing"),
        ("write", {"log": ("wrote it", "begin")}, "write: the log lacks Matches"),
        ("write", {"log": None}, "write: has no log"),
        (
            "loop[1]",
            {"outputs": {"Output": "item 0"}},
            "loop[1]: outputs: Output: 'item 0' instead of 'item 1'",
        ),
    ],
)
def test_a_difference_is_told(
    expected: ExpectedRun, seen: SeenRun, path: str, changes: dict[str, Any], told: str
) -> None:
    differences = check_run(expected, with_task(seen, path, **changes))
    assert any(told in difference for difference in differences), differences


def test_tasks_that_are_missing_doubled_or_too_many(expected: ExpectedRun, seen: SeenRun) -> None:
    less = {path: task for path, task in TASKS.items() if path != "loop[1]"}
    assert check_run(expected, replace(seen, tasks=less)) == [
        "loop[1]: expected and not there",
        "loop: 1 iterations, not 2",
    ]
    more = {**TASKS, "extra": DRAW}
    assert check_run(expected, replace(seen, tasks=more)) == ["extra: there as SUCCEEDED and not expected"]
    assert check_run(expected, replace(seen, doubles=("draw",))) == ["draw: there more than once"]


def test_what_a_made_up_iteration_took_is_not_asked_for(seen: SeenRun) -> None:
    text = WRITTEN.replace("loop[0..1]: {kind: dag, ", "loop[0..1]: {kind: dag, inputs: {item: !known i}, ")
    expected = parse(text).runs[0]
    assert check_run(expected, replace(seen, has_iterations=False)) == []
    assert check_run(expected, seen) == [f"loop[{i}]: inputs: item is missing" for i in (0, 1)]
    wrong = with_task(replace(seen, has_iterations=False), "loop[1]", outputs={})
    assert check_run(expected, wrong) == ["loop[1]: outputs: Output is missing"]


def test_the_run_and_its_files(expected: ExpectedRun, seen: SeenRun) -> None:
    (seen.scratch / "note").write_text("other")
    failed = replace(seen, state=RuntimeState.FAILED, error="why")
    assert check_run(expected, failed) == [
        "the run is FAILED, not SUCCEEDED: why",
        "file note: 'other' instead of 'seen'",
    ]


def test_details_that_tell_something_else_than_the_metadata(expected: ExpectedRun, seen: SeenRun) -> None:
    assert check_run(expected, replace(seen, detailed={RuntimeState.SUCCEEDED: 6})) == []
    (told,) = check_run(expected, replace(seen, detailed={RuntimeState.SUCCEEDED: 5}))
    assert told.startswith("the run's details tell of")


def test_one_world_has_to_hold_as_a_whole(seen: SeenRun) -> None:
    text = """
says: flips a coin and acts upon it
runs:
  - from: the coin decides
    worlds:
      - {name: heads, from: heads was flipped, tasks: {draw: {outputs: {Output: 1}, from: it was heads},
         write: {outputs: {Output: heads}, from: it was heads}}}
      - {name: tails, from: tails was flipped, tasks: {draw: {outputs: {Output: 2}, from: it was tails},
         write: {outputs: {Output: tails}, from: it was tails}}}
"""
    run = parse(text).runs[0]

    def of(number: float, word: str) -> SeenRun:
        draw = replace(DRAW, metrics={}, outputs={"Output": number})
        write = replace(draw, path="write", outputs={"Output": word})
        return replace(seen, tasks={"draw": draw, "write": write})

    assert check_run(run, of(1.0, "heads")) == check_run(run, of(2.0, "tails")) == []
    assert check_run(run, of(1.0, "tails")) != []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from: draw() gives a number", "state: SUCCEEDED"),
        ("metrics: {score: 0.5}", "metric: {score: 0.5}"),
        ("loop[0..1]:", "draw:"),
    ],
)
def test_an_expectation_that_is_badly_written_is_refused(before: str, after: str) -> None:
    assert before in WRITTEN
    with pytest.raises((ValidationError, yaml.YAMLError)):
        parse(WRITTEN.replace(before, after))


@pytest.mark.parametrize("name", names())
def test_every_expectation_can_be_read(name: str) -> None:
    expectation = load(name)
    assert all(run.tasks or run.worlds for run in expectation.runs)
