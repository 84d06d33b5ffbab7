"""Chooses between the two shapes of metadata by asking the server which one it has."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from uuid import UUID

from bridge.domain.lineage import RunMirror
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpAuthError, KfpError
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metadata import Changes, MetadataReader
from bridge.kfp_api.mlmd import MlmdReader
from bridge.kfp_api.native import NativeReader, serves_native

log = logging.getLogger(__name__)

Shape = Literal["mlmd", "native"]
# After a doubtful answer the server is asked once more what it has, but not more often than this.
ASK_AGAIN_SECONDS = 10.0


class ChoosingReader:
    """The ``MetadataReader`` of a server that may be of either kind, and may be upgraded at any time.

    The server is asked before the first reading, and again when a reading fails or finds nothing: then
    another shape may have taken its place. ``shape`` holds it to one; ``metadata_url`` is where MLMD is,
    if not beside the API. Errors are those of the reader that was chosen, and of asking.
    """

    def __init__(
        self,
        client: KfpClient,
        *,
        metadata_url: str | None = None,
        shape: Shape | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._readers: dict[Shape, MetadataReader] = {
            "mlmd": MlmdReader(client, base_url=metadata_url),
            "native": NativeReader(client),
        }
        self._fixed = shape is not None
        self._shape = shape
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    @property
    def shape(self) -> Shape | None:
        """Which shape the server was last seen to have; ``None`` before it was asked."""
        return self._shape

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """See ``MetadataReader``."""
        shape = await self._chosen()
        try:
            mirror = await self._readers[shape].read_run(kfp_run_id, tasks)
        except KfpError as error:
            other = await self._other_than(shape, error)
            if other is None:
                raise
            return await self._readers[other].read_run(kfp_run_id, tasks)
        if mirror is None and (other := await self._other_than(shape, None)) is not None:
            return await self._readers[other].read_run(kfp_run_id, tasks)
        return mirror

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        """See ``MetadataReader``. What it means when that fails shows when they are read one by one."""
        return await self._readers[await self._chosen()].read_runs(runs)

    async def changed_since(self, since_ms: int) -> Changes | None:
        """See ``MetadataReader``."""
        shape = await self._chosen()
        try:
            return await self._readers[shape].changed_since(since_ms)
        except KfpError as error:
            other = await self._other_than(shape, error)
            if other is None:
                raise
            return await self._readers[other].changed_since(since_ms)

    async def _chosen(self) -> Shape:
        async with self._asking:
            return self._shape or await self._ask()

    async def _other_than(self, shape: Shape, error: KfpError | None) -> Shape | None:
        """The shape that the server has now, if it is another one; ``None`` also while that is unknown."""
        # A refused token and a server that does not answer say nothing about what it has.
        if self._fixed or isinstance(error, KfpAuthError) or (error is not None and error.retryable):
            return None
        async with self._asking:
            if self._clock() - self._asked_at >= ASK_AGAIN_SECONDS:
                try:
                    await self._ask()
                except KfpError:
                    log.debug("the server does not say which metadata it has", exc_info=True)
                    return None
            return None if self._shape == shape else self._shape

    async def _ask(self) -> Shape:
        shape: Shape = "native" if await serves_native(self._client) else "mlmd"
        self._asked_at = self._clock()
        if shape != self._shape:
            log.info("metadata shape", extra={"url": self._client.base_url, "shape": shape})
        self._shape = shape
        return shape
