"""Keys: one submission out of many requests, and never one out of two."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.identity import (
    Origin,
    caller_key,
    canonical_json,
    kfp_run_id,
    lineage_of_key,
    request_digest,
    submission_key,
    utc_text,
)

ORIGIN = Origin(
    scheduler="airflow",
    deployment="prod",
    dag_id="train",
    dag_run_id="scheduled__2026-01-02",
    dag_run_start=datetime(2026, 1, 2, 2, 0, 5, tzinfo=UTC),
    task_id="submit",
    map_index=-1,
    try_number=1,
    max_tries=2,
)


def test_a_retry_keeps_the_key() -> None:
    assert submission_key("p", ORIGIN) == submission_key("p", replace(ORIGIN, try_number=2))


@pytest.mark.parametrize(
    "change",
    [
        {"deployment": "staging"},
        {"dag_id": "other"},
        {"dag_run_id": "manual__1"},
        {"dag_run_start": datetime(2026, 1, 2, 2, 0, 6, tzinfo=UTC)},
        {"task_id": "other"},
        {"map_index": 0},
        {"max_tries": 3},
    ],
)
def test_every_part_of_the_identity_changes_the_key(change: dict[str, object]) -> None:
    assert submission_key("p", ORIGIN) != submission_key("p", replace(ORIGIN, **change))  # type: ignore[arg-type]


def test_a_clear_changes_the_key_but_not_the_family() -> None:
    cleared = replace(ORIGIN, max_tries=3)
    assert submission_key("p", ORIGIN) != submission_key("p", cleared)
    assert lineage_of_key("p", ORIGIN) == lineage_of_key("p", cleared)
    # A clear in a DagRun that has ended begins the DagRun anew.
    begun_anew = replace(cleared, dag_run_start=datetime(2026, 1, 2, 3, tzinfo=UTC))
    assert lineage_of_key("p", ORIGIN) == lineage_of_key("p", begun_anew)


def test_projects_are_apart() -> None:
    assert submission_key("a", ORIGIN) != submission_key("b", ORIGIN)
    assert caller_key("a", "k") != caller_key("b", "k")


def test_the_same_moment_in_another_zone_is_the_same_key() -> None:
    assert ORIGIN.dag_run_start is not None
    elsewhere = ORIGIN.dag_run_start.astimezone(timezone(timedelta(hours=9)))
    assert submission_key("p", ORIGIN) == submission_key("p", replace(ORIGIN, dag_run_start=elsewhere))


def test_an_origin_that_is_no_task_instance_has_no_key() -> None:
    with pytest.raises(ValueError, match="no submission key"):
        submission_key("p", Origin(scheduler="cron"))


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        utc_text(datetime(2026, 1, 1))


def test_attempts_have_different_ids_and_are_counted_from_one() -> None:
    key = UUID(int=7)
    assert kfp_run_id(key, 1) != kfp_run_id(key, 2)
    assert kfp_run_id(key, 1) == kfp_run_id(key, 1)
    with pytest.raises(ValueError, match="from 1"):
        kfp_run_id(key, 0)


def test_the_keys_do_not_change_between_versions() -> None:
    """A changed derivation would submit everything in flight a second time after an upgrade."""
    assert str(submission_key("p", ORIGIN)) == "9190c58c-29f2-5759-b632-6ec74c541519"
    assert str(caller_key("p", "nightly")) == "1cfbbead-0c0b-5bce-98dd-14d5905b4b19"
    assert str(kfp_run_id(UUID(int=7), 1)) == "bb2c1622-53fa-5a8b-a8a3-dba1a71fecbf"


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none()))
def test_the_digest_ignores_order_and_origin(body: dict[str, object]) -> None:
    shuffled = dict(reversed(list(body.items())))
    with_origin = {**shuffled, "origin": {"try_number": 2}}
    assert request_digest({**body, "origin": None}) == request_digest(with_origin)


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
