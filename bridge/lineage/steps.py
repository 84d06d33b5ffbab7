"""Steps through the lineage, for many nodes at once: the SQL of each kind of edge, and of the nodes.

Each statement takes surrogate keys (``near``) and gives pairs of near and far with the edge's name. They
read the same on both databases but for the list of keys they begin with. PostgreSQL, to which each
statement is a way there and back, takes many steps in one.
"""

# Each statement is put together from texts of this module alone.
# ruff: noqa: S608

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import CursorResult, TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger
from sqlmodel import Session

from bridge.domain.graph import NodeKind
from bridge.lineage.bulk import in_pieces
from bridge.lineage.reading import artifact_is_of
from bridge.lineage.tables import ARTIFACTS, DATASET_VERSIONS, DATASETS, JOB_RUNS, RUNS, TASKS

# A node as one number, its kind in the last digit: hashed a hundred thousand times for a large graph.
Key = int
RADIX = 10
KINDS = tuple(NodeKind)
_GIVEN = {
    "postgresql": "unnest(:near) AS w (id)",
    # CROSS JOIN keeps SQLite from putting the list anywhere but first.
    "sqlite": "(SELECT value AS id FROM json_each(:near)) AS w",
}
# A DAG puts out what its tasks made; an importer, what others made.
_NO_DAG = "COALESCE(t.kind, '') <> 'dag'"
_NO_IMPORTER = "COALESCE(t.kind, '') NOT IN ('dag', 'importer')"
_MADE = (
    "EXISTS (SELECT 1 FROM artifact_uses AS u JOIN tasks AS t ON t.id = u.task"
    f" WHERE u.artifact = a.id AND u.direction = 'OUTPUT' AND {_NO_IMPORTER})"
)
_SAME_DATA = "a.dataset = v.dataset AND (v.version = a.digest OR v.version = '')"


def _use_of_artifact(direction: str) -> str:
    return (
        "SELECT u.artifact, u.task, u.key FROM {given} CROSS JOIN artifact_uses AS u CROSS JOIN tasks AS t"
        f" WHERE u.artifact = w.id AND u.direction = '{direction}' AND t.id = u.task AND {_NO_DAG}"
    )


def _use_by_task(direction: str) -> str:
    return (
        "SELECT u.task, u.artifact, u.key FROM {given} CROSS JOIN artifact_uses AS u"
        f" WHERE u.task = w.id AND u.direction = '{direction}'"
    )


def _version(of: str, to: str, direction: str) -> str:
    return (
        f"SELECT d.{of}, d.{to}, d.name FROM {{given}} CROSS JOIN dataset_uses AS d"
        f" WHERE d.{of} = w.id AND d.direction = '{direction}' AND d.{to} IS NOT NULL"
    )


@dataclass(frozen=True, slots=True)
class Step:
    """Edges from nodes of one kind to nodes of another."""

    near: NodeKind
    far: NodeKind
    sql: str


_ARTIFACT, _TASK, _RUN, _DATA, _JOB = NodeKind
UP = (
    Step(_ARTIFACT, _TASK, _use_of_artifact("OUTPUT")),
    Step(_TASK, _ARTIFACT, _use_by_task("INPUT")),
    Step(_TASK, _RUN, "SELECT t.id, t.run, '' FROM {given} CROSS JOIN tasks AS t WHERE t.id = w.id"),
    Step(_RUN, _DATA, _version("run", "version", "INPUT")),
    Step(
        *(_RUN, _JOB),
        "SELECT r.id, j.id, '' FROM {given} CROSS JOIN runs AS r CROSS JOIN job_runs AS j"
        " WHERE r.id = w.id AND j.project = r.project AND j.ol_run_id = r.parent_ol_run_id",
    ),
    Step(
        *(_DATA, _JOB),
        "SELECT v.id, v.producer, '' FROM {given} CROSS JOIN dataset_versions AS v"
        " WHERE v.id = w.id AND v.producer IS NOT NULL",
    ),
    Step(_DATA, _JOB, _version("version", "job_run", "OUTPUT")),
    Step(
        *(_DATA, _ARTIFACT),
        "SELECT v.id, a.id, '' FROM {given} CROSS JOIN dataset_versions AS v CROSS JOIN artifacts AS a"
        f" WHERE v.id = w.id AND {_SAME_DATA} AND {_MADE}",
    ),
    Step(_JOB, _DATA, _version("job_run", "version", "INPUT")),
)
DOWN = (
    Step(_ARTIFACT, _TASK, _use_of_artifact("INPUT")),
    Step(
        *(_ARTIFACT, _DATA),
        "SELECT a.id, v.id, '' FROM {given} CROSS JOIN artifacts AS a CROSS JOIN dataset_versions AS v"
        # Said, so that who made it is not looked for where there is no data.
        f" WHERE a.id = w.id AND a.dataset IS NOT NULL AND {_SAME_DATA} AND {_MADE}",
    ),
    Step(_TASK, _ARTIFACT, _use_by_task("OUTPUT")),
    Step(_DATA, _RUN, _version("version", "run", "INPUT")),
    Step(_DATA, _JOB, _version("version", "job_run", "INPUT")),
    Step(
        *(_RUN, _TASK),
        "SELECT DISTINCT u.run, u.task, '' FROM {given} CROSS JOIN artifact_uses AS u"
        " CROSS JOIN tasks AS t"
        f" WHERE u.run = w.id AND u.direction = 'OUTPUT' AND t.id = u.task AND {_NO_DAG}",
    ),
    Step(_JOB, _DATA, _version("job_run", "version", "OUTPUT")),
    Step(
        *(_JOB, _DATA),
        "SELECT v.producer, v.id, '' FROM {given} CROSS JOIN dataset_versions AS v WHERE v.producer = w.id",
    ),
    Step(
        *(_JOB, _RUN),
        "SELECT j.id, r.id, '' FROM {given} CROSS JOIN job_runs AS j CROSS JOIN runs AS r"
        " WHERE j.id = w.id AND r.project = j.project AND r.parent_ol_run_id = j.ol_run_id",
    ),
)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is told of the nodes of a kind, in the order of ``LineageNode`` from its name on: the columns, and
    the tables that have them with the key by which each row is looked up."""

    columns: str
    tables: tuple[tuple[str, str, str], ...]
    more: str = ""

    def sql(self, dialect: str) -> str:
        """Key by key on either database. PostgreSQL's planner would rather read a whole table for a few
        thousand keys; it does not look into what has an OFFSET."""
        if dialect == "postgresql":
            looked_up = "LATERAL (SELECT * FROM {0} AS x WHERE x.id = {2} OFFSET 0) AS {1}"
            rows = [looked_up.format(*table) for table in self.tables]
            where = ""
        else:
            rows = [f"{table} AS {alias}" for table, alias, _ in self.tables]
            where = f" WHERE {' AND '.join(f'{alias}.id = {key}' for _, alias, key in self.tables)}"
        return f"SELECT {self.columns} FROM {' CROSS JOIN '.join((_GIVEN[dialect], *rows))}{self.more}{where}"


_FACTS = {
    _ARTIFACT: _Facts(
        "a.id, COALESCE(a.name, a.type), a.project, a.type, a.uri, a.digest, NULL,"
        " CAST(a.artifact_id AS text), NULL, NULL, NULL, a.created_at",
        (("artifacts", "a", "w.id"),),
    ),
    _TASK: _Facts(
        "t.id, t.path, t.project, t.kind, NULL, NULL, t.state, CAST(r.run_id AS text), NULL, NULL,"
        " t.task_id, t.started_at",
        (("tasks", "t", "w.id"), ("runs", "r", "t.run")),
    ),
    _RUN: _Facts(
        "r.id, r.display_name, r.project, r.pipeline_name, NULL, r.pipeline_digest, r.shown_state,"
        " CAST(r.run_id AS text), r.dag_id, r.dag_run_id, r.task_id, r.created_at",
        (("runs", "r", "w.id"),),
    ),
    _DATA: _Facts(
        "v.id, d.uri, d.project, v.version_kind, d.uri, NULLIF(v.version, ''), NULL,"
        " CAST(d.dataset_id AS text), NULL, NULL, NULL, v.written_at",
        (("dataset_versions", "v", "w.id"), ("datasets", "d", "v.dataset")),
    ),
    _JOB: _Facts(
        "j.id, COALESCE(b.name, j.dag_id, ''), j.project, b.job_type, NULL, NULL, j.state, NULL,"
        " j.dag_id, j.dag_run_id, NULLIF(j.task_id, ''), j.started_at",
        (("job_runs", "j", "w.id"),),
        " LEFT JOIN jobs AS b ON b.id = j.job",
    ),
}
_PROJECT_OF = {
    _ARTIFACT: (ARTIFACTS.c.id, ARTIFACTS.c.project),
    _TASK: (TASKS.c.id, TASKS.c.project),
    _RUN: (RUNS.c.id, RUNS.c.project),
    _DATA: (DATASET_VERSIONS.c.id, DATASETS.c.project),
    _JOB: (JOB_RUNS.c.id, JOB_RUNS.c.project),
}


def key_of(kind: NodeKind, surrogate: int) -> Key:
    """The key of a node of this kind."""
    return surrogate * RADIX + KINDS.index(kind)


def kind_of(key: Key) -> NodeKind:
    """The kind of the node with this key."""
    return KINDS[key % RADIX]


def by_kind(keys: Iterable[Key]) -> dict[NodeKind, list[int]]:
    """The surrogate keys of nodes, by kind."""
    found: dict[int, list[int]] = defaultdict(list)
    for key in keys:
        found[key % RADIX].append(key // RADIX)
    return {KINDS[digit]: numbers for digit, numbers in found.items()}


@dataclass(frozen=True, slots=True)
class Taken:
    """Edges from some nodes and from what they lead to: keys of near and far, name, distance from 1.

    Those of the first ``whole`` distances are all there; 0 if there were more than asked for.
    """

    edges: Sequence[tuple[Key, Key, str, int]]
    whole: int


def take(session: Session, steps: Sequence[Step], near: Collection[Key], *, levels: int, most: int) -> Taken:
    """The edges of all steps from these nodes, and up to ``levels`` distances on, about ``most`` in all."""
    if session.get_bind().dialect.name == "postgresql":
        return _take_levels(session, steps, near, levels, most)
    edges: list[tuple[Key, Key, str, int]] = []
    whole, kinds = 1, by_kind(near)
    for step in steps:
        if known := kinds.get(step.near):
            given = {"near": _keys(known, "sqlite"), "most": most}
            rows = _rows(session, _step(step.sql, "sqlite"), given)
            here, there = KINDS.index(step.near), KINDS.index(step.far)
            edges += [(one * RADIX + here, other * RADIX + there, name, 1) for one, other, name in rows]
            whole = whole if len(rows) < most else 0
    return Taken(edges, whole)


def _take_levels(
    session: Session, steps: Sequence[Step], near: Collection[Key], levels: int, most: int
) -> Taken:
    given = {"near": list(near), "levels": levels, "most": most}
    rows = _rows(session, _recursive(tuple(steps)), given)
    # PostgreSQL makes one distance after the other, and no more of them than are asked for.
    return Taken(rows, levels if len(rows) < most else rows[-1][3] - 1)


def told(session: Session, kind: NodeKind, keys: Collection[int]) -> Sequence[tuple[Any, ...]]:
    """What is stored of the nodes of one kind: the key, then what ``LineageNode`` has from ``name`` on, the
    moment as the driver gives it."""
    dialect = session.get_bind().dialect.name
    return _rows(session, _node(kind, dialect), {"near": _keys(keys, dialect)})


def _rows(session: Session, statement: TextClause, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The driver's own tuples: to make SQLAlchemy's rows of them takes as long as to read them."""
    result = session.execute(statement, dict(given))
    assert isinstance(result, CursorResult)
    rows = list(result.cursor.fetchall())
    result.close()
    return rows


def of_projects(session: Session, keys: Collection[Key], projects: Collection[str]) -> set[Key]:
    """Those of the nodes that are of one of the projects."""
    found: set[Key] = set()
    for kind, numbers in by_kind(keys).items():
        key, project = _PROJECT_OF[kind]
        for piece in in_pieces(numbers):
            mine = artifact_is_of(projects) if kind is _ARTIFACT else project.in_(projects)
            statement = select(key).where(key.in_(piece), mine)
            if kind is _DATA:
                statement = statement.join(DATASETS, DATASETS.c.id == DATASET_VERSIONS.c.dataset)
            found.update(key_of(kind, number) for number in session.scalars(statement))
    return found


def _keys(keys: Collection[int], dialect: str) -> Any:
    return list(keys) if dialect == "postgresql" else f"[{','.join(map(str, keys))}]"


@cache
def _step(sql: str, dialect: str) -> TextClause:
    return _statement(f"{sql.format(given=_GIVEN[dialect])} LIMIT :most", dialect)


@cache
def _recursive(steps: tuple[Step, ...]) -> TextClause:
    """All steps, over and over. Each node is gone on from once a distance, whichever edges lead to it: so
    the edges are few although UNION ALL keeps every one."""
    branches = []
    for step in steps:
        here, there = KINDS.index(step.near), KINDS.index(step.far)
        given = f"(SELECT n.id WHERE n.kind = {here}) AS w"
        edges = f"({step.sql.format(given=given)}) AS s (near, far, name)"
        branches.append(f"SELECT {there} AS kind, s.far, s.name FROM {edges}")
    return text(
        "WITH RECURSIVE walk (near, kind, id, name, depth) AS ("
        f" SELECT CAST(0 AS bigint), CAST(g.key % {RADIX} AS integer), g.key / {RADIX}, '', 0"
        " FROM unnest(:near) AS g (key)"
        f" UNION ALL SELECT n.id * {RADIX} + n.kind, e.kind, e.far, e.name, n.depth + 1"
        " FROM (SELECT DISTINCT w.kind, w.id, w.depth FROM walk AS w WHERE w.depth < :levels) AS n"
        f" CROSS JOIN LATERAL ({' UNION ALL '.join(branches)}) AS e"
        f") SELECT near, id * {RADIX} + kind, name, depth FROM walk WHERE depth > 0 LIMIT :most"
    ).bindparams(bindparam("near", type_=ARRAY(BigInteger)))


@cache
def _node(kind: NodeKind, dialect: str) -> TextClause:
    return _statement(_FACTS[kind].sql(dialect), dialect)


def _statement(sql: str, dialect: str) -> TextClause:
    statement = text(sql)
    if dialect == "postgresql":
        return statement.bindparams(bindparam("near", type_=ARRAY(BigInteger)))
    return statement
