"""The API's messages about runs beside each other."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from bridge.client.models import Message, RunModel


class CompareRow(Message):
    """One name in every run, in their order; ``known`` says which of them have it.

    ``differs`` is null where it cannot be told. ``change`` is the last run's number less the first one's,
    ``relative`` that as a part of the first.
    """

    name: str
    values: list[JsonValue]
    known: list[bool]
    differs: bool | None
    change: float | None = None
    relative: float | None = None


class CompareSection(Message):
    """The rows about one thing, those that differ first; at most 500, else ``truncated``."""

    name: Literal["outcome", "parameters", "metrics", "pipeline", "images", "packages", "data", "environment"]
    title: str
    differing: int
    total: int
    truncated: bool = False
    rows: list[CompareRow] = Field(default_factory=list)


class CompareBlob(Message):
    """A structured metric of every run, in their order, null where a run has none: ``kind`` is ``roc``,
    ``confusion_matrix`` or ``text``."""

    task_path: str
    name: str
    kind: str
    contents: list[JsonValue]


class CompareModel(Message):
    """``GET /compare``: two to five runs beside each other, in the order asked for.

    ``differing`` names the sections in which something differs; ``unknown`` says what could not be told.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "runs": [],
                    "differing": ["metrics", "parameters"],
                    "sections": [
                        {
                            "name": "parameters",
                            "title": "Parameters",
                            "differing": 1,
                            "total": 2,
                            "truncated": False,
                            "rows": [
                                {
                                    "name": "epochs",
                                    "values": [3, 5],
                                    "known": [True, True],
                                    "differs": True,
                                    "change": 2.0,
                                    "relative": 0.6667,
                                }
                            ],
                        }
                    ],
                    "blobs": [],
                    "unknown": [],
                }
            ]
        }
    )

    runs: list[RunModel]
    differing: list[str] = Field(default_factory=list)
    sections: list[CompareSection] = Field(default_factory=list)
    blobs: list[CompareBlob] = Field(default_factory=list)
    unknown: list[str] = Field(default_factory=list)

    def _repr_html_(self) -> str:
        from bridge.client.notebook import comparison_html

        return comparison_html(self)
