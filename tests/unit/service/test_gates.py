from __future__ import annotations

from uuid import UUID

import pytest

from bridge.service.gates import GateError, LastGood, compile_gate, judge

GOOD = LastGood(UUID(int=1), {"evaluate.auc": 0.80, "train-model.loss": 1.0})
NOW = {"evaluate.auc": 0.795, "train-model.loss": 0.9, "evaluate.rows": 100.0}


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("evaluate.auc >= last_good - 0.01", True),
        ("evaluate.auc >= last_good", False),
        ("last_good <= evaluate.auc + 0.01", True),
        ("evaluate.auc > last_good.evaluate.auc", False),
        ("evaluate.auc > last_good['evaluate.auc']", False),
        ("train_model.loss < last_good", True),
        ("metrics['train-model.loss'] < 0.95", True),
        ("evaluate.rows >= 100 && evaluate.auc * 2 > 1", True),
        ("evaluate.rows > 100 || evaluate.auc > 0.5", True),
        ("evaluate.auc > 0.7 && train_model.loss <= last_good * 0.5", False),
        ("(evaluate.auc > 0.7) ? true : false", True),
        ("has(evaluate.f1) ? evaluate.f1 > 1 : evaluate.auc > 0.5", True),
        ("!(evaluate.auc < 0.5)", True),
    ],
)
def test_verdicts(expression: str, passed: bool) -> None:
    assert compile_gate(expression).judge(NOW, GOOD).passed is passed


@pytest.mark.parametrize(
    "expression",
    ["evaluate.auc >= last_good - 0.01", "evaluate.auc > 0.7 && evaluate.auc > last_good + 10"],
)
def test_somebody_has_to_be_first(expression: str) -> None:
    verdict = judge(expression, NOW, None)
    assert (verdict.passed, verdict.reason, verdict.last_good_run) == (True, "no good run yet", None)


def test_the_other_conditions_hold_for_the_first_as_well() -> None:
    assert judge("evaluate.auc > 0.9 && evaluate.auc > last_good", NOW, None).passed is False


def test_a_last_good_run_without_the_metric_is_no_obstacle() -> None:
    verdict = judge("evaluate.rows >= last_good", NOW, GOOD)
    assert (verdict.passed, verdict.reason) == (True, "the last good run has no evaluate.rows")


def test_the_reason_tells_the_condition_and_the_numbers() -> None:
    verdict = judge("evaluate.auc >= last_good + 0.05", NOW, GOOD)
    assert verdict.reason == (
        "not met: evaluate.auc >= last_good + 0.05 (evaluate.auc = 0.795, last_good.evaluate.auc = 0.8)"
    )
    assert verdict.last_good_run == GOOD.run_id


@pytest.mark.parametrize(
    "expression", ["evaluate.f1 > 1", "evaluate.auc", "evaluate.auc > 'x'", "f(1.0) > evaluate.auc"]
)
def test_what_cannot_be_judged_says_why(expression: str) -> None:
    verdict = judge(expression, NOW, GOOD)
    assert verdict.passed is None
    assert verdict.reason


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "  ",
        "evaluate.auc >=",
        "1 < 2",
        "last_good > 1",
        "&& evaluate.auc > 1",
        "a b",
        "(" * 500 + "a.b > 1",
    ],
)
def test_what_is_no_gate_is_refused(expression: str) -> None:
    with pytest.raises(GateError):
        compile_gate(expression)


def test_texts_in_an_expression_are_left_alone() -> None:
    gate = compile_gate("evaluate.auc > 0.5 && 'last_good 1' == 'last_good 1'")
    assert gate.judge(NOW, GOOD).passed is True


def test_a_metric_that_may_be_meant_is_named() -> None:
    metrics = {"exit-handler-1.train.auc": 0.8, "exit-handler-1.train.loss": 1.0}
    for expression in ("train.auc > 0.5", "trian.auc > 0.5"):
        reason = judge(expression, metrics, None).reason
        assert "did you mean exit_handler_1.train.auc?" in reason
    assert judge("exit_handler_1.train.auc > 0.5", metrics, None).passed is True


def test_without_a_near_match_the_known_metrics_are_named() -> None:
    many = {f"task.number{index}": 1.0 for index in range(10)}
    assert judge("zz.qq > 0.5", {"a.b": 1.0}, None).reason == "the run has no metric zz.qq; it has a.b"
    assert "task.number7 and 2 more" in judge("zz.qq > 0.5", many, None).reason
    assert "no metrics at all" in judge("zz.qq > 0.5", {}, None).reason
    assert "it has a.b" in judge("zz.qq > 0.5 || a.c > 1", {"a.b": 1.0}, None).reason
