"""Old runs of a backend are imported: all that is wanted, once, and after everything that cannot wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from bridge.lineage.database import Database
from bridge.service.workers import history
from bridge.service.workers.history import HistoryImport
from tests.support.fake_kfp import API, FakeKfp
from tests.unit.service.harness import Harness, harness, mirror_of

PAGE = 3


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE_SIZE", PAGE)


def old_runs(kfp: FakeKfp, count: int, **fields: Any) -> list[UUID]:
    """Runs that ended a day apart, the newest first; the newest ended a day ago."""
    made = []
    for days in range(1, count + 1):
        ended = (kfp.now() - timedelta(days=days)).isoformat().replace("+00:00", "Z")
        kfp_run_id = kfp.add_foreign_run("SUCCEEDED", created_at=ended, finished_at=ended, **fields)
        kfp.mirrors[kfp_run_id] = mirror_of()
        made.append(kfp_run_id)
    return made


async def known(service: Harness) -> list[UUID]:
    return [run.kfp_run_id for run in await service.stored()]


async def status(service: Harness) -> dict[str, Any]:
    found: dict[str, Any] = (await service.client.get("/api/v1/status")).json()["backends"][0]["history"]
    return found


@pytest.fixture
async def crowded(database: Database) -> AsyncIterator[Harness]:
    """A service before a backend with ten old runs, whose sweeps have begun."""
    kfp = FakeKfp()
    old_runs(kfp, 10)
    async with harness(database, kfp=kfp) as service:
        await service.sweep()
        assert await known(service) == [], "the sweeps do not look that far back"
        yield service


async def test_old_runs_are_imported_the_newest_first_and_mirrored(crowded: Harness) -> None:
    importing = HistoryImport(crowded.context, crowded.backend)
    newest_first = list(crowded.kfp.runs)
    assert await importing.step() is not None
    assert [str(one) for one in await known(crowded)] == newest_first[:PAGE]
    told = await status(crowded)
    assert (told["seen"], told["total"], told["done"]) == (PAGE, 10, False)
    for _ in range(3):
        assert await importing.step() is not None
    assert await importing.step() is None
    assert [str(one) for one in await known(crowded)] == newest_first
    told = await status(crowded)
    assert (told["seen"], told["total"], told["done"]) == (10, 10, True)
    await crowded.mirror()
    for run in await crowded.stored():
        assert (run.phase.value, run.state.value, run.mirror.value) == ("ENDED", "SUCCEEDED", "COMPLETE")
    asked = len(crowded.kfp.requests)
    assert await HistoryImport(crowded.context, crowded.backend).step() is None
    assert len(crowded.kfp.requests) == asked, "what is done is not asked for again"


async def test_another_process_goes_on_where_one_died(crowded: Harness) -> None:
    for _ in range(10):
        # A process of its own for each page: nothing is remembered but what is stored.
        await HistoryImport(crowded.context, crowded.backend).step()
    assert len(await known(crowded)) == 10
    lists = crowded.kfp.requests.count(("GET", f"{API}/runs"))
    assert lists <= 2 + 10


@pytest.mark.parametrize(
    ("settings", "imported"),
    [
        ({"import_days": 4.5}, 4),
        ({"import_runs": 5}, 6),  # Whole pages.
        ({"import_days": 0}, 0),
        ({"import_runs": 0}, 0),
    ],
)
async def test_how_far_back_is_a_setting(database: Database, settings: dict[str, Any], imported: int) -> None:
    kfp = FakeKfp()
    old_runs(kfp, 10)
    async with harness(database, kfp=kfp, backend=settings) as service:
        await service.sweep()
        importing = HistoryImport(service.context, service.backend)
        for _ in range(10):
            await importing.step()
        assert len(await known(service)) == imported


async def test_a_page_waits_while_mirrors_are_owed(crowded: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_MIRRORS_OWED", 2)
    importing = HistoryImport(crowded.context, crowded.backend)
    await importing.step()
    await importing.step()
    assert len(await known(crowded)) == PAGE
    await crowded.mirror()
    await importing.step()
    assert len(await known(crowded)) == 2 * PAGE


async def test_a_page_waits_for_time_that_the_sweeps_leave(crowded: Harness) -> None:
    importing = HistoryImport(crowded.context, crowded.backend)
    await importing.step()
    importing._cost = 5.0
    crowded.backend.budget.spend(1000.0)
    asked = len(crowded.kfp.requests)
    assert await importing.step() == 5.0
    assert len(crowded.kfp.requests) == asked
    importing._asked_at -= 400 * 5.0
    await importing.step()
    assert len(await known(crowded)) == 2 * PAGE, "where the sweeps take all there is it gets a small part"


async def test_a_backend_that_is_away_or_forgot_its_tokens_is_asked_again(crowded: Harness) -> None:
    importing = HistoryImport(crowded.context, crowded.backend)
    await importing.step()
    crowded.kfp.down = True
    assert await importing.step() is not None
    crowded.kfp.down = False
    crowded.kfp.refuse("GET", f"{API}/runs", 400)
    assert await importing.step() is not None
    for _ in range(4):
        await importing.step()
    assert len(await known(crowded)) == 10


async def test_what_the_bridge_sent_stays_its_own(crowded: Harness) -> None:
    sent = await crowded.submitted()
    await crowded.ended(sent)
    importing = HistoryImport(crowded.context, crowded.backend)
    for _ in range(5):
        await importing.step()
    assert len(await known(crowded)) == 11
    run = await crowded.run(sent["run_id"])
    assert run["state"] == "SUCCEEDED"
    assert run["submission_key"] is not None


class SlowKfp(FakeKfp):
    """A server whose next list is on its way for as long as something else takes."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def handle(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle(request)
        meanwhile = self.meanwhile
        if meanwhile is not None and (request.method, request.url.path) == ("GET", f"{API}/runs"):
            self.meanwhile = None
            await meanwhile()
        return answer


async def test_a_run_that_ends_while_a_page_is_on_its_way_stays_ended(database: Database) -> None:
    kfp = SlowKfp()
    async with harness(database, kfp=kfp) as service:
        sent = await service.submitted()
        kfp.start(sent["kfp_run_id"])
        await service.sweep()

        async def end() -> None:
            await service.ended(sent)

        kfp.meanwhile = end
        await HistoryImport(service.context, service.backend, service.track_worker).step()
        assert kfp.meanwhile is None
        run = await service.run(sent["run_id"])
        assert (run["phase"], run["state"], run["revivals"]) == ("ENDED", "SUCCEEDED", 0)


async def test_pages_are_read_without_the_tasks_of_their_runs(database: Database) -> None:
    kfp = FakeKfp()
    old_runs(kfp, 2, run_details={"task_details": "not even tasks"})
    async with harness(database, kfp=kfp) as service:
        await service.sweep()
        await HistoryImport(service.context, service.backend).step()
        assert len(await known(service)) == 2


async def test_rows_that_are_no_runs_are_counted_and_set_aside(database: Database) -> None:
    kfp = FakeKfp()
    odd = old_runs(kfp, PAGE)[1]
    kfp.runs[str(odd)]["state"] = 7
    async with harness(database, kfp=kfp, quarantine_after_failures=1) as service:
        await service.sweep()
        await HistoryImport(service.context, service.backend, service.track_worker).step()
        told = await status(service)
        assert (told["seen"], told["total"], told["done"]) == (PAGE, PAGE, True)
        (aside,) = (await service.client.get("/api/v1/quarantine")).json()["items"]
        assert (aside["work"], aside["subject"]) == ("list", str(odd))
        assert len(await known(service)) == PAGE - 1


async def test_only_the_process_that_follows_the_backend_imports(crowded: Harness) -> None:
    crowded.backend.leads = False
    assert await HistoryImport(crowded.context, crowded.backend).step() is not None
    assert await known(crowded) == []


async def test_a_pipeline_that_is_gone_is_asked_for_once(database: Database) -> None:
    kfp = FakeKfp()
    gone = {"pipeline_id": "p", "pipeline_version_id": "v"}
    old_runs(kfp, 2 * PAGE, pipeline_version_reference=gone)
    async with harness(database, kfp=kfp) as service:
        await service.sweep()
        importing = HistoryImport(service.context, service.backend, service.track_worker)
        for _ in range(3):
            await importing.step()
        assert {run.pipeline.name for run in await service.stored()} == {"unknown"}
    assert kfp.requests.count(("GET", f"{API}/pipelines/p/versions/v")) == 1
