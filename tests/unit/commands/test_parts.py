"""The small parts: times and sizes in words, options, the tree of tasks, the executor's noise, places."""

from __future__ import annotations

import argparse
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.commands import render
from bridge.commands.console import Console
from bridge.commands.lognoise import without_noise
from bridge.commands.options import count, moment, pair, seconds
from bridge.commands.places import cache_dir, data_dir
from bridge.commands.progress import progress
from bridge.commands.tasktree import task_lines
from tests.unit.client.fake_bridge import NOW, make_task
from tests.unit.commands.conftest import FakeTerminal


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("2d", 172800), ("250ms", 0.25), (" 5m ", 300)],
)
def test_a_length_of_time(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "x", "5x", "-5", "1h 30m", "m", "1hh"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no length of time"):
        seconds(text)


def test_a_moment_is_a_date_or_how_long_ago() -> None:
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T02:00:00+02:00") == datetime(2026, 1, 31, tzinfo=UTC)
    assert abs(datetime.now(UTC) - timedelta(hours=2) - moment("2h")) < timedelta(seconds=5)
    with pytest.raises(argparse.ArgumentTypeError, match="is no time"):
        moment("yesterday")


def test_pairs_and_counts() -> None:
    assert pair("a=b=c") == ("a", "b=c")
    assert pair("a=") == ("a", "")
    assert count("7") == 7
    for function, text in ((pair, "a"), (pair, "=b"), (count, "0"), (count, "1.5")):
        with pytest.raises(argparse.ArgumentTypeError):
            function(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0.0s"),
        (9.96, "10.0s"),
        (59.4, "59s"),
        (185, "3m 05s"),
        (7800, "2h 10m"),
        (356400, "4d 3h"),
    ],
)
def test_a_duration_in_words(value: float | None, text: str) -> None:
    assert render.duration(value) == text


def test_sizes_ages_and_values_in_words() -> None:
    assert [render.size_text(size) for size in (None, 812, 4300, 2**40)] == [
        "",
        "812 B",
        "4.2 KiB",
        "1.0 TiB",
    ]
    assert render.age(NOW, NOW + timedelta(hours=3)) == "3h ago"
    assert render.age(NOW, NOW - timedelta(hours=3)) == "0s ago"
    assert render.value_text("a\nb") == "a b"
    assert render.value_text(0.123456789) == "0.123457"
    assert render.value_text([1, "x"]) == '[1, "x"]'
    assert len(render.value_text("x" * 500)) == 120


def test_columns_are_as_wide_as_what_is_seen_of_them() -> None:
    styled = "\x1b[31mred\x1b[0m"
    lines = render.table(("A", "B"), [(styled, "1"), ("longer", "22222222222222222222")], width=20)
    assert lines == ["A       B", f"{styled}     1", "longer  22222222222…"]


def test_states_are_told_by_a_word_also_in_ascii() -> None:
    assert render.state_text("FAILED", unicode=False) == "x FAILED"
    assert render.state_text("SOMETHING_NEW") == "? SOMETHING_NEW"
    assert render.state_text("RUNTIME_STATE_UNSPECIFIED") == "? state unknown"


def test_the_tree_follows_the_parents() -> None:
    tasks = [
        make_task(""),
        make_task("loop"),
        make_task("loop[0]", name="loop", iteration=0, task_id="i0", parent_task_id="loop"),
        make_task("loop[0].eval", "RUNNING", parent_task_id="i0"),
        make_task("orphan", parent_task_id="unknown"),
    ]
    lines = task_lines(tasks)
    assert [line.split()[2] for line in lines] == ["loop", "loop[0]", "eval", "orphan"]
    assert [len(line) - len(line.lstrip()) for line in lines] == [2, 4, 6, 2]


def test_a_cycle_of_parents_does_not_keep_the_tree_from_ending() -> None:
    tasks = [make_task("a", parent_task_id="b"), make_task("b", parent_task_id="a"), make_task("c")]
    assert [line.split()[2] for line in task_lines(tasks)] == ["c"]


def test_a_large_loop_is_summed_up_but_for_what_went_wrong() -> None:
    tasks = [make_task(f"t{i}", "FAILED" if i in (7, 500) else "SUCCEEDED") for i in range(1000)]
    lines = task_lines(tasks)
    assert [line.split()[2] for line in lines[:2]] == ["t500", "t7"]
    assert lines[2].strip() == "… 998 more (of 1000: 998 SUCCEEDED, 2 FAILED)"
    assert len(task_lines(tasks, whole=True)) == 1000


LOG = """[KFP Executor 2026-11-21 15:24:16,053 INFO]: Looking for component `train`
[KFP Executor 2026-11-21 15:24:16,053 INFO]: Got executor_input:
{
    "inputs": {
        "x": 1
    }
}
epoch 0
{
[KFP Executor 2026-11-21 15:24:17,203 INFO]: Wrote executor output file to /x.
done""".splitlines()


def test_the_executors_own_lines_are_told_from_the_components() -> None:
    assert without_noise(LOG) == ["epoch 0", "{", "done"]


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_log_that_is_cut_off_in_the_executors_dump_is_read_right(cut: int) -> None:
    assert without_noise(LOG[cut:])[-3:] == ["epoch 0", "{", "done"]
    if cut not in (2, 6):
        assert len(without_noise(LOG[cut:])) == 3


def test_places_follow_the_xdg_rules() -> None:
    assert cache_dir({"HOME": "/h"}) == Path("/h/.cache/kfbridge")
    assert cache_dir({"HOME": "/h", "XDG_CACHE_HOME": "/c"}) == Path("/c/kfbridge")
    assert cache_dir({"HOME": "/h", "XDG_CACHE_HOME": "relative"}) == Path("/h/.cache/kfbridge")
    assert data_dir({"HOME": "/h"}) == Path("/h/.local/share/kfbridge")


def test_a_terminal_is_redrawn_and_what_is_said_stays() -> None:
    console = Console(out=io.StringIO(), err=FakeTerminal(), environ={"TERM": "xterm"})
    with progress(console) as shown:
        shown.say("a line of a log")
        shown.show("toy", "RUNNING", [make_task("train", "RUNNING")])
    drawn = console.err.getvalue()  # type: ignore[attr-defined]
    assert "a line of a log" in drawn
    assert "train" in drawn


def test_a_large_tree_is_cut_to_fit_a_terminal() -> None:
    console = Console(out=io.StringIO(), err=FakeTerminal(), environ={"TERM": "xterm"})
    with progress(console) as shown:
        shown.show(
            "toy", "RUNNING", [make_task(f"t{i}.x", "RUNNING", parent_task_id=None) for i in range(15)]
        )
        shown.show("toy", "RUNNING", [make_task(f"t{i}", "FAILED", parent_task_id=None) for i in range(19)])
    assert "t18" in console.err.getvalue()  # type: ignore[attr-defined]


def test_quiet_progress_says_nothing() -> None:
    console = Console(out=io.StringIO(), err=FakeTerminal(), environ={})
    with progress(console, quiet=True) as shown:
        shown.say("x")
        shown.show("toy", "RUNNING", [])
    assert console.err.getvalue() == ""  # type: ignore[attr-defined]
