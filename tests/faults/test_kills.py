"""Row 12 of the failure matrix, and every crash that nobody thought of: SIGKILL at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.kills.plan import Plan
from tests.bench.kills.playing import kill


@pytest.mark.parametrize(
    "postgresql", [False, pytest.param(True, marks=pytest.mark.postgres)], ids=["sqlite", "postgresql"]
)
def test_12_random_kills_lose_and_double_nothing(
    postgresql: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # On PostgreSQL two replicas, killed independently, take each other's work over.
    url = request.getfixturevalue("postgres_url") if postgresql else None
    plan = Plan(submissions=40, kills=25, postgresql=postgresql, life_seconds=0.6)
    result = kill(plan, tmp_path, database_url=url)
    assert result.failures == []
    assert (result.kills, result.runs_at_backend, result.ends_mirrored) == (25, 40, 40)
