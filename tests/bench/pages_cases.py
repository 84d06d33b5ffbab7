"""The questions that the pages ask: each route of ``bridge/dashboard/src`` with what it is asked with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from urllib.parse import quote, urlencode
from uuid import UUID

from sqlalchemy import select
from sqlmodel import Session

from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, RUNS
from tests.bench.pages_rows import BIG_RUN
from tests.bench.querying import graph_start
from tests.bench.seeding_rows import dag_name, pipeline_name

API = "/api/v1"
# Each route that a page asks, `{}` in the place of ids and names; a test compares it with the pages' source.
ROUTES = frozenset(
    (
        *("/runs", "/runs/{}", "/runs/{}/tasks", "/runs/{}/plan", "/runs/{}/metrics", "/runs/{}/artifacts"),
        *("/runs/{}/explain", "/runs/{}/logs", "/runs/{}/spec", "/compare", "/oncall", "/status"),
        *("/quarantine", "/webhooks", "/pipelines", "/pipelines/{}", "/pipelines/{}/metrics"),
        *("/artifacts", "/artifacts/{}", "/artifacts/{}/content", "/lineage", "/cost", "/runs/{}/cost"),
        "/session",
    )
)
_MANY = 40
_IDS = re.compile(r"/[0-9a-f]{8}-[0-9a-f-]{27}(?=/|$)")


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and the addresses that it is asked with, in turn."""

    name: str
    paths: tuple[str, ...]


def route_of(path: str) -> str:
    """The route of an address: ``{}`` in the place of ids and names."""
    bare = path.partition("?")[0].removeprefix(API)
    return re.sub(r"^/pipelines/[^/]+", "/pipelines/{}", _IDS.sub("/{}", bare))


def cases_of(database: Database) -> list[Case]:
    """All of them, about runs and artifacts that the database has."""
    found = database.read(_Found)
    start = {way: graph_start(database, way) for way in ("up", "down")}
    cases = [*_of_runs(found), *_of_one_run(found), *_of_pipelines(), *_of_data(found, start), *_of_others()]
    unasked = ROUTES - {route_of(path) for case in cases for path in case.paths}
    assert not unasked, f"no case asks {sorted(unasked)}"
    return cases


class _Found:
    """What the questions are about."""

    def __init__(self, session: Session) -> None:
        def runs(*where: object) -> list[UUID]:
            newest = select(RUNS.c.run_id).where(*where).order_by(RUNS.c.created_at.desc())  # type: ignore[arg-type]
            return list(session.scalars(newest.limit(_MANY)))

        self.now = database_now(session)
        detailed = select(ARTIFACT_USES.c.run).order_by(ARTIFACT_USES.c.id).limit(3 * _MANY)
        self.good = runs(RUNS.c.id.in_(detailed))
        self.failed = runs(RUNS.c.shown_state == "FAILED")
        self.big = runs(RUNS.c.words == f" {BIG_RUN}", RUNS.c.shown_state == "FAILED")[:1]
        self.newest = runs(RUNS.c.created_at.is_not(None))
        models = select(ARTIFACTS.c.artifact_id).where(ARTIFACTS.c.type == "system.Model")
        self.models = list(session.scalars(models.order_by(ARTIFACTS.c.id.desc()).limit(_MANY)))
        self.old_models = list(session.scalars(models.order_by(ARTIFACTS.c.id).limit(_MANY)))
        file = select(ARTIFACTS.c.artifact_id).where(ARTIFACTS.c.backend_artifact_id == "big-0")
        self.files = list(session.scalars(file))


def _case(name: str, route: str, *queries: Mapping[str, object]) -> Case:
    given = [f"?{urlencode(query, doseq=True)}" if query else "" for query in queries or ({},)]
    return Case(name, tuple(f"{API}{route}{query}" for query in given))


def _each(name: str, route: str, ids: Sequence[UUID], **query: object) -> Case:
    given = f"?{urlencode(query, doseq=True)}" if query else ""
    return Case(name, tuple(f"{API}{route.format(one)}{given}" for one in ids))


def _of_runs(found: _Found) -> list[Case]:
    busy, rare, page = pipeline_name(1), pipeline_name(199), {"limit": 50}
    day = (found.now - timedelta(days=1)).isoformat()
    good = {"good": True, "limit": 1, "created_before": found.now.isoformat()}
    return [
        _case("runs: newest", "/runs", page),
        _case("runs: failed", "/runs", {**page, "state": "FAILED"}),
        _case("runs: failed, last day", "/runs", {**page, "state": "FAILED", "created_after": day}),
        _case("runs: busy pipeline", "/runs", {**page, "pipeline": busy}),
        _case("runs: rare pipeline, failed", "/runs", {**page, "pipeline": rare, "state": "FAILED"}),
        _case("runs: of a DAG", "/runs", {**page, "dag_id": dag_name(1)}),
        _case("runs: small project", "/runs", {**page, "project": "labs"}),
        _case("runs: text", "/runs", {**page, "text": "churn"}, {**page, "text": "oomkilled"}),
        _case("runs: text, rare", "/runs", {**page, "text": "inc 77"}),
        _case("runs: label", "/runs", {**page, "label": "team:risk"}),
        _case("runs: metric", "/runs", {**page, "metric": "evaluate.auc>=0.995"}),
        _case("runs: last good, busy", "/runs", {**good, "pipeline": busy, "project": "default"}),
        _case("runs: last good, rare", "/runs", {**good, "pipeline": rare, "project": "labs"}),
        _case("runs: to compare with", "/runs", {"text": "churn", "pipeline": busy, "limit": 13}),
        _case("runs: of a group", "/runs", {"ids": [str(one) for one in found.failed], "limit": 200}),
        _case("compare: two", "/compare", *({"run": pair} for pair in _pairs(found.failed))),
        _case("compare: five", "/compare", {"run": [str(one) for one in found.good[:5]]}),
    ]


def _pairs(ids: Sequence[UUID]) -> list[list[str]]:
    return [[str(one), str(other)] for one, other in pairwise(ids)]


def _of_one_run(found: _Found) -> list[Case]:
    kinds = {"failed": found.failed, "with data": found.good, "big": found.big}
    parts = ("", "/tasks", "/plan", "/metrics", "/artifacts", "/explain")
    cases = [
        _each(f"run{part}: {kind}", f"/runs/{{}}{part}", ids)
        for part in parts
        for kind, ids in kinds.items()
        if (part, kind) != ("/plan", "big")
    ]
    return [
        *cases,
        _each("run/events", "/runs/{}/events", found.failed),
        _each("run/logs", "/runs/{}/logs", found.good, task="train"),
        _each("run/spec", "/runs/{}/spec", found.failed),
        _each("run/cost", "/runs/{}/cost", found.good),
    ]


def _of_pipelines() -> list[Case]:
    project, cases = {"project": "default"}, [_case("pipelines", "/pipelines", {"limit": 25})]
    for kind, number in (("busy", 0), ("rare", 199)):
        name = quote(pipeline_name(number), safe="")
        metric = {**project, "name": "evaluate.auc", "limit": 100}
        gate = {**metric, "rule": "evaluate.auc >= last_good - 0.01", "limit": 200}
        cases += [
            _case(f"pipeline: {kind}", f"/pipelines/{name}", {**project, "limit": 30}),
            _case(f"pipeline: {kind}, strip", f"/pipelines/{name}", {**project, "limit": 12}),
            _case(f"trend: {kind}", f"/pipelines/{name}/metrics", metric),
            _case(f"trend: {kind}, by a gate", f"/pipelines/{name}/metrics", gate),
            _case(f"trend: {kind}, duration", f"/pipelines/{name}/metrics", {**metric, "name": "duration"}),
        ]
    return cases


def _of_data(found: _Found, start: dict[str, str]) -> list[Case]:
    around = {"depth": 12, "nodes": 1000}
    runs = [f"run:{one}" for one in (*found.good, *found.failed)]
    page = {"limit": 50}
    return [
        _case("lineage: of runs", "/lineage", *({"node": node, **around} for node in runs)),
        _case("lineage: 1,000 nodes, newest", "/lineage", {"node": start["up"], **around}),
        _case("lineage: 1,000 nodes, oldest", "/lineage", {"node": start["down"], **around}),
        _case("lineage: on from a node", "/lineage", {"node": start["up"], "depth": 1, "nodes": 200}),
        _case("artifacts", "/artifacts", page),
        _case("artifacts: models", "/artifacts", {**page, "type": "system.Model"}),
        _case("artifacts: busy pipeline", "/artifacts", {**page, "pipeline": pipeline_name(0)}),
        _case("artifacts: rare pipeline", "/artifacts", {**page, "pipeline": pipeline_name(199)}),
        _case(
            "artifacts: models, busy pipeline",
            "/artifacts",
            {**page, "type": "system.Model", "pipeline": pipeline_name(1)},
        ),
        _case("artifacts: text, none has it", "/artifacts", {**page, "text": "zebra"}),
        _case("artifacts: small project", "/artifacts", {**page, "project": "labs"}),
        _each("artifact", "/artifacts/{}", [*found.models, *found.old_models]),
        _each("artifact/content", "/artifacts/{}/content", found.files, preview=65536),
    ]


def _of_others() -> list[Case]:
    return [
        _case("on call: last day", "/oncall", {"window": "24h"}),
        _case("on call: last week", "/oncall", {"window": "7d"}),
        _case("on call: a project", "/oncall", {"window": "24h", "project": "pricing"}),
        _case("on call: small project", "/oncall", {"window": "24h", "project": "labs"}),
        _case("status", "/status"),
        _case("who is signed in", "/session"),
        _case("quarantine", "/quarantine"),
        _case("webhooks", "/webhooks"),
        _case("cost: this month", "/cost"),
        _case("cost: two years", "/cost", {"from": "2024-08", "to": "2026-12", "by": "team"}),
    ]
