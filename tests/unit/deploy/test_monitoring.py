"""Dashboard and alerts name metrics that the bridge tells."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import yaml

from bridge.service import exposition
from deploy import manifests

METRIC = re.compile(r"kfbridge_[a-z_]+")
# From the place that writes them: each begins a tuple of name, meaning and samples.
TOLD = {
    f"kfbridge_{name}" for name in re.findall(r"yield\s+\(?\s*\"([a-z_]+)\",", inspect.getsource(exposition))
}


def _dashboard() -> dict[str, Any]:
    return dict(json.loads((manifests.MONITORING / "dashboard.json").read_text()))


def _rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((manifests.MONITORING / "alerts.yaml").read_text())["groups"]
    return list(group["rules"])


def test_every_metric_that_is_asked_for_is_told() -> None:
    assert "kfbridge_backend_reachable" in TOLD
    expressions = [one["expr"] for panel in _dashboard()["panels"] for one in panel["targets"]]
    expressions += [
        one["query"]["query"] for one in _dashboard()["templating"]["list"] if one["type"] == "query"
    ]
    expressions += [rule["expr"] for rule in _rules()]
    for expression in expressions:
        named = set(METRIC.findall(expression))
        assert named, expression
        assert named <= TOLD, expression
        assert expression.count("(") == expression.count(")")


def test_the_dashboard_shows_every_metric_but_the_version() -> None:
    shown = set(METRIC.findall(json.dumps(_dashboard())))
    assert shown == TOLD - {"kfbridge_info"}


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells


def test_every_alert_says_what_it_means_and_how_bad_it_is() -> None:
    rules = _rules()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert len(rule["annotations"]["description"]) > 40
        assert rule["annotations"]["summary"]
