"""The API's messages about a pipeline over time: its runs, its versions, what it measured."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from bridge.client.models import Message, PipelineAliasModel, PipelineModel


class ListedPipelineModel(PipelineModel):
    """A pipeline of a project with the digest of its newest version, and how many versions it has."""

    project: str
    versions: int


class RunBrief(Message):
    """A run in a few words; ``queued_seconds`` is from its submission to its start, ``seconds`` from there to
    its end, or to now while it goes on. ``error_kind`` is the likeliest cause's kind."""

    run_id: UUID
    pipeline: str
    digest: str
    display_name: str
    project: str
    backend: str
    state: str
    good: bool
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queued_seconds: float | None = None
    seconds: float | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    error: str | None = None
    error_kind: str | None = None


class ArtifactBrief(Message):
    """An artifact in a list. ``run`` is the first that put it out, its task ``task_path`` under ``key``;
    ``None`` if nothing is known to have made it. ``project`` is the one that had it first, empty if that does
    not exist for the caller. ``content`` is as of ``ArtifactModel``."""

    artifact_id: UUID
    type: str
    uri: str | None = None
    name: str | None = None
    digest: str | None = None
    created_at: datetime | None = None
    content: Literal["available", "unavailable"] | None = None
    project: str
    backend: str
    run: RunBrief | None = None
    task_path: str | None = None
    key: str | None = None


class GridTaskModel(Message):
    """A task directly below the root: a field of the grid."""

    state: str
    seconds: float | None = None
    cached: bool = False


class PipelineRunModel(RunBrief):
    """A run as a column of the grid: its tasks by path."""

    tasks: dict[str, GridTaskModel] = Field(default_factory=dict)


class VersionModel(Message):
    """A version of a pipeline."""

    digest: str
    version_name: str | None = None
    created_at: datetime


class UsualModel(Message):
    """How long good runs of a pipeline took: median, robust spread, and the limit beyond which a run takes
    unusually long. All null with fewer than three good runs."""

    runs: int = 0
    median_seconds: float | None = None
    spread_seconds: float | None = None
    usual_max_seconds: float | None = None


class PipelineDetailModel(Message):
    """``GET /pipelines/{name}``: a page of its runs, newest first, as a grid of tasks; its newest 20
    versions, its aliases, how long it usually takes, and the metrics that its newest runs have.

    ``tasks`` are the grid's rows, at most 60; ``tasks_truncated`` says that there are more.
    """

    name: str
    project: str
    digest: str | None = None
    last_good: RunBrief | None = None
    versions: list[VersionModel] = Field(default_factory=list)
    aliases: list[PipelineAliasModel] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=list)
    owner: str | None = None
    runbook: str | None = None
    duration: UsualModel = Field(default_factory=UsualModel)
    tasks: list[str] = Field(default_factory=list)
    tasks_truncated: bool = False
    runs: list[PipelineRunModel] = Field(default_factory=list)
    next_cursor: str | None = None


class RuleModel(Message):
    """The rule that marks regressions: ``median`` (of the last ``window`` good runs) or ``gate`` (a CEL
    expression), as an expression and in words. ``direction`` is which way the number gets better."""

    kind: Literal["median", "gate"]
    expression: str
    text: str
    direction: Literal["higher", "lower"] | None = None
    window: int | None = None
    factor: float | None = None


class TrendPoint(Message):
    """A run's number and what the rule says of it: ``regression`` is null where there is nothing to say, and
    ``reason`` tells why. ``median``, ``low`` and ``high`` are those of the good runs before it."""

    run_id: UUID
    display_name: str
    created_at: datetime
    state: str
    good: bool
    digest: str
    dag_run_id: str | None = None
    value: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None
    regression: bool | None = None
    reason: str | None = None


class TrendModel(Message):
    """``GET /pipelines/{name}/metrics``: a number over the pipeline's newest runs, the oldest of them first,
    with regressions marked by the rule that is stated. ``truncated``: there are older runs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "pipeline": "delay-train",
                    "project": "default",
                    "name": "evaluate.auc",
                    "rule": {
                        "kind": "median",
                        "expression": "evaluate.auc >= median - 3 * spread",
                        "text": "worse if below the median of the last 10 good runs by more than 3 spreads",
                        "direction": "higher",
                        "window": 10,
                        "factor": 3,
                    },
                    "points": [
                        {
                            "run_id": "5f0c1c6e-7a5c-4b35-9a43-0d5b7a4f7f0e",
                            "display_name": "delay-train 2026-08-01",
                            "created_at": "2026-08-01T02:00:00Z",
                            "state": "SUCCEEDED",
                            "good": True,
                            "digest": "d1…",
                            "value": 0.71,
                            "median": 0.74,
                            "low": 0.73,
                            "high": 0.75,
                            "regression": True,
                        }
                    ],
                    "regressions": 1,
                    "truncated": False,
                }
            ]
        }
    )

    pipeline: str
    project: str
    name: str
    rule: RuleModel
    last_good: RunBrief | None = None
    points: list[TrendPoint] = Field(default_factory=list)
    regressions: int = 0
    truncated: bool = False
