"""Each row of the provider comparison names the test that shows it, and that test exists."""

from __future__ import annotations

import re

from tests.unit.docs.pages import PROVIDER, functions_in, named_tests, rows

TEXT = (PROVIDER / "comparison.md").read_text(encoding="utf-8")
ROWS = rows(TEXT, "Feature")
COLUMNS = ["Vertex AI", "Databricks", "dbt Cloud", "Pod"]


def test_every_row_names_a_test_that_exists() -> None:
    assert len(ROWS) > 50
    for row in ROWS:
        named = named_tests(row[2])
        assert named, row[0]
        for path, name in named:
            assert name in functions_in(path), f"{row[0]}: {path}::{name}"


def test_every_row_tells_of_every_provider() -> None:
    headers = re.findall(r"^\| Feature \|.*$", TEXT, re.MULTILINE)
    assert {header.count("|") for header in headers} == {len(COLUMNS) + 4}
    assert [row[0] for row in ROWS if len(row) != len(COLUMNS) + 3 or not all(row)] == []


def test_the_releases_that_were_read_are_named() -> None:
    read = rows(TEXT, "Column")
    assert [row[0] for row in read] == COLUMNS
    assert all(re.search(r"^`apache-airflow-providers-[a-z-]+` \d+\.\d+\.\d+$", row[1]) for row in read)
