"""The API's messages for whoever is on call."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from bridge.client.history import RunBrief
from bridge.client.models import Message

CauseGroup = Literal["code", "data", "image", "quota", "node", "backend", "other"]


class PipelineCount(Message):
    """How many of the failures are of one pipeline."""

    name: str
    project: str
    count: int


class FailureGroup(Message):
    """Failures of one kind of cause (``unknown`` where none was ranked). ``group`` is who can put it right;
    ``quota`` is whatever is a matter of resources. ``runs`` are the newest 20; ``message``, ``owner`` and
    ``runbook`` are the newest one's."""

    kind: str
    group: CauseGroup
    count: int
    pipelines: list[PipelineCount] = Field(default_factory=list)
    first_at: datetime
    last_at: datetime
    message: str | None = None
    owner: str | None = None
    runbook: str | None = None
    runs: list[RunBrief] = Field(default_factory=list)


class StuckRun(RunBrief):
    """A run that goes on for longer than its pipeline's runs usually take, and why that is thought."""

    running_seconds: float
    usual_seconds: float
    limit_seconds: float
    why: str
    owner: str | None = None
    runbook: str | None = None


class MissingRun(Message):
    """A run that was to start, by how regularly its pipeline ran before, and did not."""

    pipeline: str
    project: str
    dag_id: str | None = None
    last_run: RunBrief
    every_seconds: float
    expected_at: datetime
    late_seconds: float
    owner: str | None = None
    runbook: str | None = None


class OnCallModel(Message):
    """``GET /oncall``: failures of a window by cause, the largest group first; runs stuck beyond their usual
    time; expected runs that never started. ``truncated``: more failed, or goes on, than was looked at."""

    since: datetime
    now: datetime
    window_seconds: float
    failures: list[FailureGroup] = Field(default_factory=list)
    stuck: list[StuckRun] = Field(default_factory=list)
    missing: list[MissingRun] = Field(default_factory=list)
    truncated: bool = False
