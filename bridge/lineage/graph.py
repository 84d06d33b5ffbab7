"""Walking the lineage both ways: breadth first, each step one statement for all nodes of a distance.

Up leads from an artifact to the tasks that made it, what these read, their runs, the data the runs were
given and the Airflow tasks that wrote it; down leads the other way. What a run was given counts for all of
its tasks, since nobody tells which of them read it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlmodel import Session

from bridge.domain.graph import LineageEdge, LineageGraph, LineageNode, NodeKind
from bridge.lineage.collecting import collector_paused
from bridge.lineage.columns import moment_of
from bridge.lineage.steps import (
    DOWN,
    KINDS,
    RADIX,
    UP,
    Key,
    Step,
    Taken,
    by_kind,
    key_of,
    kind_of,
    of_projects,
    take,
    told,
)
from bridge.lineage.tables import ARTIFACTS, DATASET_VERSIONS, JOB_RUNS, RUNS, TASKS

MOST_NODES = 20_000
MOST_DEPTH = 1000
# Edges for each node that may be told: a node with more neighbours is told in part.
_EDGES_PER_NODE = 10
# How many edges may be fetched ahead of need, for each node that may be told, and how far ahead at first.
_AHEAD_PER_NODE = 4
_FIRST_LEVELS, _MOST_LEVELS = 8, 64

GraphDirection = Literal["up", "down", "both"]
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


@dataclass(frozen=True, slots=True)
class WalkedGraph:
    """A graph as it was walked. ``depths`` are its nodes in order, each with its distance; ``facts``
    have a surrogate key and what ``LineageNode`` has from ``name`` on, the moment as the driver gives it;
    ``edges`` have source, target and name; ``frontier`` are the nodes with neighbours that were left out."""

    depths: Mapping[Key, int]
    ids: Mapping[Key, str]
    facts: Mapping[Key, Sequence[Any]]
    edges: Collection[tuple[Key, Key, str]]
    frontier: Collection[Key]


def lineage_of(
    session: Session,
    node: str,
    *,
    direction: GraphDirection = "both",
    depth: int = 20,
    nodes: int = 1000,
    projects: Collection[str] = (),
) -> LineageGraph | None:
    """The graph around a node (``artifact:<artifact_id>``, ``run:<run_id>`` or an id that a graph gave):
    what it came from (``up``), what came of it (``down``), or both; ``None`` for a node that is not stored.

    At most ``depth`` steps away and ``nodes`` nodes in all, the nearest first; what is left out is said.
    With ``projects`` there are only nodes of these, and what can be reached by them: nothing tells of others.
    Raises ``ValueError`` for an id that is none.
    """
    with collector_paused:
        walked = walk(session, node, direction=direction, depth=depth, nodes=nodes, projects=projects)
        return None if walked is None else _in_words(walked)


def _in_words(walked: WalkedGraph) -> LineageGraph:
    ids, facts = walked.ids, walked.facts
    return LineageGraph(
        nodes=tuple(
            LineageNode._make((ids[key], kind_of(key), depth, *facts[key][1:-1], at and moment_of(at)))
            for key, depth in walked.depths.items()
            for at in facts[key][-1:]
        ),
        edges=tuple(LineageEdge(ids[source], ids[target], name) for source, target, name in walked.edges),
        truncated=bool(walked.frontier),
        frontier=tuple(ids[key] for key in walked.frontier),
    )


def walk(
    session: Session,
    node: str,
    *,
    direction: GraphDirection,
    depth: int,
    nodes: int,
    projects: Collection[str] = (),
) -> WalkedGraph | None:
    """As ``lineage_of``, not yet in words: for who writes them down at once. To be called with the collector
    paused."""
    start = _start(session, node)
    if start is None or (projects and not of_projects(session, [start], projects)):
        return None
    walker = _Walk(session, start, min(nodes, MOST_NODES), projects)
    for steps, wanted in ((UP, "up"), (DOWN, "down")):
        if direction in (wanted, "both"):
            walker.go(steps, min(depth, MOST_DEPTH), upwards=wanted == "up")
    return walker.graph()


def _start(session: Session, node: str) -> Key | None:
    name, _, text = node.partition(":")
    kind = NodeKind(name)
    column, public = _STARTS[kind]
    value = UUID(text) if kind in _PUBLIC else int(text)
    if isinstance(value, int) and not 0 < value < 2**63:
        raise ValueError(f"{node} is no node's id")
    key = session.scalars(select(column).where(public == value)).first()
    return None if key is None else key_of(kind, key)


class _Walk:
    """The nodes found so far with their distance, and the edges."""

    def __init__(self, session: Session, start: Key, most: int, projects: Collection[str]) -> None:
        self._session = session
        self._projects = projects
        self._start = start
        self._most = max(1, most)
        self._depths: dict[Key, int] = {start: 0}
        self._edges: dict[tuple[Key, Key, str], None] = {}
        self._open: set[Key] = set()

    def go(self, steps: Sequence[Step], depth: int, *, upwards: bool) -> None:
        """Go on from the start until the limits or the end."""
        around = _Around(self._session, steps, self._most, self._projects)
        seen = {self._start}
        level: Collection[Key] = [self._start]
        for distance in range(1, depth + 1):
            if not level or len(self._depths) >= self._most:
                break
            around.fetch(level, levels=depth - distance + 2)
            level = self._expand(around, level, seen, distance, upwards=upwards)
        around.fetch(level, levels=1)
        # Which nodes of the last distance have neighbours that are left out.
        self._open.update(here for here in level if any(far not in seen for far, _ in around.of(here)))
        self._open |= around.cut

    def _expand(
        self, around: _Around, level: Collection[Key], seen: set[Key], distance: int, *, upwards: bool
    ) -> list[Key]:
        following: list[Key] = []
        depths, edges, most = self._depths, self._edges, self._most
        for here in level:
            for there, name in around.of(here):
                if there not in seen:
                    if there not in depths:
                        if len(depths) >= most:
                            self._open.add(here)
                            continue
                        depths[there] = distance
                    seen.add(there)
                    following.append(there)
                edges[(there, here, name) if upwards else (here, there, name)] = None
        return following

    def graph(self) -> WalkedGraph:
        """What was found, with what is stored of it."""
        ids: dict[Key, str] = {}
        facts: dict[Key, Sequence[Any]] = {}
        for kind, keys in by_kind(self._depths).items():
            digit, public, name = KINDS.index(kind), kind in _PUBLIC, kind.value
            for row in told(self._session, kind, keys):
                number = row[0]
                key = number * RADIX + digit
                ids[key] = f"{name}:{row[7] if public else number}"
                facts[key] = row
        depths = self._depths
        frontier = [key for key in depths if key in self._open] if self._open else []
        return WalkedGraph(depths, ids, facts, self._edges, frontier)


class _Around:
    """The neighbours of nodes, fetched ahead of need. ``cut`` are the nodes that have more than were read."""

    def __init__(self, session: Session, steps: Sequence[Step], most: int, projects: Collection[str]) -> None:
        self._session, self._steps, self._most = session, steps, most
        self._projects = projects
        self._known: dict[Key, list[tuple[Key, str]]] = {}
        # What lies behind another project's node must not count as known from here.
        self._levels, self._most_levels = (1, 1) if projects else (_FIRST_LEVELS, _MOST_LEVELS)
        self.cut: set[Key] = set()

    def of(self, key: Key) -> Sequence[tuple[Key, str]]:
        """The neighbours of a node that was fetched, with the names of the edges."""
        return self._known[key]

    def fetch(self, level: Collection[Key], *, levels: int) -> None:
        """Have the neighbours of these nodes; of those up to ``levels`` steps on as far as that is cheap."""
        near = [key for key in level if key not in self._known]
        if not near:
            return
        ahead = self._most * _AHEAD_PER_NODE
        taken = take(self._session, self._steps, near, levels=min(levels, self._levels), most=ahead)
        if taken.whole == 0:
            most = self._most * _EDGES_PER_NODE
            taken = take(self._session, self._steps, near, levels=1, most=most)
            if taken.whole == 0:
                self.cut.update(near)
        if self._projects:
            seen = of_projects(self._session, {edge[1] for edge in taken.edges}, self._projects)
            taken = Taken([edge for edge in taken.edges if edge[1] in seen], taken.whole)
        self._keep(near, taken)

    def _keep(self, near: Collection[Key], taken: Taken) -> None:
        known, whole = self._known, max(taken.whole, 1)
        fresh: dict[Key, list[tuple[Key, str]]] = {key: [] for key in near}
        found: dict[Key, int] = {}
        for here, there, name, distance in taken.edges:
            if distance > whole:
                break
            if distance < whole and there not in fresh and there not in known:
                fresh[there] = []
                found[there] = distance
            # A node that is met again further on has its edges from the first time.
            if found.get(here, 0) == distance - 1 and here in fresh:
                fresh[here].append((there, name))
        known |= fresh
        useful = sum(map(len, fresh.values()))
        # Where the same nodes come up again and again, looking ahead costs more than it saves.
        grown = self._levels * 2 if useful * 2 > len(taken.edges) else self._levels // 2
        self._levels = max(1, min(grown, self._most_levels))
