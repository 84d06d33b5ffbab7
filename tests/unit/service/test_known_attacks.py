"""One test for each kind of hole that servers of this field have had; docs/security.md says what stands
against which."""

from __future__ import annotations

import pytest

from bridge.lineage.database import Database
from tests.unit.service.harness import Harness, harness
from tests.unit.service.test_api import problem


@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/api/v1/openapi.json", "/readyz", "/metrics"])
async def test_dns_rebinding_a_page_under_a_name_of_its_own_reads_nothing(
    service: Harness, path: str
) -> None:
    answer = await service.client.get(path, headers={"Host": "evil.example:8700"})
    assert "allowed_hosts" in (problem(answer, 421, "unknown-host").detail or "")


async def test_dns_rebinding_the_bridges_own_names_are_answered(database: Database) -> None:
    names = ("*.bridge.svc",)
    async with harness(database, allowed_hosts=names, public_url="https://bridge.example/") as service:
        for host in ("127.0.0.1:8700", "localhost", "api.bridge.svc:8700", "Bridge.Example", "10.0.0.7:8700"):
            assert (await service.client.get("/api/v1/runs", headers={"Host": host})).status_code == 200
        answer = await service.client.get("/api/v1/runs", headers={"Host": "bridge.svc.evil.example"})
        problem(answer, 421, "unknown-host")
