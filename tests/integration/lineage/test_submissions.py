"""Submissions are stored once, with their run, whoever else tries at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from bridge.domain.identity import Origin
from bridge.domain.lineage import OnClear, OnRetry
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.database import Database
from bridge.lineage.datasets import inputs_of
from bridge.lineage.errors import DuplicateSubmission, NotStored
from bridge.lineage.leases import claim
from bridge.lineage.records import RunFilter
from bridge.lineage.runs import change_run, get_run, list_runs
from bridge.lineage.submissions import (
    add_adopting_submission,
    add_attempt,
    add_submission,
    current_run,
    find_submission,
    newest_in_family,
    record_try,
)
from tests.support.lineage_samples import ETL, T0, a_run, a_submission, partition, some_uuid, submit


def test_a_submission_comes_back_as_it_was_stored(database: Database) -> None:
    submission = a_submission(
        family=uuid4(),
        namespace="team-a",
        inputs=(
            partition(5, version="v5", version_kind="sha256", rows=3, bytes=10, producer=ETL),
            partition(6),
        ),
        service_account="runner",
        pipeline_root="s3://bucket/root",
        caching=False,
        labels={"team": "ops"},
        on_retry=OnRetry.RETRY_FAILED_TASKS,
        on_clear=OnClear.ADOPT,
        gate="evaluate.auc >= last_good - 0.01",
        arguments={"nested": {"list": [1, 2.5, None, "ä"]}},
    )
    run = database.transact(lambda session: submit(session, submission, namespace="team-a"))
    stored = database.read(lambda session: find_submission(session, submission.key))
    assert stored == replace(submission, current_run=run.run_id)
    assert database.read(lambda session: get_run(session, run.run_id)) == run
    assert database.read(lambda session: current_run(session, submission.key)) == run
    inputs = database.read(lambda session: inputs_of(session, run.run_id))
    assert [(item.uri, item.version) for item in inputs] == [
        ("file:///data/flights/day=05/flights.parquet", "v5"),
        ("file:///data/flights/day=06/flights.parquet", None),
    ]


def test_a_second_submission_with_the_key_is_refused_and_leaves_nothing(database: Database) -> None:
    submission = a_submission()

    def twice(session):  # type: ignore[no-untyped-def]
        first = submit(session, submission)
        with pytest.raises(DuplicateSubmission):
            add_submission(session, submission, a_run(submission, kfp_run_id=uuid4()))
        return first

    first = database.transact(twice)
    runs, _ = database.read(lambda session: list_runs(session, RunFilter()))
    assert runs == [first]


def test_fifty_at_once_make_one_submission(database: Database) -> None:
    submission = a_submission()
    start = threading.Barrier(10)

    def attempt(_: int) -> bool:
        start.wait(timeout=30)
        refused = 0
        for _ in range(5):
            try:
                database.transact(lambda session: submit(session, submission))
            except DuplicateSubmission:
                refused += 1
        return refused < 5

    with ThreadPoolExecutor(10) as pool:
        winners = list(pool.map(attempt, range(10)))
    assert sum(winners) == 1
    runs, _ = database.read(lambda session: list_runs(session, RunFilter(submission_key=submission.key)))
    assert len(runs) == 1


def test_the_next_attempt_becomes_current_with_its_new_body(database: Database) -> None:
    submission = a_submission(inputs=(partition(5),))
    first = database.transact(lambda session: submit(session, submission))
    newer = replace(
        submission,
        arguments={"target": "departure"},
        inputs=(partition(6),),
        request_digest="c" * 64,
        try_number=2,
    )
    second = a_run(newer, attempt=2)

    def retry(session):  # type: ignore[no-untyped-def]
        change_run(session, first.run_id, phase=RunPhase.ENDED, state=RuntimeState.FAILED)
        add_attempt(session, newer, second)

    database.transact(retry)
    assert database.read(lambda session: current_run(session, submission.key)) == second
    stored = database.read(lambda session: find_submission(session, submission.key))
    assert stored == replace(newer, current_run=second.run_id)
    for run, day in ((first, 5), (second, 6)):
        (item,) = database.read(lambda session, run=run: inputs_of(session, run.run_id))
        assert item.uri.endswith(f"day={day:02}/flights.parquet")
    claims = database.transact(lambda session: claim(session, worker="w"))
    assert second in [one.run for one in claims]


def test_a_cleared_task_can_adopt_the_run_of_its_earlier_generation(database: Database) -> None:
    older, newer = a_submission(), a_submission()
    run = database.transact(lambda session: submit(session, older))
    database.transact(lambda session: add_adopting_submission(session, newer, run.run_id))
    assert database.read(lambda session: current_run(session, newer.key)) == run
    with pytest.raises(DuplicateSubmission):
        database.transact(lambda session: add_adopting_submission(session, newer, run.run_id))


def test_an_attempt_of_nothing_is_refused(database: Database) -> None:
    submission = a_submission()
    with pytest.raises(NotStored):
        database.transact(lambda session: add_attempt(session, submission, a_run(submission)))


def test_tries_only_grow(database: Database) -> None:
    submission = a_submission()
    database.transact(lambda session: submit(session, submission))
    stored = database.transact(lambda session: record_try(session, submission.key, 3))
    assert (stored.try_number, stored.request_digest) == (3, submission.request_digest)
    stored = database.transact(
        lambda session: record_try(session, submission.key, 2, request_digest="e" * 64)
    )
    assert (stored.try_number, stored.request_digest) == (3, submission.request_digest)
    stored = database.transact(
        lambda session: record_try(session, submission.key, 4, request_digest="e" * 64)
    )
    assert (stored.try_number, stored.request_digest) == (4, "e" * 64)
    with pytest.raises(NotStored):
        database.transact(lambda session: record_try(session, some_uuid(1), 2))


def test_the_newest_of_the_family_is_found(database: Database) -> None:
    family = uuid4()
    older, newer, mine = (
        a_submission(family=family, created_at=T0 + timedelta(seconds=number)) for number in range(3)
    )

    def store(session):  # type: ignore[no-untyped-def]
        submit(session, older)
        newest = submit(session, newer)
        submit(session, mine)
        submit(session, a_submission(family=uuid4()))
        return newest

    newest = database.transact(store)
    found = database.read(lambda session: newest_in_family(session, family, other_than=mine.key))
    assert found == newest
    assert database.read(lambda session: newest_in_family(session, uuid4(), other_than=mine.key)) is None


def test_what_no_database_can_hold_is_made_harmless(database: Database) -> None:
    submission = a_submission(
        arguments={"text": "a\x00b\ud800", "number": float("nan"), "list": [float("inf")]},
        display_name="nul\x00name",
        origin=Origin(user="\udfff"),
    )
    run = database.transact(lambda session: submit(session, submission))
    stored = database.read(lambda session: get_run(session, run.run_id))
    assert stored is not None
    assert stored.display_name == "nul\ufffdname"
    assert stored.arguments == {"text": "a\ufffdb\ufffd\ufffd\ufffd", "number": "nan", "list": ["inf"]}
