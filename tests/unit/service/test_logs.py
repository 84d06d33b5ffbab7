"""A task's log: its end, what comes after a place in it, and as it grows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from bridge.lineage.reading import tasks_of
from bridge.service import tasklogs
from bridge.service.access.caller import NOBODY, Caller
from bridge.service.problems import ProblemError
from bridge.service.routes.common import stored_run
from tests.support.fake_kfp import API
from tests.unit.service.harness import Harness

TEXT = "reading flights\n" * 5


async def logged(service: Harness, text: str = TEXT) -> str:
    """Where the log of a task is that has ended."""
    run = await service.ended(await service.submitted())
    service.kfp.logs["pod-train"] = text
    return f"/api/v1/runs/{run['run_id']}/logs"


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, TEXT),
        ({"task": "train"}, TEXT),
        ({"skip": 0}, TEXT),
        ({"skip": 16}, TEXT[16:]),
        ({"skip": 1000}, ""),
        ({"follow": True}, TEXT),
        ({"follow": True, "skip": 20}, TEXT[20:]),
    ],
)
async def test_a_log_is_given_from_where_it_is_wanted(
    service: Harness, params: dict[str, Any], told: str
) -> None:
    answer = await service.client.get(await logged(service), params=params)
    assert (answer.status_code, answer.text) == (200, told)
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_part_of_a_long_log_is_a_mebibyte(service: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasklogs, "MOST_LOG_BYTES", 32)
    path = await logged(service)
    assert (await service.client.get(path)).text == TEXT[-32:]
    assert (await service.client.get(path, params={"skip": 8})).text == TEXT[8:40]
    assert (await service.client.get(path, params={"follow": True})).text == TEXT


async def test_a_log_that_is_gone_cannot_be_followed(service: Harness) -> None:
    path = await logged(service)
    service.kfp.logs.clear()
    gone = await service.client.get(path, params={"follow": True})
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:kfbridge:problem:not-found")
    assert (await service.client.get(path, params={"skip": 3})).text == ""


async def test_a_backend_that_is_away_says_so(service: Harness) -> None:
    path = await logged(service)
    service.kfp.down = True
    for params in ({}, {"skip": 1}, {"follow": True}):
        answer = await service.client.get(path, params=params)
        assert answer.status_code == 503, params
        assert answer.json()["retryable"] is True


async def test_no_more_are_followed_than_there_is_room_for(service: Harness) -> None:
    path = await logged(service)
    service.context.followed_logs = tasklogs.MOST_FOLLOWED
    refused = await service.client.get(path, params={"follow": True})
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:kfbridge:problem:overloaded")
    service.context.followed_logs = 0
    await service.client.get(path, params={"follow": True})
    assert service.context.followed_logs == 0
    assert service.kfp.requests.count(("GET", f"{API}/runs")) >= 1


async def test_a_followed_log_ends_with_the_session_of_who_follows(service: Harness) -> None:
    path = await logged(service)
    run = await stored_run(service.context, Caller(NOBODY), UUID(path.split("/")[4]))
    found = await service.context.store.read(lambda s: tasks_of(s, run.run_id))
    (task,) = [one for one in found if one.pod_name]

    async def nobody() -> None:
        raise ProblemError("unauthorized", "the session has ended")

    backend = service.context.backends[run.backend]
    followed = await tasklogs.follow(service.context, backend, run, task, 0, who_asks=nobody)
    assert [piece async for piece in followed] == []
    assert service.context.followed_logs == 0


async def _known() -> None:
    """Whoever follows is known as long as they do."""


async def test_a_log_that_nobody_reads_on_is_let_go(service: Harness) -> None:
    path = await logged(service)
    run = await stored_run(service.context, Caller(NOBODY), UUID(path.split("/")[4]))
    (task,) = [
        one for one in await service.context.store.read(lambda s: tasks_of(s, run.run_id)) if one.pod_name
    ]
    backend = service.context.backends[run.backend]
    followed = await tasklogs.follow(service.context, backend, run, task, 0, who_asks=_known)
    assert service.context.followed_logs == 1
    # As of an answer that its reader left before its first byte.
    await followed.aclose()
    assert service.context.followed_logs == 0
