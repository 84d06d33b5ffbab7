"""Walking the lineage both ways: breadth first, each step one statement for all nodes of a distance.

Up leads from an artifact to the tasks that made it, what these read, their runs, the data the runs were
given and the Airflow tasks that wrote it; down leads the other way. What a run was given counts for all of
its tasks, since nobody tells which of them read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlmodel import Session

from bridge.domain.graph import LineageEdge, LineageGraph, LineageNode, NodeKind
from bridge.lineage.steps import DOWN, UP, Step, take, told
from bridge.lineage.tables import ARTIFACTS, DATASET_VERSIONS, JOB_RUNS, RUNS, TASKS

MOST_NODES = 20_000
MOST_DEPTH = 1000
# Edges of one step for each node that may be told: a node with more neighbours is told in part.
_EDGES_PER_NODE = 10

GraphDirection = Literal["up", "down", "both"]
# A node as one number, its kind in the last digit: hashed a hundred thousand times for a large graph.
_Key = int
_KINDS = tuple(NodeKind)
_RADIX = 10
# By public id or by surrogate key.
_STARTS = {
    NodeKind.ARTIFACT: (ARTIFACTS.c.id, ARTIFACTS.c.artifact_id),
    NodeKind.RUN: (RUNS.c.id, RUNS.c.run_id),
    NodeKind.TASK: (TASKS.c.id, TASKS.c.id),
    NodeKind.DATASET: (DATASET_VERSIONS.c.id, DATASET_VERSIONS.c.id),
    NodeKind.JOB_RUN: (JOB_RUNS.c.id, JOB_RUNS.c.id),
}
# Kinds whose nodes go by their public id, wherever the database is restored.
_PUBLIC = frozenset({NodeKind.ARTIFACT, NodeKind.RUN})


def lineage_of(
    session: Session,
    node: str,
    *,
    direction: GraphDirection = "both",
    depth: int = 20,
    nodes: int = 1000,
) -> LineageGraph | None:
    """The graph around a node (``artifact:<artifact_id>``, ``run:<run_id>`` or an id that a graph gave):
    what it came from (``up``), what came of it (``down``), or both; ``None`` for a node that is not stored.

    At most ``depth`` steps away and ``nodes`` nodes in all, the nearest first; what is left out is said.
    Raises ``ValueError`` for an id that is none.
    """
    start = _start(session, node)
    if start is None:
        return None
    walk = _Walk(session, start, min(nodes, MOST_NODES))
    for steps, wanted in ((UP, "up"), (DOWN, "down")):
        if direction in (wanted, "both"):
            walk.go(steps, min(depth, MOST_DEPTH), upwards=wanted == "up")
    return walk.graph()


def _start(session: Session, node: str) -> _Key | None:
    name, _, text = node.partition(":")
    kind = NodeKind(name)
    column, public = _STARTS[kind]
    value = UUID(text) if kind in _PUBLIC else int(text)
    if isinstance(value, int) and not 0 < value < 2**63:
        raise ValueError(f"{node} is no node's id")
    key = session.scalars(select(column).where(public == value)).first()
    return None if key is None else _key(kind, key)


def _key(kind: NodeKind, key: int) -> _Key:
    return key * _RADIX + _KINDS.index(kind)


class _Walk:
    """The nodes found so far with their distance, and the edges."""

    def __init__(self, session: Session, start: _Key, most: int) -> None:
        self._session = session
        self._start = start
        self._most = max(1, most)
        self._depths: dict[_Key, int] = {start: 0}
        self._edges: dict[tuple[_Key, _Key, str], None] = {}
        self._open: set[_Key] = set()

    def go(self, steps: Collection[Step], depth: int, *, upwards: bool) -> None:
        """Go on from the start until the limits or the end."""
        seen = {self._start}
        level: Collection[_Key] = [self._start]
        for distance in range(1, depth + 1):
            if not level or len(self._depths) >= self._most:
                break
            level = self._expand(steps, level, seen, distance, upwards=upwards)
        self._peek(steps, level, seen)

    def _expand(
        self,
        steps: Collection[Step],
        level: Collection[_Key],
        seen: set[_Key],
        distance: int,
        *,
        upwards: bool,
    ) -> list[_Key]:
        following: list[_Key] = []
        depths, edges = self._depths, self._edges
        for step, near, rows in self._taken(steps, level):
            here_kind, there_kind = _KINDS.index(step.near), _KINDS.index(step.far)
            for near_key, far_key, name in rows:
                here, there = near_key * _RADIX + here_kind, far_key * _RADIX + there_kind
                if there not in seen:
                    if there not in depths:
                        if len(depths) >= self._most:
                            self._open.add(here)
                            continue
                        depths[there] = distance
                    seen.add(there)
                    following.append(there)
                edges[(there, here, name) if upwards else (here, there, name)] = None
            self._note_limit(step, near, rows)
        return following

    def _peek(self, steps: Collection[Step], level: Collection[_Key], seen: set[_Key]) -> None:
        """Which nodes of the last distance have neighbours that are left out."""
        for step, near, rows in self._taken(steps, level):
            self._open.update(_key(step.near, row[0]) for row in rows if _key(step.far, row[1]) not in seen)
            self._note_limit(step, near, rows)

    def _note_limit(self, step: Step, near: Collection[int], rows: Sequence[Any]) -> None:
        if len(rows) == self._limit:
            self._open.update(_key(step.near, key) for key in near)

    def _taken(
        self, steps: Collection[Step], level: Collection[_Key]
    ) -> Iterator[tuple[Step, list[int], Sequence[Any]]]:
        by_kind = _by_kind(level)
        for step in steps:
            if near := by_kind.get(step.near):
                yield step, near, take(self._session, step, near, most=self._limit)

    @property
    def _limit(self) -> int:
        return self._most * _EDGES_PER_NODE

    def graph(self) -> LineageGraph:
        """What was found, in words."""
        nodes: dict[_Key, LineageNode] = {}
        for kind, keys in _by_kind(self._depths).items():
            digit, public = _KINDS.index(kind), kind in _PUBLIC
            for row in told(self._session, kind, keys):
                number, facts = row[0], tuple[Any, ...](row[1:])
                key = number * _RADIX + digit
                node = f"{kind.value}:{facts[6] if public else number}"
                nodes[key] = LineageNode(node, kind, self._depths[key], *facts)
        return LineageGraph(
            nodes=tuple(nodes[key] for key in self._depths),
            edges=tuple(
                LineageEdge(nodes[source].id, nodes[target].id, name) for source, target, name in self._edges
            ),
            truncated=bool(self._open),
            frontier=tuple(nodes[key].id for key in self._depths if key in self._open),
        )


def _by_kind(keys: Iterable[_Key]) -> dict[NodeKind, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for key in keys:
        found[key % _RADIX].append(key // _RADIX)
    return {_KINDS[digit]: numbers for digit, numbers in found.items()}
