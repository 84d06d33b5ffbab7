"""Cron expressions, due times and placeholders, as KFP's controller of scheduled workflows has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.local.cron import CronError, parse_cron
from bridge.local.schedules import Trigger, fill_in, next_due


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("expression", "after", "then"),
    [
        # The first field counts seconds; that is where KFP differs from crontab.
        ("* * * * * *", "2026-03-01T12:00:00", "2026-03-01T12:00:01"),
        ("0 30 * * * *", "2026-03-01T12:30:00", "2026-03-01T13:30:00"),
        ("0 0 2 * *", "2026-03-01T12:00:00", "2026-03-02T02:00:00"),
        ("15/20 * * * * ?", "2026-03-01T12:00:16", "2026-03-01T12:00:35"),
        ("0 0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 9-17/4 * * MON-FRI", "2026-03-06T17:00:00", "2026-03-09T09:00:00"),
        ("0 0 0 1 jan,Jul *", "2026-02-01T00:00:00", "2026-07-01T00:00:00"),
        # Day of month and day of week: either, once neither is a star.
        ("0 0 0 13 * FRI", "2026-03-01T00:00:00", "2026-03-06T00:00:00"),
        ("0 0 0 13 * *", "2026-03-01T00:00:00", "2026-03-13T00:00:00"),
        ("@hourly", "2026-03-01T12:00:01", "2026-03-01T13:00:00"),
        ("@weekly", "2026-03-04T12:00:00", "2026-03-08T00:00:00"),
        ("@every 1h30m", "2026-03-01T12:00:01", "2026-03-01T13:30:01"),
        ("@every 10ms", "2026-03-01T12:00:01", "2026-03-01T12:00:02"),
        ("59 59 23 31 12 *", "2026-12-31T23:59:58", "2026-12-31T23:59:59"),
        ("TZ=America/New_York 0 0 2 * * *", "2026-01-10T00:00:00", "2026-01-10T07:00:00"),
        # Half past two does not exist on the day on which summer time begins there.
        ("TZ=America/New_York 0 30 2 * * *", "2026-03-08T00:00:00", "2026-03-09T06:30:00"),
    ],
)
def test_when_a_cron_expression_comes_true_next(expression: str, after: str, then: str) -> None:
    assert parse_cron(expression).after(at(after)) == at(then)


def test_a_day_that_never_comes() -> None:
    assert parse_cron("0 0 0 30 2 *").after(at("2026-03-01T00:00:00")) is None


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * * *",
        "* * * 0 * *",
        "5-1 * * * * *",
        "*/0 * * * * *",
        "1,,2 * * * * *",
        "1/-1 * * * * *",
        "-1 * * * * *",
        "x * * * * *",
        "١ * * * * *",
        "@sometimes",
        "@every",
        "@every soon",
        "@every 1e9h",
        "TZ=Nowhere * * * * * *",
        "* " * 300,
    ],
)
def test_what_is_no_cron_expression(expression: str) -> None:
    with pytest.raises(CronError):
        parse_cron(expression)


@given(st.text(alphabet="*?,-/0123456789 @everyhmsTZ=", max_size=30), st.integers(0, 4_000_000_000))
def test_any_text_is_read_or_refused_and_what_comes_next_is_later(text: str, epoch: int) -> None:
    try:
        cron = parse_cron(text)
    except CronError:
        return
    found = cron.after(epoch)
    assert found is None or found > epoch


CREATED = at("2026-03-01T12:00:00")


def due(trigger: Trigger, *, last: int | None = None, catchup: bool = True, now: int = CREATED) -> int | None:
    return next_due(trigger, created=CREATED, last=last, catchup=catchup, now=now)


def test_an_interval_counts_from_the_creation_the_start_or_the_last_run() -> None:
    hourly = Trigger(interval_seconds=3600)
    assert due(hourly) == CREATED + 3600
    assert due(hourly, last=CREATED + 3600) == CREATED + 7200
    # A start that is given is the point from which the first interval is counted.
    past, future = CREATED - 10_000, CREATED + 10_000
    assert due(Trigger(interval_seconds=3600, start=past)) == past + 3600
    assert due(Trigger(interval_seconds=3600, start=future), last=CREATED) == future
    assert due(Trigger(interval_seconds=3600, end=CREATED + 3599)) is None
    assert due(Trigger(interval_seconds=2**62)) is None


def test_what_was_missed_is_caught_up_or_left_out() -> None:
    now = CREATED + 3 * 3600 + 5
    hourly, by_cron = Trigger(interval_seconds=3600), Trigger(cron="0 0 * * * *")
    assert due(hourly, now=now) == CREATED + 3600
    assert due(hourly, now=now, catchup=False) == now
    assert due(by_cron, now=now) == CREATED + 3600
    assert due(by_cron, now=now, catchup=False) == CREATED + 3 * 3600
    ended = Trigger(cron="0 0 * * * *", end=CREATED + 2 * 3600)
    assert due(ended, now=now, catchup=False) == CREATED + 2 * 3600
    assert due(ended, last=CREATED + 2 * 3600, now=now) is None
    assert due(Trigger(interval_seconds=3600, end=CREATED + 7000), now=now, catchup=False) == CREATED + 7000


def test_decades_of_seconds_that_were_missed_take_no_time() -> None:
    every_second = Trigger(cron="* * * * * *", start=0)
    assert due(every_second, catchup=False) == CREATED
    at_night = Trigger(cron="* * 0 * * *", start=0)
    assert due(at_night, catchup=False) == at("2026-03-01T00:59:59")


def test_without_a_schedule_there_is_one_run() -> None:
    assert due(Trigger()) == CREATED
    assert due(Trigger(), last=CREATED) is None
    # One that an older version took and this one cannot read.
    assert due(Trigger(cron="whenever")) is None


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("[[RunUUID]]/[[Index]]", "r-1/7"),
        ("d=[[ScheduledTime]] n=[[CurrentTime]]", "d=20260301090507 n=20260301120000"),
        ("[[ScheduledTime.2006-01-02T15:04:05Z]]", "2026-03-01T09:05:07Z"),
        ("[[CurrentTime.Mon Jan _2 3:04PM 06 MST]]", "Sun Mar  1 12:00PM 26 UTC"),
        ("{{$.scheduledTime.strftime('%Y/%m/%d %H')}}", "2026/03/01 09"),
        ("{{$.currentTime.strftime('%s')}}", str(CREATED)),
        ({"a": ["[[Index]]", 3, None]}, {"a": ["7", 3, None]}),
        ("[[Something]] {{$.pipeline_job_uuid}} [[", "[[Something]] {{$.pipeline_job_uuid}} [["),
        (5, 5),
    ],
)
def test_placeholders(value: Any, filled: Any) -> None:
    scheduled = at("2026-03-01T09:05:07")
    assert fill_in(value, run_id="r-1", scheduled=scheduled, now=CREATED, index=7) == filled
