"""Events to an OpenLineage consumer: all of them, in order, whatever the consumer does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update
from sqlmodel import Session

from bridge.domain.lineage import Artifact, ArtifactUse, Direction, RunMirror
from bridge.lineage import emissions
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Duty
from bridge.lineage.tables import DUTIES, EMISSIONS
from bridge.service.consumer import Circuit, Consumer, ConsumerAway
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.settings import SettingsError
from bridge.service.settings_sources import load_settings
from bridge.service.workers.emit import EmissionNoter, EmitWorker
from tests.support.openlineage_spec import check_event, needs_specification
from tests.unit.service.harness import Harness, harness, mirror_of

URL = "http://127.0.0.1:9/api/v1/lineage"
Answer = Callable[[httpx.Request], httpx.Response]


class FakeConsumer:
    """What it took is in ``events``; ``answers`` are used up, then everything is taken."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.events: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.refuses: Callable[[dict[str, Any]], bool] = lambda event: False

    def open(self, settings: OpenLineageSettings) -> Consumer:
        return Consumer(settings, transport=httpx.MockTransport(self._handle))

    def told(self, run: dict[str, Any] | None = None) -> list[tuple[str, str]]:
        """The jobs and types of the events, of one run if one is given."""
        found = []
        for event in self.events:
            parent = event["run"]["facets"].get("parent", {}).get("run", {}).get("runId")
            if run is None or run["kfp_run_id"] in (event["run"]["runId"], parent):
                found.append((event["job"]["name"], event["eventType"]))
        return found

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)(request) if self.answers else answered(201)
        event = json.loads(request.content)
        if self.refuses(event):
            answer = answered(422, "unknown field")
        if answer.status_code == 201:
            self.events.append(event)
        return answer


def answered(code: int, text: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(code, stream=httpx.ByteStream(text.encode()), headers=headers)


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


class Emission:
    """The service, its consumer, and the workers between them."""

    def __init__(self, service: Harness) -> None:
        self.service = service
        self.consumer = FakeConsumer()
        self.now = 0.0
        self.restart()

    def restart(self) -> None:
        """Workers that remember nothing, as after a crash."""
        context, settings = self.service.context, self.service.context.settings.openlineage
        assert settings is not None
        self.circuit = Circuit(lambda: self.now)
        self.noter = EmissionNoter(context)
        self.worker = EmitWorker(
            context, self.service.backend, settings, self.circuit, self.consumer.open(settings)
        )

    async def note(self) -> None:
        await self.service.sequencer.step()
        while await self.noter.step():
            pass

    async def send(self) -> None:
        await self.note()
        for _ in range(6):
            await self.worker.step()
            await self.worker.drain()

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.service.client.get("/api/v1/status")).json()["openlineage"]
        return found


def _failing_for_an_hour(session: Session) -> None:
    """What failed has failed for an hour, and is due now."""
    moment = database_now(session)
    failing = EMISSIONS.c.failing_since.is_not(None)
    session.execute(update(EMISSIONS).where(failing).values(failing_since=moment - timedelta(hours=1)))
    session.execute(update(DUTIES).where(DUTIES.c.duty == Duty.EMIT.value).values(due_at=moment))


@pytest.fixture
async def emission(database: Database) -> AsyncIterator[Emission]:
    settings = {"url": URL, "token": "secret", "headers": {"X-Tenant": "a"}, "refusals": 2}
    quick = {"retry_seconds": 0.001, "longest_retry_seconds": 0.001}
    async with harness(database, openlineage={**settings, **quick}) as service:
        made = Emission(service)
        # The first look of all: what was there before is not told.
        await made.note()
        yield made


WHOLE = [
    ("training", "START"),
    ("training.train", "START"),
    ("training.train", "COMPLETE"),
    ("training", "COMPLETE"),
]


def with_model() -> RunMirror:
    told = mirror_of("SUCCEEDED", {"train.auc": 0.7})
    model = Artifact(
        backend_artifact_id="1",
        type="system.Model",
        uri="s3://lake/model",
        digest="sha256:abc",
        uses=(ArtifactUse(task_id="2", task_path="train", key="model", direction=Direction.OUTPUT),),
    )
    return RunMirror(tasks=told.tasks, artifacts=(model,), metrics=told.metrics)


@needs_specification
async def test_a_run_is_told_from_its_start_to_its_end(emission: Emission) -> None:
    run = await emission.service.submitted()
    await emission.send()
    assert emission.consumer.told() == [("training", "START")]
    await emission.service.ended(run, mirror=with_model())
    await emission.send()
    assert emission.consumer.told() == WHOLE
    for event in emission.consumer.events:
        check_event(event)
    (output,) = emission.consumer.events[-1]["outputs"]
    assert (output["namespace"], output["name"]) == ("s3://lake", "model")
    request = emission.consumer.requests[0]
    assert str(request.url) == URL
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["x-tenant"] == "a"
    await emission.send()
    assert len(emission.consumer.events) == len(WHOLE)
    behind = await emission.status()
    assert (behind["unread_events"], behind["waiting_runs"], behind["dead_runs"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "trouble",
    [lambda _: answered(503, "busy"), lambda _: answered(401), lambda _: answered(429), broken],
)
async def test_a_consumer_that_is_away_loses_nothing_and_is_left_alone(
    emission: Emission, trouble: Answer
) -> None:
    runs = [await emission.service.submitted(f"k{number}") for number in range(3)]
    for run in runs:
        await emission.service.ended(run)
    emission.consumer.answers = [trouble] * 100
    await emission.send()
    tried = len(emission.consumer.requests)
    assert 1 <= tried <= 3, "no more than were under way at once"
    assert emission.consumer.events == []
    behind = await emission.status()
    assert behind["waiting_runs"] == 3
    assert behind["failing_since"] is not None
    assert behind["last_error"]
    emission.now += 1.0
    await emission.worker.step()
    await emission.worker.drain()
    assert len(emission.consumer.requests) == tried + 1, "one run is tried at a time"
    emission.consumer.answers = []
    emission.now += 1.0
    for _ in range(5):
        await emission.send()
    for run in runs:
        assert emission.consumer.told(run) == WHOLE
    behind = await emission.status()
    assert (behind["waiting_runs"], behind["failing_since"], behind["last_error"]) == (0, None, None)


async def test_an_event_that_was_not_taken_is_the_next_to_be_sent(emission: Emission) -> None:
    run = await emission.service.submitted()
    await emission.service.ended(run)
    emission.consumer.answers = [lambda _: answered(201), lambda _: answered(201), broken]
    await emission.send()
    assert emission.consumer.told() == WHOLE[:2]
    # Another process goes on where this one was.
    emission.restart()
    await emission.send()
    assert emission.consumer.told() == WHOLE


async def test_what_the_consumer_refuses_is_set_aside_and_others_go_on(emission: Emission) -> None:
    bad = await emission.service.submitted("bad")
    await emission.service.ended(bad)
    good = await emission.service.submitted("good")
    await emission.service.ended(good)
    emission.consumer.refuses = lambda event: (
        event["eventType"] == "COMPLETE" and event["run"]["runId"] == bad["kfp_run_id"]
    )
    await emission.send()
    assert emission.consumer.told(bad) == WHOLE[:3]
    assert emission.consumer.told(good) == WHOLE
    behind = await emission.status()
    assert (behind["dead_runs"], behind["waiting_runs"], behind["failing_since"]) == (1, 0, None)
    (aside,) = (await emission.service.client.get("/api/v1/quarantine")).json()["items"]
    assert (aside["work"], aside["run_id"], aside["failures"]) == ("emit", bad["run_id"], 2)
    assert "answered 422: unknown field" in aside["reason"]
    emission.consumer.refuses = lambda event: False
    await emission.service.client.post(f"/api/v1/quarantine/{aside['number']}:release")
    await emission.send()
    assert emission.consumer.told(bad) == WHOLE
    assert (await emission.status())["dead_runs"] == 0


async def test_an_event_at_which_the_consumer_breaks_is_tried_ever_more_seldom(database: Database) -> None:
    settings = {"url": URL, "retry_seconds": 0.001, "longest_retry_seconds": 3600.0}
    async with harness(database, openlineage=settings) as service:
        emission = Emission(service)
        await emission.note()
        bad = await service.submitted("bad")
        emission.consumer.answers = [lambda _: answered(500, "broken by this one")] * 100
        await emission.send()
        await service.context.store.transact(_failing_for_an_hour)
        emission.now += 3600.0
        await emission.send()
        emission.consumer.answers = []
        good = await service.submitted("good")
        emission.now += 3600.0
        await emission.send()
        assert emission.consumer.told(good) == [("training", "START")]
        assert emission.consumer.told(bad) == [], "it is due again in half an hour"


async def test_after_patience_a_runs_events_are_dead_until_they_are_released(database: Database) -> None:
    impatient = {"url": URL, "patience_hours": 1e-9, "retry_seconds": 0.001}
    async with harness(database, openlineage=impatient) as service:
        emission = Emission(service)
        await emission.note()
        await service.submitted()
        emission.consumer.answers = [broken] * 100
        for _ in range(5):
            emission.now += 1000.0
            await emission.send()
        assert (await emission.status())["dead_runs"] == 1
        emission.consumer.answers = []
        (aside,) = (await service.client.get("/api/v1/quarantine")).json()["items"]
        await service.client.post(f"/api/v1/quarantine/{aside['number']}:release")
        emission.now += 1000.0
        await emission.send()
        assert emission.consumer.told() == [("training", "START")]


async def test_what_happened_while_nothing_was_sent_is_told_afterwards(
    emission: Emission, database: Database
) -> None:
    run = await emission.service.submitted()
    await emission.service.ended(run)
    await emission.service.sequencer.step()
    behind = await emission.status()
    assert behind["unread_events"] > 0
    emission.restart()
    await emission.send()
    assert emission.consumer.told() == WHOLE


async def test_a_run_that_failed_says_why(emission: Emission) -> None:
    run = await emission.service.submitted()
    await emission.service.ended(run, "FAILED")
    await emission.send()
    assert emission.consumer.told()[-1] == ("training", "FAIL")
    assert emission.consumer.events[-1]["run"]["facets"]["errorMessage"]["message"]


async def test_without_a_consumer_nothing_is_noted(service: Harness) -> None:
    run = await service.submitted()
    status = (await service.client.get("/api/v1/status")).json()
    assert status["openlineage"] is None
    facts = await service.context.store.read(lambda s: emissions.facts_of(s, UUID(run["run_id"])))
    assert facts is not None
    assert facts[1] == {}


def test_a_consumer_is_left_alone_for_a_growing_while_that_has_a_bound() -> None:
    now = 0.0
    circuit = Circuit(lambda: now)
    pauses = []
    for _ in range(8):
        circuit.note_away(ConsumerAway("away"), first=1.0, longest=10.0)
        pauses.append(circuit.held_seconds)
        circuit.note_away(ConsumerAway("away, told by another"), first=1.0, longest=10.0)
        assert circuit.held_seconds == pauses[-1]
        now += pauses[-1]
        assert circuit.held_seconds == 0
        assert circuit.is_probing
    assert pauses[0] < pauses[2] < pauses[-1] <= 10.0
    circuit.note_answer()
    assert not circuit.is_probing
    circuit.note_away(ConsumerAway("later", retry_after_seconds=7.0), first=1.0, longest=10.0)
    assert circuit.held_seconds == 7.0


def test_the_consumer_is_named_in_the_environment_or_the_file(tmp_path: Any) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text('[openlineage]\nurl = "http://marquez/lineage"\nat_once = 3\n')
    found = load_settings({"KFBRIDGE_OPENLINEAGE_TOKEN": "t"}, config_file=path).openlineage
    assert found is not None
    assert (found.url, found.at_once) == ("http://marquez/lineage", 3)
    assert found.token is not None
    found = load_settings({"KFBRIDGE_OPENLINEAGE_URL": "http://a/b"}).openlineage
    assert found is not None
    assert found.namespace == "kfp.{project}"
    with pytest.raises(SettingsError, match=r"only \{backend\} and \{project\}"):
        load_settings({"KFBRIDGE_OPENLINEAGE_URL": "http://a", "KFBRIDGE_OPENLINEAGE_NAMESPACE": "{team}"})
    assert load_settings({}).openlineage is None
