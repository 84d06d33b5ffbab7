"""The lineage's graph as JSON, written from what the database gave: to make messages of its tens of thousands
of nodes and edges, or only dictionaries, takes as long as to find them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from json.encoder import encode_basestring

from bridge.domain.graph import NodeKind
from bridge.domain.redaction import redact_uri
from bridge.lineage.graph import WalkedGraph
from bridge.lineage.steps import KINDS, RADIX
from bridge.service.convert import airflow_link

_UIDS = {NodeKind.ARTIFACT: "artifact_id", NodeKind.DATASET: "dataset_id"}
# By a key's last digit: how the kind is written, and before what the public id stands, if it is told.
_KINDS = tuple(
    (f'"kind":"{kind}","depth":', f',"{_UIDS.get(kind, "run_id")}":"', kind is NodeKind.JOB_RUN)
    for kind in KINDS
)


class _Written(dict[str | None, str]):
    """Texts that come again and again, as they are written after ``before``; what is absent is left out."""

    def __init__(self, before: str = "") -> None:
        super().__init__({None: ""})
        self._before = before

    def __missing__(self, text: str) -> str:
        self[text] = written = f"{self._before}{encode_basestring(text)}"
        return written


def graph_json(graph: WalkedGraph, airflow_url: str | None, projects: Collection[str] = ()) -> bytes:
    """A ``LineageGraphModel``, what is absent left out. With ``projects`` no other is named."""
    ids, names = graph.ids, _Written()
    edges = ",".join(
        [
            f'{{"source":"{ids[source]}","target":"{ids[target]}","name":{names[name]}}}'
            for source, target, name in graph.edges
        ]
    )
    frontier = ",".join([f'"{ids[key]}"' for key in graph.frontier])
    text = (
        f'{{"nodes":[{",".join(_nodes(graph, airflow_url, projects))}],"edges":[{edges}],'
        f'"truncated":{"true" if graph.frontier else "false"},"frontier":[{frontier}]}}'
    )
    return text.encode()


def _nodes(graph: WalkedGraph, airflow_url: str | None, projects: Collection[str]) -> list[str]:
    written, ids, facts = [], graph.ids, graph.facts
    shown, types, states = _Written(',"project":'), _Written(',"type":'), _Written(',"state":')
    dags, dag_runs = _Written(',"dag_id":'), _Written(',"dag_run_id":')
    for key, depth in graph.depths.items():
        _, name, project, kind_type, uri, version, state, uid, dag_id, dag_run_id, task_id, at = facts[key]
        kind, public, is_job = _KINDS[key % RADIX]
        node = (
            # Of data the name is its URI.
            f'{{"id":"{ids[key]}",{kind}{depth},"name":{encode_basestring(redact_uri(name))}'
            f"{shown[project if not projects or project in projects else '']}{types[kind_type]}"
            f"""{"" if uri is None else f',"uri":{encode_basestring(redact_uri(uri))}'}"""
            f"""{"" if version is None else f',"version":{encode_basestring(version)}'}"""
            f"{states[state]}{dags[dag_id]}{dag_runs[dag_run_id]}"
            f"""{"" if task_id is None else f',"task_id":{encode_basestring(task_id)}'}"""
            f"""{"" if uid is None else f'{public}{uid}"'}"""
        )
        if airflow_url and is_job and dag_id and dag_run_id and task_id:
            node += f',"link":{encode_basestring(airflow_link(airflow_url, dag_id, dag_run_id, task_id))}'
        written.append(node + ("}" if at is None else f',"at":"{_moment(at)}"}}'))
    return written


def _moment(stored: datetime | str) -> str:
    """A moment as the driver gives it, in RFC 3339: SQLite's is text, PostgreSQL's has the zone UTC."""
    if isinstance(stored, str):
        return f"{stored[:10]}T{stored[11:].removesuffix('.000000')}Z"
    return stored.isoformat().removesuffix("+00:00") + "Z"
