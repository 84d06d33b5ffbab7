"""Holds a claim for as long as the work on it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.lineage import leases
from bridge.lineage.errors import DatabaseUnavailable, FencedOut
from bridge.lineage.records import Claim
from bridge.service.store import Store

log = logging.getLogger(__name__)


@asynccontextmanager
async def kept(store: Store, claim: Claim, lease_seconds: float) -> AsyncIterator[None]:
    """Extend the claim again and again while the body runs; a lost one shows at the body's next write."""
    keeper = asyncio.create_task(_extend(store, claim, lease_seconds))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])


async def _extend(store: Store, claim: Claim, lease_seconds: float) -> None:
    while True:
        await asyncio.sleep(lease_seconds / 3)
        try:
            await store.transact(lambda s: leases.extend(s, claim, lease_seconds), repeatable=True)
        except FencedOut:
            return
        except DatabaseUnavailable as error:
            log.warning("claim not extended", extra={"run_id": claim.run.run_id, "error": str(error)})
