"""The documentation holds together: links, excerpts of DAGs, the tests and the parameters that it names."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.unit.docs.pages import (
    PROVIDER,
    ROOT,
    anchors,
    excerpts,
    functions_in,
    links,
    named_tests,
    pages,
    rows,
)

# Those that tell of the provider as a whole.
_OVERVIEWS = {"README.md", "comparison.md", "compatibility.md"}
PARTS = sorted(page for page in PROVIDER.glob("*.md") if page.name not in _OVERVIEWS)
CLASSES = [
    ("operator.md", "operators.py", "KubeflowPipelineOperator"),
    ("sensor.md", "sensors.py", "KubeflowPipelineSensor"),
    ("task-group.md", "taskgroup.py", "KubeflowPipelineTaskGroup"),
    ("event-trigger.md", "events.py", "KubeflowEventTrigger"),
    ("notifier.md", "notifiers.py", "BridgeRunNotifier"),
    ("connection.md", "hooks.py", "KubeflowBridgeHook"),
    ("decorator.md", "decorators.py", "kubeflow_pipeline_task"),
]
# They go to the operator of the task ``submit``, whose fields are rendered.
RENDERED_ELSEWHERE = {"KubeflowPipelineTaskGroup": {"arguments", "inputs", "gate", "kfbridge_conn_id"}}
TOLD_IN_WORDS = {("BridgeRunNotifier", "message")}


def test_every_link_leads_somewhere() -> None:
    dead = []
    for page in pages():
        for link in links(page):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                dead.append(f"{page.relative_to(ROOT)}: {link}")
    assert dead == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = {(page, *test) for page in pages() for test in named_tests(page.read_text(encoding="utf-8"))}
    assert len(named) >= 15
    assert [
        f"{page.name}: {path}::{name}" for page, path, name in named if name not in functions_in(path)
    ] == []


def test_every_excerpt_is_in_its_dag() -> None:
    missing = []
    for page in pages():
        for file, text in excerpts(page):
            if not _contains((ROOT / file).read_text(encoding="utf-8"), text):
                missing.append(f"{page.name}, {file}: {text.splitlines()[0]}")
    assert missing == []


@pytest.mark.parametrize("page", PARTS, ids=lambda page: page.stem)
def test_a_page_is_built_around_a_dag_that_runs_in_a_test(page: Path) -> None:
    assert named_tests(page.read_text(encoding="utf-8"))
    if page.name != "plugin.md":  # shows pictures of DAGs instead
        assert excerpts(page)


@pytest.mark.parametrize(("page", "module", "name"), CLASSES, ids=lambda value: value)
def test_every_parameter_is_documented_as_it_is(page: str, module: str, name: str) -> None:
    text = (PROVIDER / page).read_text(encoding="utf-8")
    documented = {row[0].strip("`"): row[1:3] for row in rows(text, "Parameter")}
    expected = _parameters(module, name)
    for parameter, (default, templated) in expected.items():
        told = documented.get(parameter, ["missing", "missing"])
        in_words = (name, parameter) in TOLD_IN_WORDS
        assert told == [told[0] if in_words else default, templated], parameter
    assert documented.keys() == expected.keys()


def _parameters(module: str, name: str) -> dict[str, tuple[str, str]]:
    """Default and whether it is templated, by parameter, of a class or function; read, not imported."""
    tree = ast.parse((ROOT / "bridge" / "provider" / module).read_text(encoding="utf-8"))
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    values["DEFAULT_CONN_ID"] = ast.Constant("kfbridge_default")
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
    rendered = set(RENDERED_ELSEWHERE.get(name, ()))
    function = found
    for node in found.body if isinstance(found, ast.ClassDef) else ():
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            function = node
        target = getattr(node, "target", None) or next(iter(getattr(node, "targets", ())), None)
        if isinstance(target, ast.Name) and target.id == "template_fields":
            rendered |= set(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    assert isinstance(function, ast.FunctionDef)
    return {
        parameter: (_told(default, values), "yes" if parameter in rendered else "no")
        for parameter, default in _signature(function.args)
        if parameter not in ("self", "python_callable")
    }


def _signature(args: ast.arguments) -> list[tuple[str, ast.expr | None]]:
    positional: list[ast.expr | None] = [None] * (len(args.args) - len(args.defaults))
    positional += args.defaults
    pairs = [*zip(args.args, positional, strict=True), *zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return [(arg.arg, default) for arg, default in pairs]


def _told(default: ast.expr | None, values: dict[str, Any]) -> str:
    if default is None:
        return "required"
    value = ast.literal_eval(values[default.id] if isinstance(default, ast.Name) else default)
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


def _contains(source: str, text: str) -> bool:
    lines, wanted = source.splitlines(), text.splitlines()
    pieces = (lines[at : at + len(wanted)] for at in range(len(lines) - len(wanted) + 1))
    return any(textwrap.dedent("\n".join(piece)) == text for piece in pieces)
