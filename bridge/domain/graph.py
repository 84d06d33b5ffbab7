"""The graph of the lineage: what came from what, across runs and across Airflow and KFP."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class NodeKind(StrEnum):
    """What stands in the graph. A dataset node is one version of a dataset."""

    ARTIFACT = "artifact"
    TASK = "task"
    RUN = "run"
    DATASET = "dataset"
    JOB_RUN = "job_run"


# Tuples: a graph has tens of thousands, and frozen dataclasses take several times as long to make.
class LineageNode(NamedTuple):
    """One node. ``id`` is the kind, a colon and a key that stays the same in one database; ``depth`` the
    number of steps from where the graph was asked for. What a kind does not have is ``None``.

    ``uid`` is the artifact's, the run's (a task has its run's) or the dataset's public id as text.
    """

    id: str
    kind: NodeKind
    depth: int
    name: str
    project: str
    type: str | None = None
    uri: str | None = None
    version: str | None = None
    state: str | None = None
    uid: str | None = None
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    at: datetime | None = None


class LineageEdge(NamedTuple):
    """What flowed from one node to another; ``name`` is the input's or output's, if it has one."""

    source: str
    target: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageGraph:
    """Nodes by distance, the edges between them, and whether that is all.

    ``frontier`` are the ids of the nodes with neighbours that were left out: one can go on from them.
    """

    nodes: tuple[LineageNode, ...] = ()
    edges: tuple[LineageEdge, ...] = ()
    truncated: bool = False
    frontier: tuple[str, ...] = field(default=())
