"""Every number that Prometheus is given is on the page, and nothing else is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from bridge.client.status import (
    BackendStatus,
    EmissionStatus,
    HistoryStatus,
    OutboxStatus,
    QueueStatus,
    StatusModel,
    SwitchModel,
)
from bridge.service.exposition import exposition

PAGE = (Path(__file__).parents[3] / "docs" / "observe.md").read_text(encoding="utf-8")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def everything() -> StatusModel:
    """A status in which nothing is unknown."""
    queue = QueueStatus(
        project="team-a", waiting=3, oldest_at=NOW, oldest_seconds=7.5, active=2, max_active_runs=2, weight=1
    )
    backend = BackendStatus(
        name="gpu",
        url="http://gpu",
        reachable=False,
        last_sweep_seconds=0.5,
        tick_seconds=10,
        circuit="open",
        held_seconds=12,
        active_runs=2,
        queued_runs=3,
        queues=[queue],
        quarantined=1,
        history=HistoryStatus(done=False, seen=40, since=NOW),
        switch=SwitchModel(backend="gpu", mode="paused", since=NOW),
    )
    return StatusModel(
        version="1.0",
        database="postgresql",
        schema_revision="0018",
        workers=9,
        mirror_backlog=4,
        backends=[backend],
        openlineage=EmissionStatus(url="http://marquez", unread_events=1, waiting_runs=2, dead_runs=3),
        outbox=OutboxStatus(last_number=99, unnumbered=5, oldest_seconds=0.25),
    )


def test_every_metric_is_documented_and_no_other() -> None:
    told = set(re.findall(r"^# TYPE (\w+) gauge$", exposition(everything()), flags=re.MULTILINE))
    assert told == set(re.findall(r"^\| `(kfbridge_\w+)` \|", PAGE, flags=re.MULTILINE))


def test_a_backend_that_is_spared_and_paused_is_told() -> None:
    lines = exposition(everything()).splitlines()
    assert 'kfbridge_backend_circuit_open{backend="gpu"} 1' in lines
    assert 'kfbridge_backend_held_seconds{backend="gpu"} 12' in lines
    assert 'kfbridge_backend_paused{backend="gpu"} 1' in lines
    assert "kfbridge_outbox_unnumbered_events 5" in lines
    assert "kfbridge_outbox_oldest_seconds 0.25" in lines
