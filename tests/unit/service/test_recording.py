"""Submissions that come together share a transaction; what one of them is or lacks is no other's matter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bridge.domain.identity import Origin
from bridge.domain.lineage import InputVersion, OnClear, OnRetry, Submission
from bridge.lineage.database import Database
from bridge.service.pipelines import Found
from bridge.service.recording import Accepted, Intent, Recorder
from bridge.spec.load import load_pipeline
from tests.unit.service.harness import SPEC, Harness
from tests.unit.service.test_repeating import origin


def an_intent(**changes: Any) -> Intent:
    pipeline = load_pipeline(SPEC)
    found = Found(pipeline, pipeline)
    submission = Submission(
        key=uuid4(),
        family=None,
        backend="default",
        project="default",
        namespace=None,
        pipeline=found.reference,
        display_name="one of many",
        experiment="Default",
        arguments={"epochs": 3},
        inputs=(),
        origin=Origin(),
        request_digest="d",
        created_at=datetime.now(UTC),
        on_retry=OnRetry.NEW_RUN,
        on_clear=OnClear.CANCEL_THEN_NEW,
    )
    return Intent(replace(submission, **changes), found)


@pytest.fixture
def transactions(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each transaction that wrote."""
    seen: list[str] = []
    transact = Database.transact

    def counted(self: Database, work: Any, **options: Any) -> Any:
        seen.append("transaction")
        return transact(self, work, **options)

    monkeypatch.setattr(Database, "transact", counted)
    return seen


async def test_submissions_that_come_together_share_transactions(
    service: Harness, transactions: list[str]
) -> None:
    recorder = Recorder(service.context.store)
    found = await asyncio.gather(*(recorder.record(an_intent()) for _ in range(40)))
    assert len({one.run.run_id for one in found if one}) == 40
    assert {one.replayed for one in found if one} == {False}
    assert len(transactions) == 1
    assert len(await service.stored()) == 40


async def test_one_that_cannot_be_written_fails_alone(service: Harness) -> None:
    recorder = Recorder(service.context.store)
    bad = an_intent(inputs=(InputVersion(name="flights", uri="no place at all"),))
    intents = [an_intent(), bad, an_intent(), an_intent()]
    found = await asyncio.gather(*(recorder.record(one) for one in intents), return_exceptions=True)
    assert isinstance(found[1], ValueError)
    written = {one.run.submission_key for one in found if isinstance(one, Accepted)}
    assert written == {one.submission.key for one in intents if one is not bad}
    assert {run.submission_key for run in await service.stored()} == written


async def test_one_task_twice_in_a_group_is_a_task_that_was_cleared(service: Harness) -> None:
    def ask(start: str) -> Any:
        return service.submit(None, origin=origin(dag_run_start=start))

    answers: list[httpx.Response] = await asyncio.gather(
        ask("2026-08-01T02:00:00Z"), ask("2026-08-02T02:00:00Z")
    )
    assert {answer.status_code for answer in answers} == {202}
    first, second = (run for run in sorted(await service.stored(), key=lambda run: run.after_run is not None))
    assert second.after_run == first.run_id
    assert first.cancel_requested_at is not None
