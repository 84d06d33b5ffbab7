"""Runs and comparisons in a notebook, and as a table of pandas."""

from __future__ import annotations

from bridge.client.comparison import CompareModel, CompareRow, CompareSection
from bridge.client.models import ErrorModel, OriginModel, RunLinks
from bridge.client.notebook import Runs
from bridge.client.sync import BridgeClient
from tests.unit.client.fake_bridge import URL, FakeBridge, make_run, over


def test_a_run_is_a_table_in_which_everything_is_escaped() -> None:
    run = make_run("<b>bold</b>", error=ErrorModel(message="x < y & z"), arguments={"<i>": "<script>"})
    html = run._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "x &lt; y &amp; z" in html
    assert "<script>" not in html
    assert "<i>" not in html
    assert "▶ RUNNING" in html


def test_only_web_addresses_become_links() -> None:
    assert "<a href=" in make_run()._repr_html_()
    harmful = RunLinks(bridge="javascript:alert(1)", kfp='https://kfp/" onclick="x')
    html = make_run(links=harmful)._repr_html_()
    assert "javascript" not in html
    assert 'onclick="x' not in html


def test_runs_are_fetched_page_by_page_up_to_a_limit() -> None:
    bridge = FakeBridge()
    bridge.page_size = 3
    for number in range(8):
        bridge.add(make_run(f"r{number}"))
    with BridgeClient(URL, transport=bridge.transport()) as client:
        assert [run.display_name for run in client.runs(limit=5)] == ["r7", "r6", "r5", "r4", "r3"]
        assert len(client.runs()) == 8


def test_a_list_of_runs_is_a_table() -> None:
    html = Runs([make_run("one", **over("FAILED")), make_run("two")])._repr_html_()
    assert html.count("<tr>") == 3
    assert "✗ FAILED" in html
    assert "120.0" in html
    many = Runs([make_run(f"r{number}") for number in range(203)])
    assert "and 3 more" in many._repr_html_()


def test_runs_become_a_table_of_pandas() -> None:
    origin = OriginModel(dag_id="nightly", team="risk")
    runs = Runs([make_run("one", origin=origin, arguments={"epochs": 3}, **over()), make_run("two")])
    frame = runs.to_pandas()
    assert list(frame["display_name"]) == ["one", "two"]
    row = frame.iloc[0]
    assert (row["state"], row["seconds"], row["parameters.epochs"]) == ("SUCCEEDED", 120.0, 3)
    assert (row["dag_id"], row["team"], row["pipeline"]) == ("nightly", "risk", "toy")
    assert len(Runs().to_pandas()) == 0


def test_a_comparison_shows_what_differs() -> None:
    rows = [
        CompareRow(name="epochs", values=[3, 5], known=[True, True], differs=True, change=2),
        CompareRow(name="<n>", values=[None, "x"], known=[False, True], differs=True),
        CompareRow(name="rate", values=[1, 1], known=[True, True], differs=False),
    ]
    section = CompareSection(name="parameters", title="Parameters", differing=2, total=3, rows=rows)
    found = CompareModel(runs=[make_run("a"), make_run("b")], sections=[section], unknown=["who"])
    html = found._repr_html_()
    assert "<td>epochs</td><td>3</td><td>5</td><td>+2</td>" in html
    assert "<td>&lt;n&gt;</td><td>–</td><td>x</td>" in html
    assert "rate" not in html
    assert "<li>who</li>" in html
    assert "nothing differs" in CompareModel(runs=[])._repr_html_()
