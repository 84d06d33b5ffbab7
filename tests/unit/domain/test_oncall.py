"""Who can put a failure right, and which run is overdue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.domain.causes import CauseKind
from bridge.domain.oncall import group_of, overdue

T0 = datetime(2026, 8, 1, 2, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def test_every_kind_of_cause_has_a_group() -> None:
    groups = {kind.value: group_of(kind.value) for kind in CauseKind}
    assert [kind for kind, group in groups.items() if group == "other"] == ["canceled"]
    assert groups["out_of_memory"] == groups["unschedulable"] == "quota"
    assert group_of(None) == group_of("a kind of a later version") == "other"


@pytest.mark.parametrize(
    ("after_last", "late"),
    [
        (DAY + HOUR, None),
        (DAY + 11 * HOUR, None),
        (DAY + 13 * HOUR, 13 * HOUR),
        (3 * DAY, 2 * DAY),
        (12 * DAY, None),
    ],
)
def test_a_daily_run_is_overdue_after_half_a_day_and_forgotten_after_ten(
    after_last: timedelta, late: timedelta | None
) -> None:
    started = [T0 + number * DAY for number in range(6)]
    found = overdue(started[::-1], started[-1] + after_last)
    assert (found.late if found else None) == late
    if found is not None:
        assert (found.every, found.expected_at) == (DAY, started[-1] + DAY)


def test_a_run_that_was_left_out_before_does_not_break_the_rhythm() -> None:
    started = [T0 + number * HOUR for number in range(8) if number != 4]
    found = overdue(started, started[-1] + 3 * HOUR)
    assert found is not None
    assert found.every == HOUR


@pytest.mark.parametrize(
    "hours",
    [
        pytest.param([0, 24, 48, 72], id="too few"),
        pytest.param([0, 1, 30, 31, 90, 200, 201], id="no rhythm"),
        pytest.param([0, 0.01, 0.02, 0.03, 0.04, 0.05], id="by hand, one after the other"),
    ],
)
def test_without_a_steady_rhythm_nothing_is_expected(hours: list[float]) -> None:
    started = [T0 + hour * HOUR for hour in hours]
    assert overdue(started, started[-1] + 40 * DAY) is None
    assert overdue(started, started[-1] + 2 * DAY) is None
