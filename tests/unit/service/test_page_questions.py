"""What the pages ask for is what the bench of the pages measures."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bench.pages_cases import ROUTES, route_of

_SOURCE = Path(__file__).resolve().parents[3] / "bridge" / "dashboard" / "src"
_ASKED = re.compile(r"\b(?:getJson(?:<[^()]*>)?|getText|getHead|address)\(\s*[`\"](/[^`\"]*)[`\"]")
# The stream, which does not end.
_NOT_MEASURED = {"/events"}


def test_every_route_that_a_page_asks_is_measured() -> None:
    asked = {
        re.sub(r"\$\{[^}]*\}", "{}", path)
        for file in sorted(_SOURCE.rglob("*.ts*"))
        for path in _ASKED.findall(file.read_text())
    }
    assert asked - _NOT_MEASURED == ROUTES


def test_an_address_has_the_route_that_it_belongs_to() -> None:
    run = "0b5f7c3e-1111-4222-8333-944444444444"
    assert route_of(f"/api/v1/runs/{run}/logs?task=train") == "/runs/{}/logs"
    assert route_of(f"/api/v1/runs/{run}") == "/runs/{}"
    assert route_of("/api/v1/pipelines/a%20b/metrics?name=evaluate.auc") == "/pipelines/{}/metrics"
