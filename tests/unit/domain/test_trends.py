"""What is worse than usual, and how long is too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.trends import Better, MedianRule, Sample, center, mark, rule_for, usual_seconds

HIGHER = MedianRule(better=Better.HIGHER)
LOWER = MedianRule(better=Better.LOWER)
STEADY = [0.70, 0.71, 0.69, 0.70, 0.72, 0.70]


def _last(values: list[float], rule: MedianRule = HIGHER) -> bool | None:
    return mark([Sample(value=value, good=True) for value in values], (), rule)[-1].regression


@pytest.mark.parametrize(
    ("value", "rule", "regression"),
    [
        (0.70, HIGHER, False),
        (0.68, HIGHER, False),
        (0.60, HIGHER, True),
        (0.90, HIGHER, False),
        (0.90, LOWER, True),
        (0.60, LOWER, False),
    ],
)
def test_a_number_is_judged_by_the_good_ones_before_it(
    value: float, rule: MedianRule, regression: bool
) -> None:
    assert _last([*STEADY, value], rule) is regression


def test_one_outlier_does_not_move_the_measure() -> None:
    assert _last([*STEADY, 0.1, 0.60]) is True
    assert _last([*STEADY, 0.1, 0.70]) is False


def test_the_last_digit_of_a_number_that_never_moved_is_no_regression() -> None:
    assert _last([0.5] * 5 + [0.4999]) is False
    assert _last([0.5] * 5 + [0.48]) is True


def test_runs_that_are_not_good_are_judged_but_set_no_measure() -> None:
    samples = [Sample(value=value, good=True) for value in STEADY]
    bad = [Sample(value=0.1, good=False)] * 20
    marks = mark([*samples, *bad, Sample(value=0.7, good=True)], (), HIGHER)
    assert [one.regression for one in marks[6:]] == [True] * 20 + [False]


def test_too_few_runs_before_it_say_nothing_and_why() -> None:
    marks = mark([Sample(value=value, good=True) for value in (0.7, 0.1, 0.7, 0.1)], (), HIGHER)
    assert [one.regression for one in marks] == [None, None, None, True]
    assert [one.reason for one in marks[:2]] == ["no good run before it", "1 good runs before it"]
    assert mark([Sample(value=0.1, good=True)], STEADY, HIGHER)[0].regression is True


def test_a_run_without_the_number_is_not_judged() -> None:
    (found,) = mark([Sample(value=None, good=True)], STEADY, HIGHER)
    assert (found.regression, found.reason, found.median) == (None, "no value", 0.7)


def test_only_the_window_counts() -> None:
    old = [0.9] * 50
    rule = MedianRule(better=Better.HIGHER, window=5)
    assert mark([Sample(value=0.7, good=True)], [*old, *STEADY], rule)[0].regression is False


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("evaluate.auc", Better.HIGHER),
        ("evaluate.val_loss", Better.LOWER),
        ("train.rmse", Better.LOWER),
        ("train.logloss", Better.LOWER),
        ("score.error_rate", Better.LOWER),
        ("evaluate.closs_over", Better.HIGHER),
        ("gather.terror", Better.LOWER),
        ("duration", Better.LOWER),
        ("queued", Better.LOWER),
        ("prepare.rows", Better.HIGHER),
    ],
)
def test_which_way_a_number_gets_better_is_told_by_its_name(name: str, better: Better) -> None:
    assert rule_for(name).better is better
    assert rule_for(name, Better.HIGHER).better is Better.HIGHER


def test_the_rule_is_stated() -> None:
    rule = rule_for("evaluate.auc", window=7)
    assert rule.expression("evaluate.auc") == "evaluate.auc >= median - 3 * spread"
    assert rule_for("duration").expression("duration") == "duration <= median + 3 * spread"
    assert "the last 7 good runs" in rule.text
    assert "at least 0.5% of it" in rule.text


def test_usual_times_need_three_good_runs_and_leave_room() -> None:
    assert usual_seconds([10.0, 11.0]) is None
    usual = usual_seconds([600.0, 620.0, 610.0, 5000.0])
    assert usual is not None
    assert (usual.runs, usual.median, usual.limit) == (4, 615.0, 615.0 * 1.5)
    quick = usual_seconds([1.0, 1.0, 1.0])
    assert quick is not None
    assert quick.limit == 61.0


@given(st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=30), st.floats(-1e9, 1e9))
def test_a_number_is_a_regression_one_way_at_most(before: list[float], value: float) -> None:
    sample = [Sample(value=value, good=True)]
    up = mark(sample, before, MedianRule(better=Better.HIGHER, window=30))[0]
    down = mark(sample, before, MedianRule(better=Better.LOWER, window=30))[0]
    assert not (up.regression and down.regression)
    middle, spread = center(before)
    assert spread >= 0
    assert up.low is not None
    assert up.high is not None
    assert up.low <= middle <= up.high
