"""The filters of ``GET /runs`` and of the page that lists runs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, cast
from uuid import UUID

from pydantic import BaseModel, Field

from bridge.client.models import MAX_INT
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.records import MetricFilter, RunFilter, RunOrder
from bridge.service.problems import ProblemError

_METRIC = re.compile(r"^\s*([^\s<>=]+)\s*(>=|<=|==|>|<)\s*(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*$")
_Comparison = Literal[">", ">=", "<", "<=", "=="]
MAX_IDS = 200


class RunQuery(BaseModel):
    """What ``GET /runs`` takes; lists are repeated parameters or separated by commas."""

    ids: list[str] = Field(default_factory=list, description="Run ids, at most 200.")
    state: list[str] = Field(default_factory=list, description="KFP's states, such as FAILED.")
    phase: list[str] = Field(default_factory=list, description="The bridge's phases, such as QUEUED.")
    pipeline: str | None = Field(default=None, description="The pipeline's name.")
    experiment: str | None = Field(default=None, description="The experiment's name.")
    project: list[str] = Field(default_factory=list, description="Projects.")
    backend: str | None = Field(default=None, description="The backend's name.")
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = Field(default=None, ge=-1, le=MAX_INT)
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    text: str | None = Field(
        default=None,
        max_length=200,
        description="Words, or beginnings of words, of names, DAG, labels and error.",
    )
    submission_key: UUID | None = None
    scheduler: str | None = None
    team: str | None = None
    user: str | None = None
    good: bool | None = Field(default=None, description="Succeeded, and its gate passed or is absent.")
    metric: list[Annotated[str, Field(max_length=300)]] = Field(
        default_factory=list, max_length=5, description="Such as evaluate.auc>=0.7; each one narrows."
    )
    label: list[Annotated[str, Field(max_length=600)]] = Field(
        default_factory=list, max_length=5, description="Such as team:risk; each one narrows."
    )
    sort: str = Field(
        default="-created",
        max_length=300,
        description="created, finished or metric:evaluate.auc; with - in front the newest or highest first.",
    )


_NAMES = frozenset({*RunQuery.model_fields, "cursor", "limit", "metrics"})


def check_names(given: Iterable[str]) -> None:
    """Raises ``ProblemError`` for a parameter that there is not: without it other runs would be told of than
    were asked for."""
    for name in given:
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            raise _invalid(name, f"there is no filter {name}" + (f"; {near[0]} is one" if near else ""))


def to_filter(query: RunQuery) -> RunFilter:
    """The filter a query means. Raises ``ProblemError`` for a state, id or metric that is none."""
    ids = _split(query.ids)
    if len(ids) > MAX_IDS:
        raise _invalid("ids", f"at most {MAX_IDS} ids")
    return RunFilter(
        ids=tuple(_uuid(text) for text in ids) if ids else None,
        states=tuple(_state(text) for text in _split(query.state)),
        phases=tuple(_phase(text) for text in _split(query.phase)),
        pipeline=query.pipeline or None,
        experiment=query.experiment or None,
        projects=tuple(_split(query.project)),
        backend=query.backend or None,
        dag_id=query.dag_id or None,
        dag_run_id=query.dag_run_id or None,
        task_id=query.task_id or None,
        map_index=query.map_index,
        created_after=_utc(query.created_after),
        created_before=_utc(query.created_before),
        text=query.text or None,
        submission_key=query.submission_key,
        metrics=tuple(_metric(text) for text in query.metric if text.strip()),
        labels=tuple(_label(text) for text in query.label if text.strip()),
        scheduler=query.scheduler or None,
        team=query.team or None,
        user=query.user or None,
        good=query.good,
        finished_after=_utc(query.finished_after),
        finished_before=_utc(query.finished_before),
    )


def to_order(query: RunQuery) -> RunOrder:
    """The order a query asks for. Raises ``ProblemError`` for one that there is not."""
    name, _, metric = query.sort.removeprefix("-").partition(":")
    descending = query.sort.startswith("-")
    if name in ("created", "finished") and not metric:
        return RunOrder(by=cast(Literal["created", "finished"], name), descending=descending)
    if name == "metric" and metric:
        return RunOrder(by="metric", descending=descending, metric=metric)
    raise _invalid("sort", "sort by created, finished or metric:<key>, such as -metric:evaluate.auc")


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name:
        raise _invalid("label", f"{text} is no label; write team:risk")
    return name, value


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _state(text: str) -> RuntimeState:
    try:
        return RuntimeState(text.upper())
    except ValueError as error:
        raise _invalid("state", f"{text} is no state") from error


def _phase(text: str) -> RunPhase:
    try:
        return RunPhase(text.upper())
    except ValueError as error:
        raise _invalid("phase", f"{text} is no phase") from error


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise _invalid("ids", f"{text} is no id") from error


def _metric(text: str) -> MetricFilter:
    match = _METRIC.match(text)
    if match is None:
        raise _invalid("metric", f"{text} is no comparison; write evaluate.auc>=0.7")
    key, operator, number = match.groups()
    try:
        value = float(number)
    except ValueError as error:
        raise _invalid("metric", f"{number} is no number") from error
    return MetricFilter(key=key, op=cast(_Comparison, operator), value=value)


def _invalid(name: str, text: str) -> ProblemError:
    return ProblemError("invalid-request", text, errors=[(f"/{name}", text)])


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
