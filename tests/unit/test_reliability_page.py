"""What ``docs/reliability.md`` says of the failure matrix is held to the tests that play it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
MATRIX = set(range(1, 31))
NUMBERED = re.compile(r"test_(\d\d)_(\w+)")


def table(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    _, _, section = PAGE.partition(f"\n## {heading}\n")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def names(cell: str) -> set[str]:
    """The tests that a cell names."""
    return set(re.findall(r"`([a-z0-9_]+)`", cell))


@cache
def scenarios(folder: str) -> dict[str, str]:
    """The databases of each test of a folder, by its name without ``test_``."""
    found = {}
    for path in sorted((ROOT / "tests" / folder).glob("test_*.py")):
        functions = [
            node
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        fixtures = {one.name: decorators(one) for one in functions if "fixture" in decorators(one)}
        for one in functions:
            if one.name.startswith("test_"):
                given = [fixtures.get(argument.arg, "") for argument in one.args.args]
                found[one.name.removeprefix("test_")] = databases(" ".join([decorators(one), *given]))
    return found


def decorators(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A function's decorators, as they are written."""
    return " ".join(ast.unparse(one) for one in function.decorator_list)


def databases(told: str) -> str:
    """On which databases a test runs, from its decorators and those of its module's fixtures."""
    if "on_both" in told or ("postgres" in told and "sqlite" in told):
        return "both"
    return "PostgreSQL" if "postgres" in told else "SQLite"


def test_every_numbered_test_is_on_the_page_with_its_databases() -> None:
    told = {
        (int(number), name): where
        for number, _, cell, where in table("What is tested")
        for name in names(cell)
    }
    there = {
        (int(found[1]), found[2]): where
        for name, where in scenarios("faults").items()
        if (found := NUMBERED.fullmatch(f"test_{name}"))
    }
    assert told == there


def test_every_scenario_of_airflow_that_the_page_names_is_there() -> None:
    told = set().union(*(names(" ".join(row)) for row in table("What is tested in a real Airflow")))
    there = {re.sub(r"^\d\d_", "", name) for name in scenarios("e2e")}
    assert told
    assert {re.sub(r"^\d\d_", "", name) for name in told} - there - {"timeout", "execution_timeout"} == set()


def test_every_row_of_the_matrix_has_a_test_of_its_number() -> None:
    numbered = [*scenarios("faults"), *scenarios("e2e")]
    played = {int(found[1]) for name in numbered if (found := NUMBERED.fullmatch(f"test_{name}"))}
    assert played == MATRIX


@pytest.mark.parametrize("column", [1, 2, 3], ids=["happens", "seen", "to do"])
def test_the_page_says_of_each_row_what_is_seen_and_what_to_do(column: int) -> None:
    rows = table("How each failure looks, and what to do")
    assert [int(row[0]) for row in rows] == sorted(MATRIX)
    assert all(row[column] for row in rows)
