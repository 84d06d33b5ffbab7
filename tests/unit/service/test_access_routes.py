"""Every route as everybody: who is let in, who is refused, and for whom the thing does not exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from sqlmodel import Session

from bridge.domain.access import EVERY, Role
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, Metric, RunMirror
from bridge.lineage import quarantine
from bridge.lineage.database import Database
from bridge.lineage.tokens import create_token
from bridge.service.access.caller import Caller
from bridge.service.dashboard import ROUTES as PAGES
from bridge.service.reference import document
from bridge.service.routes.events import _stream
from tests.unit.service.harness import SPEC, Harness, harness, mirror_of
from tests.unit.service.test_jobs import event

ROOT = "the token of the settings"
OURS, THEIRS = "ours", "theirs"
API = "/api/v1"
# Stands in everything that is made in OURS, and in nothing else.
MARK = "hidden-mark"
_OPEN = "open"


@dataclass(frozen=True)
class Place:
    """What a route needs of a caller: the least role; where it is needed, and what there is to ask for.

    ``object``: something of one project, which does not exist for others. ``list``: things of the projects
    one sees. ``create``: something new in a project that the request names. ``all``: the installation.
    """

    kind: str
    role: Role | None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    before: Callable[[World], Awaitable[None]] | None = None


@dataclass
class World:
    """A service with things in the project OURS, and tokens for everybody."""

    service: Harness
    tokens: dict[str, str]
    ids: dict[str, str] = field(default_factory=dict)

    async def ask(self, who: str, method: str, path: str, **given: Any) -> httpx.Response:
        """A request with the token of somebody."""
        token = self.tokens[who]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.service.client.request(method, path, headers=headers, **given)

    async def root(self, method: str, path: str, **given: Any) -> Any:
        """The same as somebody who may do everything."""
        answer = await self.ask("root", method, API + path, **given)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


async def _alias(world: World) -> None:
    await world.root(
        "PUT",
        f"/pipelines/{world.ids['pipeline']}/aliases/prod",
        params={"project": OURS},
        json={"digest": world.ids["digest"]},
    )


async def _webhook(world: World) -> None:
    # An address that is refused before anything is sent.
    made = await world.root(
        "POST", "/webhooks", json={"url": f"http://10.0.0.1/{MARK}", "project": OURS, "types": ["run.*"]}
    )
    world.ids["webhook_id"] = made["webhook_id"]


async def _set_aside(world: World) -> None:
    def write(session: Session) -> int:
        quarantine.set_aside(
            session,
            backend="default",
            project=OURS,
            work="list",
            subject=uuid4().hex,
            reason=MARK,
            failures=5,
        )
        return quarantine.listed(session)[-1].number

    world.ids["number"] = str(await world.service.context.store.transact(write))


RUN = "/api/v1/runs/{run_id}"
PIPELINE = "/api/v1/pipelines/{name}"
WEBHOOK = "/api/v1/webhooks/{webhook_id}"
OF_OURS = {"project": OURS}
VIEWER, SUBMITTER, OPERATOR, ADMIN = Role
ROUTES: dict[tuple[str, str], Place] = {
    ("post", "/api/v1/runs"): Place("create", SUBMITTER, body={"spec": SPEC, "project": OURS}),
    ("get", "/api/v1/runs"): Place("list", VIEWER),
    ("get", RUN): Place("object", VIEWER),
    ("post", RUN + ":cancel"): Place("object", SUBMITTER, body={}),
    ("post", RUN + ":retry"): Place("object", SUBMITTER),
    ("post", RUN + ":clear"): Place("object", OPERATOR),
    ("post", RUN + ":reproduce"): Place("object", SUBMITTER, body={}),
    ("get", RUN + "/tasks"): Place("object", VIEWER),
    ("get", RUN + "/artifacts"): Place("object", VIEWER),
    ("get", RUN + "/metrics"): Place("object", VIEWER),
    ("get", RUN + "/events"): Place("object", VIEWER),
    ("get", RUN + "/explain"): Place("object", VIEWER),
    ("get", RUN + "/spec"): Place("object", VIEWER),
    ("get", RUN + "/plan"): Place("object", VIEWER),
    ("get", RUN + "/logs"): Place("object", VIEWER, query={"task": "train"}),
    ("get", RUN + "/cost"): Place("object", VIEWER),
    ("get", "/api/v1/compare"): Place("object", VIEWER, query={"run": ["{run_id}", "{other_run}"]}),
    ("get", "/api/v1/cost"): Place("list", VIEWER),
    ("get", "/api/v1/artifacts"): Place("list", VIEWER),
    ("get", "/api/v1/artifacts/{artifact_id}"): Place("object", VIEWER),
    ("get", "/api/v1/artifacts/{artifact_id}/content"): Place("object", VIEWER),
    ("get", "/api/v1/artifacts/{artifact_id}/lineage"): Place("object", VIEWER),
    ("get", "/api/v1/lineage"): Place("object", VIEWER, query={"node": "run:{run_id}"}),
    ("post", "/api/v1/lineage"): Place("create", SUBMITTER, query=OF_OURS, body=[event("etl.write")]),
    ("get", "/api/v1/pipelines"): Place("list", VIEWER),
    ("post", "/api/v1/pipelines"): Place("create", SUBMITTER, query=OF_OURS, body={"spec": SPEC}),
    ("get", PIPELINE): Place("object", VIEWER, query=OF_OURS),
    ("get", PIPELINE + "/metrics"): Place("object", VIEWER, query=OF_OURS),
    ("get", PIPELINE + "/aliases"): Place("list", VIEWER, query=OF_OURS),
    ("get", PIPELINE + "/aliases/{alias}"): Place("object", VIEWER, query=OF_OURS, before=_alias),
    ("put", PIPELINE + "/aliases/{alias}"): Place(
        "create", OPERATOR, query=OF_OURS, body={"digest": "{digest}"}
    ),
    ("delete", PIPELINE + "/aliases/{alias}"): Place("create", OPERATOR, query=OF_OURS, before=_alias),
    ("get", "/api/v1/jobs"): Place("list", VIEWER),
    ("get", "/api/v1/jobs/{namespace}/{name}/runs"): Place("object", VIEWER, query=OF_OURS),
    ("get", "/api/v1/datasets"): Place("list", VIEWER),
    ("get", "/api/v1/datasets/{dataset_id}"): Place("object", VIEWER),
    ("get", "/api/v1/datasets/{dataset_id}/versions"): Place("object", VIEWER),
    ("get", "/api/v1/events"): Place("list", VIEWER),
    ("get", "/api/v1/quarantine"): Place("list", VIEWER),
    ("post", "/api/v1/quarantine/{number}:release"): Place("object", OPERATOR, before=_set_aside),
    ("post", "/api/v1/backends/{name}:pause"): Place("all", OPERATOR, body={}),
    ("post", "/api/v1/backends/{name}:resume"): Place("all", OPERATOR),
    ("get", "/api/v1/webhooks"): Place("list", OPERATOR),
    ("post", "/api/v1/webhooks"): Place("create", ADMIN, body={"url": "http://10.0.0.1/", "project": OURS}),
    ("get", WEBHOOK): Place("object", OPERATOR, before=_webhook),
    ("patch", WEBHOOK): Place("object", ADMIN, body={"active": True}, before=_webhook),
    ("delete", WEBHOOK): Place("object", ADMIN, before=_webhook),
    ("post", WEBHOOK + ":rotate"): Place("object", ADMIN, before=_webhook),
    ("post", WEBHOOK + ":test"): Place("object", OPERATOR, before=_webhook),
    ("post", WEBHOOK + ":redeliver"): Place("object", OPERATOR, before=_webhook),
    ("get", WEBHOOK + "/deliveries"): Place("object", OPERATOR, before=_webhook),
    # There is no such delivery: who may ask is told so of the delivery, and others of the webhook.
    ("post", WEBHOOK + "/deliveries/{delivery_id}:redeliver"): Place("object", OPERATOR, before=_webhook),
    ("get", "/api/v1/oncall"): Place("list", VIEWER),
    ("get", "/api/v1/session"): Place("list", VIEWER),
    ("post", "/api/v1/session:end"): Place("list", VIEWER),
    ("get", "/api/v1/status"): Place("list", VIEWER),
    ("get", "/status"): Place("list", VIEWER),
    ("get", "/metrics"): Place("all", VIEWER),
    ("get", "/livez"): Place(_OPEN, None),
    ("get", "/readyz"): Place(_OPEN, None),
}
EVERYBODY = {f"{role} of {where}": (role, where) for role, where in product(Role, (OURS, THEIRS, EVERY))}


async def _make_things(world: World, folder: Path) -> None:
    """One of everything, in OURS."""
    (folder / "model.bin").write_text(MARK)
    use = ArtifactUse(task_id="2", task_path="train", key="model", direction=Direction.OUTPUT)
    one = Artifact(
        backend_artifact_id="7", type="system.Model", name=MARK, uri=f"file://{folder}/model.bin", uses=(use,)
    )
    metrics = (Metric(task_path="train", name=MARK, value=1.0),)
    told = RunMirror(tasks=mirror_of().tasks, artifacts=(one,), metrics=metrics)
    service = world.service
    service.client.headers["Authorization"] = f"Bearer {ROOT}"
    service.kfp.logs["pod-train"] = MARK
    run = await service.submitted("one", project=OURS, display_name=MARK, labels={"team": MARK})
    run = await service.ended(run, mirror=told)
    other = await service.submitted("two", project=OURS, display_name=MARK)
    other = await service.ended(other, "FAILED")
    await service.sequencer.step()
    await world.root("POST", "/lineage", params=OF_OURS, json=[event(f"etl.{MARK}")])
    listed = await world.root("GET", f"/runs/{run['run_id']}/artifacts")
    datasets = await world.root("GET", "/datasets", params=OF_OURS)
    world.ids |= {
        "run_id": run["run_id"],
        "other_run": other["run_id"],
        "artifact_id": listed["items"][0]["artifact_id"],
        "dataset_id": datasets["items"][0]["dataset_id"],
        "pipeline": run["pipeline"]["name"],
        "digest": run["pipeline"]["digest"],
        "alias": "prod",
        "delivery_id": "1",
        "number": "1",
        "webhook_id": str(uuid4()),
    }
    for make in (_alias, _webhook, _set_aside):
        await make(world)
    del service.client.headers["Authorization"]


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """Everybody has a token; things are in OURS alone."""
    tokens = {"nobody": "", "a stranger": "kfb_" + "0" * 16 + "_" + "A" * 43, "root": ROOT}
    for who, (role, where) in EVERYBODY.items():
        _, tokens[who] = database.transact(
            lambda s, role=role, where=where: create_token(s, name="t", role=role, projects=[where])
        )
    settings = {"content_roots": (tmp_path,), "webhook_private_addresses": False, "heartbeat_seconds": 0.05}
    async with harness(database, api_token=ROOT, **settings) as service:
        made = World(service, tokens)
        await _make_things(made, tmp_path)
        yield made


def test_every_route_is_in_the_table() -> None:
    there = {(method, path) for path, item in document()["paths"].items() for method in item}
    assert there == set(ROUTES)


def _path_of(path: str, ids: Mapping[str, str]) -> str:
    names = {"name": "default", **ids}
    if path.startswith("/api/v1/pipelines"):
        names["name"] = ids["pipeline"]
    if path.startswith("/api/v1/jobs"):
        names |= {"namespace": quote("prod/emea", safe=""), "name": f"etl.{MARK}"}
    return path.format(**names)


def _filled(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, ids) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, ids) for one in value]
    is_place = isinstance(value, str) and value.rpartition(":")[2].startswith("{") and len(value) < 100
    return value.format(**ids) if is_place else value


async def _answers(world: World, method: str, path: str, place: Place) -> dict[str, httpx.Response]:
    """What everybody is answered; those who may do least come first."""
    found = {}
    for who in ("nobody", "a stranger", *EVERYBODY, "root"):
        if place.before is not None:
            await place.before(world)
        # A stream ends at once.
        world.service.context.stopping = path.endswith("/events")
        given: dict[str, Any] = {"params": _filled(place.query, world.ids)}
        if path.endswith("/metrics") and path.startswith("/api"):
            given["params"]["name"] = f"train.{MARK}"
        if place.body is not None:
            given["json"] = _filled(place.body, world.ids)
        found[who] = await world.ask(who, method.upper(), _path_of(path, world.ids), **given)
        world.service.context.stopping = False
    return found


def _expected(place: Place, role: Role, where: str) -> int | None:
    """The refusal that somebody gets; ``None``: none of them."""
    assert place.role is not None
    enough = role.rank >= place.role.rank
    if where == THEIRS:
        return {"object": 404, "create": 403, "all": 403, "list": None if enough else 403}[place.kind]
    if where == OURS and place.kind == "all":
        return 403
    return None if enough else 403


def _is(answer: httpx.Response, expected: int | None) -> bool:
    if expected is None:
        # What is not to be found then is no object of the route's own.
        told = answer.status_code == 404 and "has no delivery 1" in answer.text
        return answer.status_code not in (401, 403, 404, 500) or told
    return answer.status_code == expected


async def test_every_route_as_everybody(world: World) -> None:
    for (method, path), place in ROUTES.items():
        if place.kind == _OPEN:
            continue
        answers = await _answers(world, method, path, place)
        wrong = {
            who: (answers[who].status_code, _expected(place, *EVERYBODY[who]), answers[who].text[:300])
            for who in EVERYBODY
            if not _is(answers[who], _expected(place, *EVERYBODY[who]))
        }
        assert wrong == {}, (method, path)
        assert {answers[who].status_code for who in ("nobody", "a stranger")} == {401}, (method, path)
        assert _is(answers["root"], None), (method, path, answers["root"].text)
        for who, answer in answers.items():
            outside = who in ("nobody", "a stranger") or who.endswith(f"of {THEIRS}")
            # An answer may name what was asked for.
            told = answer.text.replace(f"etl.{MARK}", "") if answer.status_code == 404 else answer.text
            assert not (outside and MARK in told), (method, path, who)


async def test_a_list_shows_what_is_ours_to_who_may_see_it_and_nothing_to_others(world: World) -> None:
    not_told_apart = ("/status", "/cost", "/events", "/session", ":end")
    lists = [
        path
        for (_, path), place in ROUTES.items()
        if place.kind == "list" and not path.endswith(not_told_apart)
    ]
    assert len(lists) >= 9
    for path in lists:
        answers = await _answers(world, "get", path, ROUTES["get", path])
        shown = OURS if path.endswith(("pipelines", "datasets")) else MARK
        shown = "prod" if path.endswith("aliases") else shown
        assert shown in answers[f"admin of {OURS}"].text, path
        assert shown in answers[f"admin of {EVERY}"].text, path
        assert shown not in answers[f"admin of {THEIRS}"].text, path


async def test_the_stream_tells_of_ones_own_projects_and_ends_with_ones_token(world: World) -> None:
    context = world.service.context

    async def told(who: str) -> str:
        async def ask() -> Caller:
            return Caller(await context.authenticator.principal_of(world.tokens[who]))

        stream = _stream(context, ask, 0, None)
        async with asyncio.timeout(10):
            await anext(stream)
            found = await anext(stream)
        await stream.aclose()
        return found

    assert world.ids["run_id"] in await told(f"viewer of {OURS}")
    assert "heartbeat" in await told(f"viewer of {THEIRS}")
    with pytest.raises(StopAsyncIteration):
        await told("a stranger")


async def test_probes_ask_nobody(world: World) -> None:
    for path in ("/livez", "/readyz"):
        assert (await world.ask("nobody", "GET", path)).status_code == 200


def _pages() -> Iterator[str]:
    yield from (page.format(run_id=uuid4(), name="n", artifact_id=uuid4()) for page in PAGES)


async def test_pages_are_for_whoever_has_a_token_and_go_leads_to_ones_own_runs(world: World) -> None:
    for page in _pages():
        assert (await world.ask("nobody", "GET", page)).status_code == 401, page
        assert (await world.ask(f"viewer of {THEIRS}", "GET", page)).status_code in (200, 503), page
    origin = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1}
    run = await world.root(
        "POST", "/runs", json={"spec": SPEC, "project": OURS, "origin": origin, "arguments": {"epochs": 1}}
    )
    go = {"dag_id": "d", "dag_run_id": "r", "task_id": "t"}
    for who, ends in ((OURS, run["run_id"]), (THEIRS, "dag_run_id=r")):
        answer = await world.ask(f"viewer of {who}", "GET", "/go", params=go)
        assert answer.headers["location"].endswith(ends)


async def test_pages_to_sign_in_ask_nobody_and_show_nothing(world: World) -> None:
    for path in ("/login", "/login/start", "/login/callback?state=x&code=y", "/login/done"):
        answer = await world.ask("nobody", "GET", path)
        assert (answer.status_code, MARK in answer.text) == (200, False), path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert (await world.ask("a stranger", "GET", path)).status_code == 200
    refused = await world.ask("nobody", "POST", "/login", data={"token": "kfb_x"})
    assert refused.status_code == 401
    here = {"headers": {"Accept": "text/html"}}
    sent = await world.service.client.get(f"/runs/{world.ids['run_id']}?tab=logs", **here)
    assert sent.headers["location"] == f"/login?return_to=%2Fruns%2F{world.ids['run_id']}%3Ftab%3Dlogs"


async def test_ids_of_other_projects_are_as_if_they_were_not(world: World) -> None:
    asked = {"ids": f"{world.ids['run_id']},{uuid4()}"}
    for who, count in ((OURS, 1), (THEIRS, 0), (EVERY, 1)):
        found = await world.ask(f"viewer of {who}", "GET", f"{API}/runs", params=asked)
        assert len(found.json()["items"]) == count
    wished = await world.ask(f"viewer of {THEIRS}", "GET", f"{API}/runs", params={"project": OURS})
    assert wished.json()["items"] == []


async def test_costs_and_status_count_what_one_sees(world: World) -> None:
    for who, sees in ((OURS, True), (THEIRS, False), (EVERY, True)):
        status = (await world.ask(f"viewer of {who}", "GET", f"{API}/status")).json()
        assert status["access"] == "required"
        assert bool(status["backends"][0]["quarantined"]) is sees
