"""What docs/local-backend.md has to tell: every route and every setting."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from fastapi.routing import APIRoute

from bridge.local.app import METADATA_ROUTERS, ROUTERS
from bridge.local.settings import ContainerSettings, LocalSettings

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "local-backend.md").read_text()


def documented_routes() -> set[tuple[str, str]]:
    rows = [line.split("|")[1].strip().strip("`") for line in PAGE.splitlines() if line.startswith("| `")]
    found = set()
    for row in rows:
        *methods, path = row.split()
        found |= {(method, path) for method in methods}
    return found


def test_every_route_is_documented_and_no_other() -> None:
    served = {
        (method, route.path.replace(":path}", "}"))
        for router in (*ROUTERS, *METADATA_ROUTERS["mlmd"], *METADATA_ROUTERS["native"])
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert served == documented_routes()


def test_every_setting_is_documented() -> None:
    for setting in fields(LocalSettings):
        assert f"| `{setting.name}` |" in PAGE


def test_every_setting_of_containers_is_documented() -> None:
    page = (DOCS / "local-containers.md").read_text()
    for setting in fields(ContainerSettings):
        assert f"| `{setting.name}` |" in page
