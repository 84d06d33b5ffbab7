"""A secret is put wherever one can get in, and looked for wherever something comes out."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlmodel import Session

from bridge.client.models import ArtifactModel, RunModel, TaskModel
from bridge.client.reference import build_reference
from bridge.domain.causes import Cause
from bridge.domain.evidence import CauseKind, Evidence, Witness
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunError, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.lineage import causes
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.service.logs import FieldFormatter
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.settings import ServiceSettings
from tests.support import handmade
from tests.unit.service.harness import Harness, harness

# Looks like nothing: only where it stands tells that it is a secret.
CANARY = "yellowbird"
SIGNED = f"https://bucket.example/day?X-Amz-Signature={CANARY}"
API_TOKEN = f"{CANARY}-api-{'7' * 20}"
# What has to be kept to send runs and messages, and is shown by nothing: docs/security.md lists it.
KEPT = {
    *("runs.arguments", "submissions.arguments", "submissions.origin", "runs.origin", "runs.labels"),
    *("submissions.labels", "run_labels.value", "webhooks.secret", "webhooks.url", "tasks.inputs"),
    *("tasks.outputs", "artifacts.uri", "artifacts.uri_key", "artifacts.meta", "datasets.uri"),
    *("datasets.uri_key", "submissions.inputs"),
}
SECRETS = {
    "database_url": f"postgresql://bridge:{CANARY}-db@db.example/bridge",
    "api_token": API_TOKEN,
    "openlineage": OpenLineageSettings(
        url="http://marquez", token=f"{CANARY}-ol", headers={"X-Key": f"{CANARY}-head"}
    ),
    "content_options": {"s3": {"key": "bridge", "secret": f"{CANARY}-s3"}},
}


@dataclass
class Told:
    """All that came out, by where."""

    texts: dict[str, str] = field(default_factory=dict)

    def birds(self) -> list[str]:
        return sorted(where for where, told in self.texts.items() if CANARY in told)


@contextmanager
def logged(settings: ServiceSettings) -> Iterator[dict[str, io.StringIO]]:
    """Everything that is logged meanwhile, in both shapes."""
    streams = {"log": io.StringIO(), "JSON log": io.StringIO()}
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = [logging.StreamHandler(stream) for stream in streams.values()]
    for handler, as_json in zip(handlers, (False, True), strict=True):
        handler.setFormatter(FieldFormatter(as_json=as_json, secrets=settings.secrets()))
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield streams
    finally:
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)


@pytest.fixture
async def service(database: Database) -> AsyncIterator[Harness]:
    backend = {"token": f"{CANARY}-kfp", "ui_url": f"https://{CANARY}:{CANARY}@kfp.example"}
    async with harness(database, backend=backend, **SECRETS) as made:
        made.client.headers["Authorization"] = f"Bearer {API_TOKEN}"
        yield made


def pipeline() -> str:
    return json.dumps(
        handmade.document(
            {"train": handmade.task("train", "comp-train")},
            {"comp-train": handmade.component(executorLabel="exec-train")},
            {"exec-train": handmade.sh("true")},
            inputs=handmade.parameters(api_key="str", source="str", options="dict", epochs="int", day="str"),
        )
    )


def poisoned() -> RunMirror:
    """What a backend tells of a run whose component is careless."""
    careless = f"connecting to postgresql://u:{CANARY}@db with password={CANARY}"
    tail = (
        "-----BEGIN PRIVATE KEY-----",
        CANARY,
        "-----END PRIVATE KEY-----",
        f"Authorization: Bearer {CANARY}",
    )
    use = ArtifactUse(task_id="2", task_path="train", key="out", direction=Direction.OUTPUT)
    made = Artifact(
        backend_artifact_id=uuid4().hex,
        type="system.Model",
        uri=f"https://bucket.example/m?X-Amz-Signature={CANARY}",
        metadata={"hf_token": CANARY, "framework": "sklearn"},
        uses=(use,),
    )
    values = {"password": CANARY, "dsn": f"mysql://u:{CANARY}@db/x", "epochs": 3}
    task = Task(
        task_id="2",
        name="train",
        path="train",
        parent_task_id="1",
        state=RuntimeState.FAILED,
        kind="container",
        pod_name="pod-train",
        inputs=values,
        outputs=values,
        error=RunError(message=careless, log_tail=tail),
    )
    root = Task(
        task_id="1",
        name="root",
        path="",
        parent_task_id=None,
        state=RuntimeState.FAILED,
        kind="dag",
        outputs=values,
    )
    return RunMirror(tasks=(root, task), artifacts=(made,))


def carelessly() -> dict[str, Any]:
    """A submission with secrets in it."""
    return {
        "spec": pipeline(),
        "arguments": {
            "api_key": CANARY,
            "source": f"postgresql://u:{CANARY}@db/x",
            "options": {"credentials": {"user": "ada", "word": CANARY}},
            "epochs": 3,
        },
        "inputs": [{"name": "day", "uri": SIGNED}],
    }


async def poison(service: Harness) -> dict[str, Any]:
    """Put the canary everywhere; the run that it was put into."""
    run = await service.submitted(
        **carelessly(),
        labels={"api-token": CANARY},
        origin={"dag_id": "d", "asset_events": [{"uri": "s3://b/x", "extra": {"secret": CANARY}}]},
    )
    service.kfp.mirrors[UUID(run["kfp_run_id"])] = poisoned()
    service.kfp.finish(run["kfp_run_id"], "FAILED", error=f"pod failed: api_key={CANARY}")
    await service.follow()
    service.kfp.logs["pod-train"] = f"token=9{CANARY}\nok\nAuthorization: Basic {CANARY}\n"
    evidence = Evidence(witness=Witness.LOG, message=f"password: {CANARY}", task="train")
    cause = Cause(
        kind=CauseKind.CODE,
        message=f"it said secret={CANARY}",
        task="train",
        weight=1.0,
        evidence=(evidence,),
    )

    def write(session: Session) -> None:
        causes.store_causes(session, UUID(run["run_id"]), [cause], waiting=False, now=database_now(session))

    await service.context.store.transact(write)
    return run


async def poison_the_rest(service: Harness) -> dict[str, Any]:
    """A webhook and OpenLineage events; the webhook."""
    facets = {"environment": {"DB_PASSWORD": CANARY, "argv": f"run --token=x1{CANARY}"}}
    event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "run": {"runId": str(uuid4()), "facets": facets},
        "job": {"namespace": "airflow", "name": "etl", "facets": facets},
        "outputs": [{"namespace": f"postgresql://u:{CANARY}@db", "name": "x.y", "facets": {}}],
    }
    assert (await service.client.post("/api/v1/lineage", json=event)).status_code == 202
    secret = "whsec_" + "eWVsbG93YmlyZHllbGxvd2JpcmR5ZWxsb3diaXJk"
    url = f"https://u:{CANARY}@hooks.example/x?token={CANARY}"
    added = await service.client.post("/api/v1/webhooks", json={"url": url, "secret": secret})
    hook: dict[str, Any] = added.json()
    assert added.status_code == 201
    changed = await service.client.patch(f"/api/v1/webhooks/{hook['webhook_id']}", json={"url": url + "1"})
    assert changed.status_code == 200
    return hook


async def every_answer(service: Harness, run: dict[str, Any], hook: dict[str, Any], told: Told) -> None:
    """Ask every route that reads, and some that refuse, with what they may repeat."""
    api = "/api/v1"
    listed = (await service.client.get(f"{api}/runs/{run['run_id']}/artifacts")).json()["items"]
    data = (await service.client.get(f"{api}/datasets")).json()["items"]
    known = {
        "run_id": run["run_id"],
        "artifact_id": listed[0]["artifact_id"],
        "webhook_id": hook["webhook_id"],
        "name": run["pipeline"]["name"],
        "namespace": "airflow",
        "rest": "airflow/etl",
        "alias": "prod",
        "dataset_id": next(one["dataset_id"] for one in data if "bucket.example/day" in one["uri"]),
    }
    other = await service.submitted("other", **carelessly())
    queries = {
        "/compare": {"run": [run["run_id"], other["run_id"]]},
        "/lineage": {"node": f"run:{run['run_id']}"},
    }
    described = service.app.openapi()["paths"]
    paths = {path for path, methods in described.items() if "get" in methods and path != f"{api}/events"}
    assert len(paths) > 30
    for path in sorted(paths | {"/", "/runs/{run_id}", f"{api}/openapi.json"}):
        asked = re.sub(r"\{(\w+)(?::path)?\}", lambda match: known.get(match[1], "x"), path)
        answer = await service.client.get(asked, params=queries.get(path.removeprefix(api)))
        told.texts[f"GET {path}"] = answer.text + str(answer.headers)
        assert answer.status_code < 500 or "content" in path, path
    for name, request in {
        "a wrong token": ("GET", "/runs", {"headers": {"Authorization": f"Bearer wrong-{CANARY}"}}),
        "a wrong backend": ("POST", "/runs", {"json": {"spec": "{}", "backend": f"token=1{CANARY}23456"}}),
        "a wrong gate": ("POST", "/runs", {"json": {"spec": "{}", "gate": f"password={CANARY}"}}),
        "a wrong field": ("POST", "/runs", {"json": {"spec": pipeline(), "password": CANARY}}),
        "a wrong argument": (
            "POST",
            "/runs",
            {"json": {"spec": pipeline(), "arguments": {"api_key": [CANARY]}}},
        ),
    }.items():
        method, path, more = request
        more.setdefault("headers", {}).setdefault("Idempotency-Key", "k9")
        answer = await service.client.request(method, api + path, **more)
        assert 400 <= answer.status_code < 500, name
        told.texts[name] = answer.text + str(answer.headers)


async def test_no_secret_comes_out_anywhere(service: Harness, database: Database) -> None:
    told = Told()
    with logged(service.context.settings) as streams:
        run, hook = await poison(service), await poison_the_rest(service)
        await every_answer(service, run, hook, told)
        log = logging.getLogger("bridge.test")
        log.error("refused", extra={"url": SECRETS["database_url"], "api_token": CANARY, "said": API_TOKEN})
        log.error("with token %s", f"{CANARY}-kfp", exc_info=ValueError(f"{CANARY}-s3 and {CANARY}-ol"))
        told.texts |= {name: stream.getvalue() for name, stream in streams.items()}
    told.texts["settings"] = repr(service.context.settings)
    told.texts["XCom"] = await reference(service, run)
    tables = await service.context.store.read(lambda s: dump(s.connection()))
    assert "train" in told.texts["GET /api/v1/runs/{run_id}/tasks"]
    assert "***" in told.texts["GET /api/v1/runs/{run_id}/logs"]
    for path in ("datasets", "datasets/{dataset_id}/versions", "compare", "runs/{run_id}/explain", "lineage"):
        assert "bucket.example/day?X-Amz-Signature=***" in told.texts[f"GET /api/v1/{path}"], path
    assert told.birds() == []
    kept = {where for where, content in tables.items() if CANARY in content}
    assert kept <= KEPT, {where: tables[where][:500] for where in kept - KEPT}


async def reference(service: Harness, run: dict[str, Any]) -> str:
    """What a scheduler keeps of the run."""
    path = f"/api/v1/runs/{run['run_id']}"
    tasks = (await service.client.get(f"{path}/tasks")).json()["items"]
    made = (await service.client.get(f"{path}/artifacts")).json()["items"]
    return json.dumps(
        build_reference(
            RunModel.model_validate((await service.client.get(path)).json()),
            [TaskModel.model_validate(one) for one in tasks],
            [ArtifactModel.model_validate(one) for one in made],
        )
    )


def dump(connection: Any) -> dict[str, str]:
    """All that the database holds, by table and column."""
    found: dict[str, str] = {}
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    for table in names:
        for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
            for column, value in row.items():
                found[f"{table}.{column}"] = found.get(f"{table}.{column}", "") + f"{value}\n"
    return found
