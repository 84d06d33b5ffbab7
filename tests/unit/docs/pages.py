"""The documentation as tests read it: pages, links, excerpts, tables, and the tests that pages name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROVIDER = ROOT / "docs" / "provider"
_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_EXCERPT = re.compile(r"<!-- (airflow_dags/\S+) -->\n```python\n(.*?)\n```", re.DOTALL)


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def links(page: Path) -> list[str]:
    """Where a page links to, addresses of other sites left out."""
    found = _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if "://" not in link and not link.startswith("mailto:")]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the forges make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def excerpts(page: Path) -> list[tuple[str, str]]:
    """The blocks that say which file they are taken from: ``(file, text)``."""
    return _EXCERPT.findall(page.read_text(encoding="utf-8"))


def named_tests(text: str) -> list[tuple[str, str]]:
    """The tests that a text names: ``(path, function)``."""
    return _TEST.findall(text)


@cache
def functions_in(path: str) -> frozenset[str]:
    """The test functions that a file defines, none if there is no such file."""
    file = ROOT / path
    if not file.exists():
        return frozenset()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of each row of the tables whose first column has that header."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        # A bar inside of a cell is written with a backslash.
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == header:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            found.append(cells)
    return found
