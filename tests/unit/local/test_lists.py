"""Every list by every key that KFP has for it: filtered with every operation, sorted, page by page."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_app import API, LocalApp, local_app, one_task

NAMES = ("alpha", "Beta", "gamma 1")
_ID, _NAME = ("id",), ("name", "display_name", "description")
# From KFP's own field maps, backend/src/apiserver/model/*.go.
KEYS = {
    "runs": (
        *("run_id", "recurring_run_id", "experiment_id", "pipeline_id", "namespace", "storage_state"),
        *("state", "status", "state_history", "created_at", "scheduled_at", "finished_at"),
        *_ID,
        *_NAME,
    ),
    "recurringruns": ("recurring_run_id", "created_at", "updated_at", *_ID, *_NAME),
    "experiments": (
        *("experiment_id", "namespace", "storage_state", "created_at", "last_run_created_at"),
        *_ID,
        *_NAME,
    ),
    "pipelines": ("pipeline_id", "namespace", "created_at", *_ID, *_NAME),
    "versions": ("pipeline_version_id", "pipeline_id", "created_at", *_ID, *_NAME),
}
ITEMS = {"recurringruns": "recurringRuns", "versions": "pipeline_versions"}
TIME = "2026-03-01T12:00:00Z"


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalApp]:
    async with local_app(tmp_path) as started:
        yield started


async def filled(local: LocalApp, resource: str) -> str:
    """The path of a list that holds one thing of each name."""
    spec = one_task()
    if resource in ("pipelines", "versions"):
        ids = []
        for name in NAMES:
            body = {"pipeline": {"name": name}, "pipeline_version": {"pipeline_spec": spec}}
            ids.append((await local.client.post(f"{API}/pipelines/create", json=body)).json()["pipeline_id"])
        if resource == "pipelines":
            return f"{API}/pipelines"
        # The version that came with the pipeline has its name.
        for name in NAMES[1:]:
            body = {"name": name, "pipeline_spec": spec}
            await local.client.post(f"{API}/pipelines/{ids[0]}/versions", json=body)
        return f"{API}/pipelines/{ids[0]}/versions"
    for name in NAMES:
        body = {"display_name": name, "description": f"about {name}"}
        if resource != "experiments":
            body |= {"pipeline_spec": spec}
        if resource == "recurringruns":
            body |= {"max_concurrency": 1}
        answer = await local.client.post(f"{API}/{resource}", json=body)
        assert answer.status_code == 200, answer.text
    return f"{API}/{resource}"


async def total(local: LocalApp, path: str, **predicate: Any) -> int:
    params = {"filter": json.dumps({"predicates": [predicate]})}
    answer = await local.client.get(path, params=params)
    assert answer.status_code == 200, (predicate, answer.text)
    return int(answer.json().get("total_size", 0))


@pytest.mark.parametrize("resource", KEYS)
async def test_every_operation_on_every_key(local: LocalApp, resource: str) -> None:
    path = await filled(local, resource)
    everything = (await local.client.get(path)).json()["total_size"]
    for key in KEYS[resource]:
        by_time = key.endswith("_at")
        value = {"timestamp_value": TIME} if by_time else {"string_value": "no such thing"}
        assert await total(local, path, key=key, operation="EQUALS", **value) == 0
        assert await total(local, path, key=key, operation="NOT_EQUALS", **value) == everything
        counts = [
            await total(local, path, key=key, operation=operation, **value)
            for operation in ("GREATER_THAN", "LESS_THAN_EQUALS", "GREATER_THAN_EQUALS", "LESS_THAN")
        ]
        assert counts[0] + counts[1] == counts[2] + counts[3] == everything
        some = {"long_values": {"values": ["1"]}} if by_time else {"string_values": {"values": ["1", "2"]}}
        assert await total(local, path, key=key, operation="IN", **some) == 0
        if not by_time:
            assert await total(local, path, key=key, operation="IS_SUBSTRING", string_value="\n") == 0
    assert await total(local, path, key="name", operation="EQUALS", string_value="BETA") == 1
    both = {"values": ["beta", "GAMMA 1"]}
    assert await total(local, path, key="display_name", operation="IN", string_values=both) == 2
    unknown = {"predicates": [{"key": "colour", "operation": "EQUALS", "string_value": "red"}]}
    refused = await local.client.get(path, params={"filter": json.dumps(unknown)})
    assert (refused.status_code, refused.json()["code"]) == (400, 3)


@pytest.mark.parametrize("resource", KEYS)
async def test_every_order_page_by_page(local: LocalApp, resource: str) -> None:
    path = await filled(local, resource)
    items = ITEMS.get(resource, resource)
    whole = (await local.client.get(path)).json()[items]
    for key in KEYS[resource]:
        for order in ("", " asc", " desc"):
            sort_by, token, found = f"{key}{order}", "", []
            while True:
                params = {"page_size": "1", "sort_by": sort_by, "page_token": token}
                page = (await local.client.get(path, params=params)).json()
                assert page["total_size"] == len(whole)
                found += page[items]
                token = page.get("next_page_token", "")
                if not token:
                    break
                assert len(found) < len(whole)
            at_once = (await local.client.get(path, params={"sort_by": sort_by})).json()[items]
            assert [one["created_at"] for one in found] == [one["created_at"] for one in at_once]
            assert sorted(map(name_of, found)) == sorted(map(name_of, whole))
            if key in ("name", "display_name"):
                names = [name_of(one) for one in found]
                assert names == sorted(names, reverse="desc" in order)


def name_of(one: dict[str, Any]) -> str:
    return str(one["display_name"])


async def test_page_token_sql_injection_a_token_is_data(tmp_path: Path) -> None:
    injection = "' OR 1=1; DROP TABLE runs; --"
    async with local_app(tmp_path) as local:
        for _ in range(3):
            await local.create_run()
        first = (await local.client.get(f"{API}/runs", params={"page_size": 1})).json()
        told = json.loads(base64.b64decode(first["next_page_token"]))
        for name in told:
            token = base64.b64encode(json.dumps({**told, name: injection}).encode()).decode()
            answer = await local.client.get(f"{API}/runs", params={"page_size": 1, "page_token": token})
            assert answer.status_code in (200, 400), answer.text
            assert len(answer.json().get("runs", [])) <= 1
        for params in ({"sort_by": injection}, {"filter": injection}, {"namespace": injection}):
            assert (await local.client.get(f"{API}/runs", params=params)).status_code < 500
        assert (await local.client.get(f"{API}/runs")).json()["total_size"] == 3
