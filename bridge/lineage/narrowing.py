"""What a filter means in SQL: the conditions a run must meet, and the indexes that lead to such runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, ColumnOperators, func, literal, literal_column, select

from bridge.lineage.records import MetricFilter, RunFilter
from bridge.lineage.tables import METRICS, RUN_LABELS
from bridge.lineage.words import is_whole, words_in

Columns = Any
Prefix = tuple[tuple[str, Any], ...]
# Columns that lead to few runs first; each has an index that goes on with created_at and run_id.
_LEADING = ("dag_id", "pipeline_name", "experiment")
_MOST_NAME_WORDS = 10


def conditions(where: RunFilter, columns: Columns) -> list[ColumnElement[bool]]:
    """Everything the filter asks of a run, on ``columns``: those of ``runs``, or of a part of it."""
    found = [columns[name] == value for name, value in _equal(where).items()]
    if where.ids is not None:
        found.append(columns.run_id.in_(where.ids))
    for name, values in _several(where).items():
        if len(values) > 1:
            found.append(columns[name].in_(values))
    for name in ("team", "user"):
        value = getattr(where, name)
        if value is not None:
            found.append(columns.origin[name].as_string() == value)
    if where.good is not None:
        found.append(columns.good.is_(where.good))
    found += between(columns.created_at, where.created_after, where.created_before)
    found += between(columns.finished_at, where.finished_after, where.finished_before)
    found += [_worded(columns.words, word) for word in search_words(where)]
    found += [_labelled(columns.id, name, value) for name, value in where.labels]
    found += [_measures(columns.id, metric) for metric in where.metrics]
    return found


def between(column: ColumnOperators, after: Any, before: Any) -> list[Any]:
    """``after <= column < before``, as far as they are given."""
    found = [] if after is None else [column >= after]
    return found if before is None else [*found, column < before]


def search_words(where: RunFilter) -> list[str]:
    """The beginnings of words that every matching run has; a team and a user are among a run's words too."""
    texts = (where.text, where.team, where.user)
    return list(dict.fromkeys(word for text in texts if text for word in words_in(text)))


def name_words(where: RunFilter) -> list[str]:
    """Words that every matching run has because of its pipeline's name. With those of a text they lead to few
    runs where either leads to many."""
    # A run keeps its first words only: its own name's and then its pipeline's.
    return list(dict.fromkeys(words_in(where.pipeline or "")))[:_MOST_NAME_WORDS]


def is_wordless(where: RunFilter) -> bool:
    """Whether a text is searched that holds no word, so that nothing is found."""
    return where.text is not None and next(words_in(where.text), None) is None


def prefixes(where: RunFilter) -> list[Prefix]:
    """The beginnings of indexes in which the wanted runs stand newest first; the narrowest come first.

    The last is always that of the project or, without one, of all runs.
    """
    equal = _equal(where)
    found: list[Prefix] = [((name, equal[name]),) for name in _LEADING if name in equal]
    if "shown_state" in equal:
        names = ("project", "shown_state") if "project" in equal else ("shown_state",)
        found.append(tuple((name, equal[name]) for name in names))
    else:
        found.append((("project", equal["project"]),) if "project" in equal else ())
    return found


def names_few(where: RunFilter) -> bool:
    """Whether the filter names its runs by a key, so that there are few of them anyway."""
    named = (where.ids, where.submission_key, where.dag_run_id)
    return any(value is not None for value in named)


def compared(column: ColumnElement[float], metric: MetricFilter) -> ColumnElement[bool]:
    """The filter's comparison on a column of values."""
    found: ColumnElement[bool] = {
        ">": column > metric.value,
        ">=": column >= metric.value,
        "<": column < metric.value,
        "<=": column <= metric.value,
        "==": column == metric.value,
    }[metric.op]
    return found


def _equal(where: RunFilter) -> dict[str, Any]:
    asked = {
        "pipeline_name": where.pipeline,
        "experiment": where.experiment,
        "backend": where.backend,
        "scheduler": where.scheduler,
        "dag_id": where.dag_id,
        "dag_run_id": where.dag_run_id,
        "task_id": where.task_id,
        "map_index": where.map_index,
        "submission_key": where.submission_key,
    }
    # A single value as an equality lets the index give the order too.
    asked |= {name: values[0] for name, values in _several(where).items() if len(values) == 1}
    return {name: value for name, value in asked.items() if value is not None}


def _several(where: RunFilter) -> dict[str, Sequence[str]]:
    return {
        "project": where.projects,
        "shown_state": [state.value for state in where.states],
        "phase": [phase.value for phase in where.phases],
    }


def _worded(words: ColumnElement[str], word: str) -> ColumnElement[bool]:
    return (words + " ").like(f"% {word} %") if is_whole(word) else words.like(f"% {word}%")


# Scalar subqueries, not EXISTS: a planner may turn EXISTS around and read all runs that measure so. For the
# same reason it is not the value itself that is compared, for which there is an index.
def _measures(run: ColumnElement[int], metric: MetricFilter) -> ColumnElement[bool]:
    value = METRICS.c.value + literal_column("0.0")
    one = (
        select(literal(1))
        .where(METRICS.c.run == run, METRICS.c.key == metric.key, compared(value, metric))
        .limit(1)
    )
    return func.coalesce(one.scalar_subquery(), 0) == 1


def _labelled(run: ColumnElement[int], name: str, value: str) -> ColumnElement[bool]:
    one = select(RUN_LABELS.c.value).where(RUN_LABELS.c.run == run, RUN_LABELS.c.name == name)
    return one.scalar_subquery() == value
