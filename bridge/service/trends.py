"""A number over a pipeline's runs, and which of them are worse than the rule allows.

The rule is the pipeline's own gate where that judges the number, else the median of the last good runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from bridge.client.history import RuleModel, TrendPoint
from bridge.domain.lineage import Run
from bridge.domain.trends import (
    MAX_WINDOW,
    Better,
    Mark,
    MedianRule,
    Sample,
    is_seconds,
    mark,
    rule_for,
)
from bridge.lineage import history, submissions
from bridge.service.briefs import seconds_between
from bridge.service.gates import Gate, GateError, LastGood, compile_gate

_COMPARISON = re.compile(r"([A-Za-z_][\w.]*)\s*(>=|<=|>|<)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The runs, oldest first, with their numbers; ``before`` are good runs older than all of them, and
    ``metrics`` what a gate needs to know of each."""

    runs: Sequence[Run]
    before: Sequence[Run]
    values: Mapping[UUID, float]
    metrics: Mapping[UUID, Mapping[str, float]]
    last_good: Run | None
    gate: Gate | None
    older: bool


def read_trend(
    session: Session,
    project: str,
    pipeline: str,
    name: str,
    *,
    rule: str | None,
    window: int,
    limit: int,
    before: datetime | None,
) -> Trend:
    """What the trend is made of. ``rule`` is a CEL expression that compiles, ``median``, or ``None``: the
    newest run's gate if that judges the number."""
    newest, more = history.runs_of_pipeline(session, project, pipeline, before=before, limit=limit)
    runs = list(reversed(newest))
    found = (
        history.good_runs(session, project, pipeline, before=runs[0].created_at, limit=window) if runs else []
    )
    earlier = list(reversed(found))
    expression = _gate_of(session, newest) if rule is None else rule if rule != "median" else None
    gate = part_about(expression, name) if expression else None
    ids = [run.run_id for run in [*earlier, *runs]]
    metrics: Mapping[UUID, Mapping[str, float]] = {}
    if gate is not None:
        measured = [run.run_id for run in [*newest, *found] if run.is_good]
        metrics = history.values_of(
            session, ids, history.keys_spelt(session, [*measured, *ids[::-1]], _named(gate))
        )
    if is_seconds(name):
        values = {
            run.run_id: seconds for run in [*earlier, *runs] if (seconds := _seconds(run, name)) is not None
        }
    else:
        told = history.values_of(session, ids, [name])
        values = {run_id: keys[name] for run_id, keys in told.items()}
    good = history.good_runs(session, project, pipeline, limit=1)
    return Trend(
        runs=runs,
        before=earlier,
        values=values,
        metrics=metrics,
        last_good=good[0] if good else None,
        gate=gate,
        older=more is not None,
    )


def _gate_of(session: Session, newest: Sequence[Run]) -> str | None:
    """The gate of the newest run that has one."""
    judged = next((run.gate.expression for run in newest if run.gate is not None), None)
    if judged is not None:
        return judged
    keys = [run.submission_key for run in newest[:1] if run.submission_key is not None]
    return next(iter(submissions.gates_of(session, keys).values()), None) if keys else None


def part_about(expression: str, name: str) -> Gate | None:
    """Of a gate the conditions that judge the metric, as a gate; ``None`` if there are none."""
    spelt = name.replace("-", "_")
    try:
        gate = compile_gate(expression)
        parts = [
            one.source for one in gate.conjuncts if spelt in {path.replace("-", "_") for path in one.paths}
        ]
        return compile_gate(" && ".join(parts)) if parts else None
    except GateError:
        # Accepted by a version that knew more: the median still tells something.
        return None


def _named(gate: Gate) -> set[str]:
    return {path.replace("-", "_") for one in gate.conjuncts for path in (*one.paths, *one.last_good_paths)}


def _seconds(run: Run, name: str) -> float | None:
    begin, end = (run.started_at, run.finished_at) if name == "duration" else (run.created_at, run.started_at)
    return seconds_between(begin, end)


def rule_model(trend: Trend, name: str, better: Better | None, window: int) -> tuple[RuleModel, MedianRule]:
    """The rule as the API states it, and the rule of the median beside it."""
    direction = better or _direction(trend.gate, name)
    median_rule = rule_for(name, direction, min(window, MAX_WINDOW))
    if trend.gate is None:
        return (
            RuleModel(
                kind="median",
                expression=median_rule.expression(name),
                text=median_rule.text,
                direction=median_rule.better.value,
                window=median_rule.window,
                factor=median_rule.factor,
            ),
            median_rule,
        )
    text = f"worse if the gate {trend.gate.expression} does not hold; last_good is the good run before it"
    return (
        RuleModel(
            kind="gate",
            expression=trend.gate.expression,
            text=text,
            direction=median_rule.better.value,
            window=median_rule.window,
            factor=median_rule.factor,
        ),
        median_rule,
    )


def _direction(gate: Gate | None, name: str) -> Better | None:
    """Which way the gate wants the metric to go, where it compares it plainly."""
    for path, operator in _COMPARISON.findall(gate.expression if gate else ""):
        if path == name.replace("-", "_"):
            return Better.HIGHER if operator.startswith(">") else Better.LOWER
    return None


def points_of(trend: Trend, rule: MedianRule) -> list[TrendPoint]:
    """The runs with their marks, the oldest first."""
    before = [trend.values[run.run_id] for run in trend.before if run.run_id in trend.values]
    samples = [Sample(value=trend.values.get(run.run_id), good=run.is_good) for run in trend.runs]
    marks = mark(samples, before, rule)
    judged = _by_gate(trend) if trend.gate is not None else {}
    return [
        _point(run, sample.value, told, judged.get(run.run_id))
        for run, sample, told in zip(trend.runs, samples, marks, strict=True)
    ]


def _by_gate(trend: Trend) -> dict[UUID, tuple[bool | None, str]]:
    assert trend.gate is not None
    found = {}
    last: LastGood | None = None
    for run in [*trend.before, *trend.runs]:
        metrics = trend.metrics.get(run.run_id, {})
        verdict = trend.gate.judge(metrics, last)
        found[run.run_id] = (None if verdict.passed is None else not verdict.passed, verdict.reason)
        if run.is_good:
            last = LastGood(run.run_id, metrics)
    return found


def _point(run: Run, value: float | None, told: Mark, judged: tuple[bool | None, str] | None) -> TrendPoint:
    regression, reason = (told.regression, told.reason) if judged is None else judged
    if value is None:
        regression, reason = None, "no value"
    return TrendPoint(
        run_id=run.run_id,
        display_name=run.display_name,
        created_at=run.created_at,
        state=run.shown_state.value,
        good=run.is_good,
        digest=run.pipeline.digest,
        dag_run_id=run.origin.dag_run_id,
        value=value,
        median=told.median,
        low=told.low,
        high=told.high,
        regression=regression,
        reason=reason,
    )
