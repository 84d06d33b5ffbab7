"""What pip-audit says, told plainly: broken, clean, or not checked at all."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.supply import verdict_of

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
