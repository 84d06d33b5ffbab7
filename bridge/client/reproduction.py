"""The API's messages about making a run again."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from bridge.client.models import Message, Request, RunModel

Grade = Literal["exact", "same-spec", "impossible"]


class ReasonModel(Message):
    """One thing that keeps a run from being made again exactly: its ``kind`` (``spec``, ``backend``,
    ``image``, ``package``, ``input``), what is the matter with it (``floating``: its name may mean another
    thing now; ``moved``: it is another; ``gone``; ``unknown``), which one, and a sentence."""

    kind: Literal["spec", "backend", "image", "package", "input"]
    effect: Literal["floating", "moved", "gone", "unknown"]
    name: str
    detail: str


class ReproducibilityModel(Message):
    """How exactly a run can be made again, and every reason that keeps it from being exact."""

    grade: Grade
    reasons: list[ReasonModel] = Field(default_factory=list)


class ReproduceRequest(Request):
    """``POST /runs/{id}:reproduce``. ``allow`` is the least grade that is run; ``dry_run`` grades alone.

    Finished tasks are not reused (``caching`` false): outputs that come from a cache show nothing.
    """

    allow: Literal["exact", "same-spec"] = "same-spec"
    dry_run: bool = False
    caching: bool | None = False
    display_name: str | None = Field(default=None, max_length=255)


class ReproductionModel(Message):
    """The answer: the grade, the run it is ``of``, and the new run unless nothing was run."""

    reproducibility: ReproducibilityModel
    of: UUID
    run: RunModel | None = None
