"""What the service has, its pages tell: every route and every problem."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from bridge.service.problems import PROBLEMS
from bridge.service.routes import (
    artifacts,
    compare,
    costs,
    details,
    events,
    history,
    jobs,
    lineage,
    pipelines,
    reproduce,
    runs,
    status,
    webhooks,
)

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
MODULES = (
    costs,
    runs,
    reproduce,
    details,
    compare,
    artifacts,
    pipelines,
    history,
    lineage,
    jobs,
    events,
    status,
    webhooks,
)
ROUTES = [
    (method, route.path)
    for module in MODULES
    for route in module.router.routes
    if isinstance(route, APIRoute) and route.include_in_schema
    for method in route.methods
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_is_documented(method: str, path: str) -> None:
    assert f"`{method} {path}`" in PAGE


@pytest.mark.parametrize("slug", PROBLEMS)
def test_every_problem_is_documented_with_its_status(slug: str) -> None:
    assert f"| `{slug}` | {PROBLEMS[slug][0]} |" in PAGE
