"""``runs``, ``show``, ``explain``, ``logs``, ``cancel`` and ``retry``: what a person reads."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from bridge.client.comparison import CompareModel, CompareRow, CompareSection
from bridge.client.lineage import ExplainInput
from bridge.client.models import CauseModel, ErrorModel, GateModel, MetricModel, OriginModel, RunModel
from tests.unit.client.fake_bridge import NOW, FakeBridge, make_artifact, make_run, make_task, over
from tests.unit.commands.conftest import Shell

AIRFLOW = OriginModel(
    scheduler="airflow",
    deployment="prod",
    dag_id="retraining",
    dag_run_id="scheduled__2026-01-31",
    task_id="train",
    map_index=2,
    try_number=2,
)


@pytest.fixture
def failed(bridge: FakeBridge) -> RunModel:
    """A run of Airflow's that failed in ``train``."""
    error = ErrorModel(
        message="ValueError: no rows", task="train", log_tail=["reading", "ValueError: no rows"], code="13"
    )
    run = bridge.add(make_run("nightly", origin=AIRFLOW, error=error, **over("FAILED")))
    bridge.tasks[run.run_id] = [
        make_task("", "FAILED"),
        make_task("prepare", cached=True),
        make_task("train", "FAILED", error=ErrorModel(message="ValueError: no rows"), kind="container"),
    ]
    bridge.metrics[run.run_id] = [MetricModel(key="prepare.rows", task_path="prepare", name="rows", value=0)]
    bridge.artifacts[run.run_id] = [make_artifact(run, "prepare.data", "system.Dataset")]
    bridge.inputs[run.run_id] = [
        ExplainInput(
            name="flights",
            dataset_id=UUID(int=1),
            uri="s3://lake/flights/day=05",
            version="ab" * 32,
            version_kind="manifest-sha256",
            rows=26_483,
            bytes=5_000_000,
            written_at=NOW,
            producer=OriginModel(scheduler="airflow", dag_id="flights_etl", dag_run_id="r", task_id="load"),
        )
    ]
    return run


def test_a_failed_run_says_why_first(kfbridge: Shell, failed: RunModel) -> None:
    said = kfbridge("show", str(failed.run_id))
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "nightly  ✗ FAILED  after 2m 00s"
    assert "  asked by  airflow, dag retraining, dag run scheduled__2026-01-31, task train[2], try 2" in lines
    why = lines.index("Why it did not succeed")
    assert lines[why + 1] == "  train: ValueError: no rows"
    assert lines[why + 4 : why + 6] == ["    reading", "    ValueError: no rows"]
    assert "  ✓ SUCCEEDED  prepare  12s  cached" in lines
    assert "  ✗ FAILED  train       12s  ValueError: no rows" in lines
    assert "  prepare.rows  0" in lines
    assert any(line.startswith("  prepare.data  system.Dataset  s3://models/") for line in lines)
    assert (
        "      manifest-sha256 abababababababab, 26,483 rows, 4.8 MiB, written 2026-01-31 02:00:00 UTC"
        in lines
    )
    assert "      by airflow, dag flights_etl, dag run r, task load, try 1" in lines
    assert why < lines.index("Tasks") < lines.index("Metrics") < lines.index("Inputs") < lines.index("Links")


def test_a_run_is_shown_as_one_json_document(kfbridge: Shell, failed: RunModel) -> None:
    shown = kfbridge("show", "latest", "--json").json
    assert shown["run"]["run_id"] == str(failed.run_id)
    assert [task["path"] for task in shown["tasks"]] == ["", "prepare", "train"]
    assert shown["inputs"][0]["rows"] == 26_483


def test_colour_only_in_a_terminal_that_wants_it(kfbridge: Shell, failed: RunModel) -> None:
    assert "\x1b[" in kfbridge("show", "latest", tty=True).out
    assert "\x1b[" not in kfbridge("show", "latest").out
    kfbridge.environ["NO_COLOR"] = "1"
    assert "\x1b[" not in kfbridge("show", "latest", tty=True).out


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"stale_since": NOW}, "the backend has not answered since 2026-01-31 02:00:00 UTC; this may be old"),
        ({"cancel_requested_at": NOW}, "to be canceled since 2026-01-31 02:00:00 UTC"),
        ({"phase": "SUBMITTING"}, "not yet confirmed by the backend"),
        (over("FAILED", phase="LOST"), "the backend no longer knows this run"),
        ({"attempt": 2}, "attempt 2 of its submission"),
        ({"revivals": 1}, "retried 1 time in place"),
        (over(mirror="PARTIAL"), "not completely read yet"),
        (over(mirror="EXPIRED"), "the backend has dropped the metadata"),
    ],
)
def test_what_is_unusual_about_a_run_is_noted(
    changes: dict[str, Any], note: str, kfbridge: Shell, bridge: FakeBridge
) -> None:
    bridge.add(make_run(**changes))
    assert note in kfbridge("show", "latest").out


def test_the_runs_of_a_bridge_as_a_table(kfbridge: Shell, bridge: FakeBridge, failed: RunModel) -> None:
    gate = GateModel(expression="x", passed=True, reason="r")
    good = bridge.add(make_run("good", gate=gate, origin=AIRFLOW, **over()))
    header, newest, oldest = kfbridge("runs").out.splitlines()
    assert header.split() == ["RUN", "STATE", "PIPELINE", "CREATED", "TOOK", "GATE", "ASKED", "BY"]
    assert newest.split()[:4] == [str(good.run_id)[:8], "✓", "SUCCEEDED", "toy"]
    assert "2m 00s  passed  airflow, dag retraining" in newest
    assert oldest.split()[2] == "FAILED"


def test_filters_are_handed_to_the_bridge(kfbridge: Shell, bridge: FakeBridge) -> None:
    options = ["--state", "failed", "--state", "CANCELED", "--pipeline", "p", "--dag-id", "d", "--text", "x"]
    said = kfbridge("runs", *options, "--since", "2026-01-31", "--limit", "7")
    assert (said.code, said.err) == (0, "no run fits\n")
    params = bridge.requests[0].url.params
    assert params.get_list("state") == ["FAILED", "CANCELED"]
    assert (params["pipeline"], params["dag_id"], params["text"], params["limit"]) == ("p", "d", "x", "7")
    assert params["created_after"] == "2026-01-31T00:00:00+00:00"


def test_a_listing_goes_on_where_it_ended(kfbridge: Shell, bridge: FakeBridge) -> None:
    bridge.page_size = 3
    for number in range(8):
        bridge.add(make_run(f"r{number}"))
    said = kfbridge("runs", "--limit", "5")
    assert len(said.out.splitlines()) == 6
    assert "--cursor 5" in said.err
    page = kfbridge("runs", "--json", "--cursor", "5").json
    assert [item["display_name"] for item in page["items"]] == ["r2", "r1", "r0"]
    assert page["next_cursor"] is None


def test_a_bridge_without_runs_says_so(kfbridge: Shell) -> None:
    assert kfbridge("runs").err == "no run yet; submit one with 'kfbridge submit'\n"
    assert kfbridge("show", "latest").code == 2


def test_a_run_may_be_named_by_the_beginning_of_its_id(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = bridge.add(make_run("one"))
    for name in (str(run.run_id)[:6], str(run.kfp_run_id)[:8], str(run.kfp_run_id), str(run.run_id).upper()):
        said = kfbridge("show", name)
        assert (said.code, said.out.splitlines()[0]) == (
            0,
            "one  ▶ RUNNING  for " + said.out.split("for ")[1].split("\n")[0],
        )


def test_a_beginning_that_fits_several_runs_lists_them(kfbridge: Shell, bridge: FakeBridge) -> None:
    for number in range(2):
        bridge.add(make_run(f"r{number}", run_id=UUID(int=0xABCD << 112 | number)))
    said = kfbridge("show", "abcd")
    assert said.code == 2
    assert "2 runs have an id that begins with abcd" in said.err
    assert said.err.count("RUNNING  toy") == 2


@pytest.mark.parametrize("name", ["ab", "nightly", "zzzz", "../x"])
def test_what_is_no_id_is_refused(name: str, kfbridge: Shell, bridge: FakeBridge) -> None:
    said = kfbridge("cancel", name)
    assert (said.code, "is no run id" in said.err) == (2, True)
    assert bridge.requests == []


def test_an_unknown_run_is_refused(kfbridge: Shell) -> None:
    for name in ("abcd", str(UUID(int=5))):
        said = kfbridge("show", name)
        assert (said.code, "kfbridge runs" in said.err) == (2, True)


def test_explain_tells_what_made_the_run(kfbridge: Shell, failed: RunModel) -> None:
    said = kfbridge("explain", "latest")
    assert said.code == 0
    for line in (
        "  scheduler  airflow at prod",
        "  dag        retraining",
        "  task       train[2], try 2",
        "  flights  s3://lake/flights/day=05",
        f"      manifest-sha256 {'ab' * 32}, 26,483 rows, 4.8 MiB, written 2026-01-31 02:00:00 UTC",
        "Not known",
        "  the image's digest",
    ):
        assert line in said.out.splitlines()
    assert kfbridge("explain", "latest", "--json").json["inputs"][0]["name"] == "flights"


def test_the_log_is_the_failed_tasks(kfbridge: Shell, bridge: FakeBridge, failed: RunModel) -> None:
    bridge.log = {"prepare": "preparing\n", "train": "reading\nValueError: no rows"}
    assert kfbridge("logs", "latest").out == "reading\nValueError: no rows\n"
    assert kfbridge("logs", "latest", "prepare").out == "preparing\n"
    lines = kfbridge("logs", "latest", "train", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"task": "train", "line": "reading"},
        {"task": "train", "line": "ValueError: no rows"},
    ]


def test_logs_of_several_tasks_say_whose_line_it_is(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(**over()))
    bridge.tasks[run.run_id] = [make_task(path, kind="container") for path in ("a", "loop[0].b")]
    bridge.log = {"a": "one\n", "loop[0].b": "two\n"}
    assert kfbridge("logs", "latest").out == "a | one\nloop[0].b | two\n"
    assert kfbridge("logs", "latest", "b").out == "two\n"


def test_a_task_that_is_not_there_is_told(kfbridge: Shell, failed: RunModel) -> None:
    said = kfbridge("logs", "latest", "nope")
    assert said.code == 2
    assert said.err.splitlines()[:3] == ["kfbridge: the run has no task nope", "  prepare", "  train"]


def test_no_log_is_said(kfbridge: Shell, failed: RunModel) -> None:
    said = kfbridge("logs", "latest")
    assert (said.code, said.out, said.err) == (0, "", "no task has written anything\n")


def test_a_followed_log_prints_each_line_once(
    kfbridge: Shell, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bridge.add(make_run())
    bridge.tasks[run.run_id] = [make_task("train", "RUNNING", kind="container")]
    texts = iter(["one\ntw", "one\ntwo\n", "one\ntwo\nthree"])

    def goes_on(_: float) -> None:
        bridge.log["train"] = next(texts)
        if bridge.log["train"].endswith("three"):
            bridge.runs[run.run_id] = run.model_copy(update=over())

    goes_on(0)
    monkeypatch.setattr("bridge.commands.logs.time.sleep", goes_on)
    assert kfbridge("logs", "latest", "train", "-f").out == "one\ntwo\nthree\n"


def test_of_a_long_log_that_is_followed_no_line_is_left_out_or_told_twice(
    kfbridge: Shell, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bridge.add(make_run())
    bridge.tasks[run.run_id] = [make_task("train", "RUNNING", kind="container")]
    lines = [f"line {number}\n" for number in range(3000)]
    # A bridge tells the end alone: here as many lines as these.
    ends = iter([lines[:1000], lines[400:1400], lines[1200:2200], lines[2000:]])

    def goes_on(_: float) -> None:
        bridge.log["train"] = "".join(next(ends))
        if bridge.log["train"].endswith(lines[-1]):
            bridge.runs[run.run_id] = run.model_copy(update=over())

    goes_on(0)
    monkeypatch.setattr("bridge.commands.logs.time.sleep", goes_on)
    out = kfbridge("logs", "latest", "-f").out
    assert out == "".join(f"train | {line}" for line in lines)


def test_an_interrupted_log_is_exit_code_130(
    kfbridge: Shell, bridge: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bridge.add(make_run())
    bridge.tasks[run.run_id] = [make_task("train", "RUNNING", kind="container")]
    bridge.log["train"] = "one\n"

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bridge.commands.logs.time.sleep", interrupt)
    said = kfbridge("logs", "latest", "train", "-f")
    assert (said.code, said.out, said.err) == (130, "one\n", "interrupted\n")


def test_cancel_asks_and_says_that_it_takes_a_moment(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    said = kfbridge("cancel", str(run.run_id), "--reason", "wrong data")
    assert said.code == 0
    assert "is being canceled (CANCELING)" in said.out
    assert json.loads(bridge.asked("POST", ":cancel$")[0].content) == {"reason": "wrong data"}


def test_a_run_that_is_over_is_not_canceled(kfbridge: Shell, bridge: FakeBridge) -> None:
    bridge.add(make_run(**over("FAILED")))
    said = kfbridge("cancel", "latest")
    assert (said.code, "is over already: FAILED" in said.out) == (0, True)
    assert bridge.asked("POST", ":cancel$") == []


def test_retry_goes_on_and_can_be_waited_for(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(**over("FAILED")), over())
    assert f"run {run.run_id} goes on" in kfbridge("retry", "latest").out
    assert kfbridge("retry", "latest", "--wait").code == 0
    assert len(bridge.asked("POST", ":retry$")) == 2


def test_retry_can_have_airflow_clear_the_task(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(**over("FAILED")))
    assert "cleared in etl, r1: load, publish" in kfbridge("retry", str(run.run_id), "--clear").out
    assert json.loads(kfbridge("retry", "latest", "--clear", "--json").out)["tasks"] == ["load", "publish"]
    assert bridge.asked("POST", ":retry$") == []
    said = kfbridge("retry", "latest", "--clear", "--wait")
    assert (said.code, "do not go together" in said.err) == (2, True)


def test_what_a_run_waits_for_is_told(bridge: FakeBridge, kfbridge: Shell) -> None:
    cause = CauseModel(
        kind="unschedulable",
        message="no node can take its pod: 4 Insufficient gpu.",
        task="train",
        waiting=True,
    )
    bridge.add(make_run("nightly", state="RUNNING", phase="ACTIVE", causes=[cause]))
    said = kfbridge("show", "latest").out
    assert "What it waits for" in said
    assert "unschedulable  train  no node can take its pod: 4 Insufficient gpu." in said
    assert "Likely causes" not in said


def test_causes_that_say_more_than_the_error_are_listed(bridge: FakeBridge, kfbridge: Shell) -> None:
    error = ErrorModel(message="out of memory", task="train", kind="out_of_memory")
    first = CauseModel(kind="out_of_memory", message="out of memory", task="train", weight=99)
    second = CauseModel(kind="node", message="its node went away", weight=60)
    bridge.add(make_run("nightly", error=error, causes=[first], **over("FAILED")))
    assert "Likely causes" not in kfbridge("show", "latest").out
    bridge.add(make_run("nightly", error=error, causes=[first, second], **over("FAILED")))
    said = kfbridge("show", "latest").out
    assert "Likely causes" in said
    assert said.index("out_of_memory") < said.index("its node went away")


def test_what_differs_between_runs(kfbridge: Shell, bridge: FakeBridge) -> None:
    runs = [bridge.add(make_run("one", **over())), bridge.add(make_run("two", **over("FAILED")))]
    rows = [
        CompareRow(name="epochs", values=[3, 5], known=[True, True], differs=True, change=2, relative=2 / 3),
        CompareRow(name="note", values=[None, "x"], known=[False, True], differs=True),
        CompareRow(name="version", values=[None, "v1"], known=[False, True], differs=None),
        CompareRow(name="rate", values=[0.1, 0.1], known=[True, True], differs=False),
    ]
    section = CompareSection(name="parameters", title="Parameters", differing=2, total=4, rows=rows)
    bridge.comparison = CompareModel(runs=[], differing=["parameters"], sections=[section], unknown=["who"])
    ids = [str(run.run_id)[:8] for run in runs]
    lines = kfbridge("compare", *ids).out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ids
    assert "Parameters  2 of 4 differ" in lines
    assert "  epochs  3         5         +2 (+66.7%)" in lines
    assert any(line.split() == ["note", "-", "x"] for line in lines)
    assert not any("rate" in line for line in lines)
    assert lines[-1] == "  who"
    whole = kfbridge("compare", *ids, "--all").out
    assert "* 3" in whole
    assert "? -" in whole
    assert kfbridge("compare", *ids, "--json").json["differing"] == ["parameters"]


def test_a_comparison_needs_two_runs(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = str(bridge.add(make_run()).run_id)
    assert kfbridge("compare", run).code == 2
    assert "with itself" in kfbridge("compare", run, "latest").err


def test_runs_that_do_not_differ_say_so(kfbridge: Shell, bridge: FakeBridge) -> None:
    ids = [str(bridge.add(make_run(name)).run_id) for name in ("one", "two")]
    assert kfbridge("compare", *ids).out.rstrip().endswith("nothing differs")


def test_a_run_is_made_again_and_its_grade_told(kfbridge: Shell, bridge: FakeBridge) -> None:
    run = bridge.add(make_run("one", **over()))
    graded = kfbridge("reproduce", str(run.run_id), "--dry-run")
    assert graded.out.splitlines() == ["  same-spec", "  floating  image  x:1 is a tag"]
    assert len(bridge.runs) == 1
    made = kfbridge("reproduce", str(run.run_id), "--key", "k")
    assert made.out.splitlines()[-1].endswith(f"is of {run.run_id}")
    assert bridge.requests[-1].headers["idempotency-key"] == "k"
    refused = kfbridge("reproduce", str(run.run_id), "--exact")
    assert refused.code == 2
    assert "x:1 is a tag" in refused.err
    assert kfbridge("reproduce", str(run.run_id), "--json").json["reproducibility"]["grade"] == "same-spec"
