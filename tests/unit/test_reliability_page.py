"""What ``docs/reliability.md`` calls tested is: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def named(heading: str) -> set[str]:
    """The names of tests in the second column of one section's table, or the third after a number."""
    _, _, section = PAGE.partition(f"\n## {heading}\n")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    tests = [row[2] if row[0].isdigit() else row[1] for row in cells]
    return {name for cell in tests for name in re.findall(r"`([a-z0-9_]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "folder"), [("What is tested", "faults"), ("What is tested in a real Airflow", "e2e")]
)
def test_every_test_that_the_page_names_is_there(heading: str, folder: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests" / folder).glob("test_*.py"))
    there = set(re.findall(r"def test_(?:\d+_)?(\w+)\(", sources))
    assert named(heading)
    assert named(heading) - there == set()
