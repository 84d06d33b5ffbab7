"""Versions registered without a run, aliases of them, and submissions that ask by alias."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bridge.client.api import AsyncBridgeClient
from bridge.client.errors import ProblemError
from tests.unit.service.harness import SPEC, Harness

# Another pipeline of the same name: another image makes another digest.
OTHER = SPEC.replace("image: python:3.11", "image: python:3.12")
PROD = "/api/v1/pipelines/training/aliases/prod"


async def register(service: Harness, spec: str, version: str | None = None) -> httpx.Response:
    return await service.client.post("/api/v1/pipelines", json={"spec": spec, "version": version})


async def move(service: Harness, **to: str) -> dict[str, Any]:
    answer = await service.client.put(PROD, json=to)
    assert answer.status_code == 200, answer.text
    moved: dict[str, Any] = answer.json()
    return moved


async def by_alias(service: Harness, key: str, alias: str = "prod", **body: Any) -> dict[str, Any]:
    pipeline = {"name": "training", "alias": alias}
    return await service.submitted(key, spec=None, pipeline=pipeline, **body)


def slug_of(answer: httpx.Response) -> str:
    kind: str = answer.json()["type"]
    return kind.rpartition(":")[2]


async def test_a_version_is_registered_once_and_runs_nothing(service: Harness) -> None:
    assert OTHER != SPEC
    first = await register(service, SPEC, "v1")
    assert first.status_code == 201
    assert (first.json()["name"], first.json()["version_name"]) == ("training", "v1")
    assert (await register(service, SPEC, "v1")).status_code == 200
    taken = await register(service, OTHER, "v1")
    assert (taken.status_code, slug_of(taken)) == (422, "invalid-request")
    assert await service.stored() == []


async def test_the_run_records_the_digest_that_the_alias_meant(service: Harness) -> None:
    old = (await register(service, SPEC, "v1")).json()["digest"]
    new = (await register(service, OTHER)).json()["digest"]
    assert (await move(service, version="v1"))["previous_digest"] is None
    first = await by_alias(service, "a")
    moved = await move(service, digest=new)
    assert (moved["digest"], moved["previous_digest"], moved["version_name"]) == (new, old, None)
    second = await by_alias(service, "b")
    assert first["pipeline"] == {
        "name": "training",
        "digest": old,
        "version_name": "v1",
        "alias": "prod",
    }
    assert (second["pipeline"]["digest"], second["pipeline"]["version_name"]) == (new, None)
    again = await service.submit("a", spec=None, pipeline={"name": "training", "alias": "prod"})
    assert again.json()["run_id"] == first["run_id"]


async def test_a_later_try_of_a_failed_run_gets_what_the_alias_means_by_then(service: Harness) -> None:
    await register(service, SPEC, "v1")
    new = (await register(service, OTHER, "v2")).json()["digest"]
    await move(service, version="v1")
    run = await by_alias(service, "a")
    await service.ended(run, "FAILED")
    await move(service, version="v2")
    retried = await by_alias(service, "a", origin={"try_number": 2})
    assert (retried["attempt"], retried["pipeline"]["digest"]) == (2, new)


async def test_where_no_alias_has_the_name_the_version_that_has_it_is_meant(service: Harness) -> None:
    old = (await register(service, SPEC, "v1")).json()["digest"]
    await register(service, OTHER, "v2")
    assert (await by_alias(service, "a", "v1"))["pipeline"]["digest"] == old
    both = await service.client.put("/api/v1/pipelines/training/aliases/v1", json={"version": "v2"})
    assert slug_of(both) == "invalid-request"
    await move(service, version="v1")
    assert slug_of(await register(service, OTHER, "prod")) == "invalid-request"


async def test_what_caching_makes_of_a_version_is_not_the_newest_one(service: Harness) -> None:
    digest = (await register(service, SPEC, "v1")).json()["digest"]
    await move(service, version="v1")
    switched = await by_alias(service, "a", caching=False)
    assert switched["pipeline"]["digest"] != digest
    assert (await by_alias(service, "b"))["pipeline"]["digest"] == digest
    newest = await service.submitted("c", spec=None, pipeline={"name": "training"})
    named = await service.submitted("d", spec=None, pipeline={"name": "training", "version": "v1"})
    assert newest["pipeline"]["digest"] == named["pipeline"]["digest"] == digest


@pytest.mark.parametrize(
    ("alias", "body", "slug"),
    [
        ("prod", {}, "invalid-request"),
        ("prod", {"version": "v1", "digest": "a" * 64}, "invalid-request"),
        ("prod", {"digest": "short"}, "invalid-request"),
        ("-prod", {"version": "v1"}, "invalid-request"),
        ("prod", {"version": "v9"}, "unknown-pipeline"),
        ("prod", {"digest": "a" * 64}, "unknown-pipeline"),
        ("prod", {"verison": "v1"}, "invalid-request"),
    ],
)
async def test_what_an_alias_cannot_mean_is_refused(
    service: Harness, alias: str, body: dict[str, str], slug: str
) -> None:
    await register(service, SPEC, "v1")
    answer = await service.client.put(f"/api/v1/pipelines/training/aliases/{alias}", json=body)
    assert (answer.status_code, slug_of(answer)) == (422, slug)


@pytest.mark.parametrize(
    "pipeline",
    [
        {"name": "training", "alias": "prod", "version": "v1"},
        {"name": "training", "aliass": "prod"},
        {"name": "training", "alias": "staging"},
        {"name": "nobody", "alias": "prod"},
    ],
)
async def test_a_submission_by_a_name_that_means_nothing_is_refused(
    service: Harness, pipeline: dict[str, str]
) -> None:
    await register(service, SPEC, "v1")
    await move(service, version="v1")
    answer = await service.submit(spec=None, pipeline=pipeline)
    assert answer.status_code == 422
    assert slug_of(answer) == (
        "unknown-pipeline" if len(pipeline) == 2 and "alias" in pipeline else "invalid-request"
    )
    assert await service.stored() == []


async def test_text_that_a_template_rendered_is_read_as_the_registered_pipeline_declares(
    service: Harness,
) -> None:
    await register(service, SPEC, "v1")
    named = {"spec": None, "pipeline": {"name": "training", "alias": "v1"}, "arguments": {"epochs": "3"}}
    refused = await service.submit("a", **named)
    assert slug_of(refused) == "invalid-arguments"
    run = await service.submitted("b", **named, text_arguments=["epochs"])
    assert run["arguments"] == {"epochs": 3}
    wrong = {**named, "arguments": {"epochs": "three"}}
    assert slug_of(await service.submit("c", **wrong, text_arguments=["epochs"])) == "invalid-arguments"


async def test_the_client_registers_moves_lists_and_removes(service: Harness) -> None:
    transport = httpx.ASGITransport(service.app)
    async with AsyncBridgeClient("http://bridge", transport=transport) as client:
        version = await client.register_pipeline(SPEC, version="v1", project="team a")
        moved = await client.set_alias("training", "prod", digest=version.digest, project="team a")
        assert (moved.project, moved.digest) == ("team a", version.digest)
        assert await client.aliases("training", project="team a") == [moved]
        assert await client.aliases("training") == []
        assert (await client.alias("training", "prod", project="team a")).version_name == "v1"
        await client.remove_alias("training", "prod", project="team a")
        with pytest.raises(ProblemError, match="no alias prod"):
            await client.alias("training", "prod", project="team a")
