"""The reader that asks a server which metadata it has, and notices when that changes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import pytest

from bridge.domain.lineage import RunMirror
from bridge.kfp_api import errors, grpcweb
from bridge.kfp_api.choosing import ASK_AGAIN_SECONDS, ChoosingReader, Shape
from bridge.kfp_api.client import API, KfpClient
from bridge.kfp_api.metadata import Changes
from bridge.kfp_api.retry import RetryPolicy
from tests.unit.kfp_api.fake_mlmd import FakeMlmd
from tests.unit.kfp_api.fake_native import FakeNative

RUN = UUID("11111111-2222-3333-4444-555555555555")
PROBE = f"{API}/artifact_tasks"


@dataclass
class Server:
    """A server of either shape, which may be exchanged for the other; ``failing`` answers 503."""

    shape: Shape = "mlmd"
    failing: bool = False
    status: int = 503
    mlmd: FakeMlmd = field(default_factory=FakeMlmd)
    native: FakeNative = field(default_factory=FakeNative)
    probes: int = 0
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.mlmd.run(RUN)
        self.native.task("r", kind="ROOT")

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == PROBE and "run_ids" not in request.url.params:
            self.probes += 1
        if self.failing:
            return httpx.Response(self.status, json={"message": "no"})
        grpc = request.url.path.startswith("/ml_metadata")
        if grpc is (self.shape == "native"):
            return httpx.Response(404, json={"code": 5, "message": "Not Found"})
        return await (self.mlmd if grpc else self.native).handle(request)

    def reader(self, shape: Shape | None = None) -> ChoosingReader:
        async def no_wait(seconds: float) -> None:
            return None

        client = KfpClient(
            "http://kfp.example",
            transport=httpx.MockTransport(self.handle),
            retry=RetryPolicy(attempts=1),
            sleep=no_wait,
        )
        return ChoosingReader(client, shape=shape, clock=lambda: self.now)


@pytest.mark.parametrize("shape", ["mlmd", "native"])
async def test_the_server_is_asked_once(shape: Shape) -> None:
    server = Server(shape)
    reader = server.reader()
    assert reader.shape is None
    found = await asyncio.gather(*(reader.read_run(RUN, ()) for _ in range(5)))
    assert all(mirror is not None for mirror in found)
    assert (reader.shape, server.probes) == (shape, 1)
    changes = await reader.changed_since(5)
    assert changes == (None if shape == "native" else Changes(frozenset(), 5))
    assert server.probes == 1


@pytest.mark.parametrize("shape", ["mlmd", "native"])
async def test_a_shape_that_is_set_is_not_asked_for(shape: Shape) -> None:
    server = Server(shape)
    assert await server.reader(shape).read_run(RUN, ()) is not None
    server.shape = "native" if shape == "mlmd" else "mlmd"
    with pytest.raises(errors.KfpNotFound):
        await server.reader(shape).read_run(RUN, ())
    assert server.probes == 0


@pytest.mark.parametrize(("before", "after"), [("mlmd", "native"), ("native", "mlmd")])
async def test_an_upgrade_is_noticed_within_the_call(before: Shape, after: Shape) -> None:
    server = Server(before)
    reader = server.reader()
    assert await reader.read_run(RUN, ()) is not None
    server.shape = after
    server.now += ASK_AGAIN_SECONDS
    assert await reader.read_run(RUN, ()) is not None
    assert (reader.shape, server.probes) == (after, 2)


async def test_an_upgrade_is_noticed_when_asking_for_changes() -> None:
    server = Server("mlmd")
    reader = server.reader()
    assert await reader.changed_since(5) == Changes(frozenset(), 5)
    server.shape = "native"
    server.now += ASK_AGAIN_SECONDS
    assert await reader.changed_since(5) is None


async def test_metadata_that_stays_behind_after_an_upgrade_is_left() -> None:
    """MLMD may still answer, but knows nothing of new runs."""
    server = Server("mlmd")
    reader = server.reader()
    assert await reader.read_run(RUN, ()) == RunMirror()
    server.mlmd.contexts.clear()
    assert await reader.read_run(RUN, ()) is None
    assert server.probes == 1
    server.now += ASK_AGAIN_SECONDS
    assert await reader.read_run(RUN, ()) is None
    assert server.probes == 2


async def test_it_does_not_ask_again_and_again() -> None:
    server = Server("mlmd")
    reader = server.reader()
    await reader.read_run(RUN, ())
    server.mlmd.refusals["GetContextByTypeAndName"] = (grpcweb.INVALID_ARGUMENT, "no")
    for _ in range(5):
        with pytest.raises(errors.KfpInvalid):
            await reader.read_run(RUN, ())
    assert server.probes == 1
    server.now += ASK_AGAIN_SECONDS
    with pytest.raises(errors.KfpInvalid):
        await reader.read_run(RUN, ())
    assert server.probes == 2


@pytest.mark.parametrize("status", [401, 503])
async def test_a_server_in_trouble_keeps_its_shape(status: int) -> None:
    server = Server("native", status=status)
    reader = server.reader()
    await reader.read_run(RUN, ())
    server.failing = True
    server.now += ASK_AGAIN_SECONDS
    with pytest.raises((errors.KfpServerError, errors.KfpAuthError)):
        await reader.read_run(RUN, ())
    assert (reader.shape, server.probes) == ("native", 1)


async def test_a_server_that_does_not_say_is_asked_at_the_next_reading() -> None:
    server = Server("native", failing=True)
    reader = server.reader()
    with pytest.raises(errors.KfpServerError):
        await reader.read_run(RUN, ())
    assert reader.shape is None
    server.failing = False
    assert await reader.read_run(RUN, ()) is not None
    assert reader.shape == "native"
