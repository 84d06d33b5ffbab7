"""What pip-audit says, told plainly: broken, clean, or not checked at all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy import supply
from deploy.supply import EXTRAS, audit, verdict_of

CLEAN = {"name": "httpx", "version": "0.28.1", "vulns": []}
HOLE = {"id": "GHSA-x", "fix_versions": ["2.0"]}
BROKEN = {"name": "old", "version": "1.0", "vulns": [HOLE]}
SKIPPED = {"name": "far", "skip_reason": "Dependency not found on PyPI and could not be audited: far (1.0)"}


@pytest.mark.parametrize(
    ("packages", "broken", "told"),
    [
        ([CLEAN], False, "no known vulnerabilities: 1 packages checked"),
        ([CLEAN, SKIPPED], False, "no known vulnerabilities: 1 packages checked, 1 could not be"),
        (
            [CLEAN, BROKEN],
            True,
            "old 1.0: GHSA-x (fixed in 2.0)\n1 known vulnerabilities: 2 packages checked",
        ),
        (
            [SKIPPED],
            False,
            "NOT CHECKED: the advisory service cannot be reached or knows nothing"
            f" ({SKIPPED['skip_reason']})",
        ),
    ],
)
def test_a_report_is_told_as_what_it_is(packages: list[dict[str, Any]], broken: bool, told: str) -> None:
    verdict = verdict_of({"dependencies": packages}, "")
    assert (verdict.broken, verdict.told) == (broken, told)


def test_without_a_report_nothing_was_checked() -> None:
    verdict = verdict_of(None, "Traceback\nConnectionError: no route to pypi\n")
    assert not verdict.broken
    assert verdict.told.startswith("NOT CHECKED")
    assert "no route" in verdict.told


class Tools:
    """Stands in for uv: exports nothing, and audits with one report, or not at all."""

    def __init__(self, report: dict[str, Any] | None) -> None:
        self.report = report

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if "tool" in command:
            if self.report is None:
                raise subprocess.TimeoutExpired(command, 600)
            Path(command[-1]).write_text(json.dumps(self.report))
        return subprocess.CompletedProcess(command, 0, "", "")


def test_what_was_published_since_is_told_and_fails_only_where_it_is_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supply, "_run", Tools({"dependencies": [BROKEN]}))
    assert audit("uv") == 1
    assert audit("uv", tell=True) == 0
    assert capsys.readouterr().out.count("old 1.0: GHSA-x") == 2 * len(EXTRAS)


def test_an_advisory_service_that_does_not_answer_in_time_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supply, "_run", Tools(None))
    assert audit("uv") == 0
    assert capsys.readouterr().out.count("NOT CHECKED") == len(EXTRAS)
    assert "no answer within 600 s" in verdict_of(None, "no answer within 600 s").told
