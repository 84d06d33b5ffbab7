"""What a backend tells of runs that are to be mirrored: of many small ones with a few requests.

A list by ids gives the runs with their task details, and the metadata of those runs is read together. What
does not fit into that, a large run or a server that has no such answers, is asked about run by run.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from uuid import UUID

from bridge.domain.lineage import Run, RunMirror
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpBadAnswer, KfpError, KfpInvalid
from bridge.kfp_api.http import counting_seconds
from bridge.kfp_api.messages import TaskDetail
from bridge.service.backends import Backend
from bridge.service.grouping import Grouped
from bridge.service.workers.backoff import backoff_seconds

log = logging.getLogger(__name__)

# Runs that are asked about together: their ids stand in a URL, of which gateways take 8 kB.
TOGETHER = 64
# A run with more tasks than this is read alone, page by page.
_MOST_TASKS = 100
# A list that is longer holds large runs.
_MOST_LIST_BYTES = 8 * 1024 * 1024
# A list is dear to KFP: it is asked for where it costs no more than asking about each run, at so much each.
_SECONDS_OF_ONE = 0.01
_LEAST_LISTED = 4
# Without knowing what a list costs there, it is tried for so many runs.
_LEAST_TRIED = 20
# A list that was too dear, or failed, is tried again after so many times what it took, one that carried no
# tasks after this time. One that was refused or made no sense may only have been cut: soon, then seldom.
_AGAIN_FACTOR = 20.0
_AGAIN_SECONDS = 600.0
_FIRST_AGAIN_SECONDS = 5.0


class Readings:
    """Reads from one backend; used from one event loop."""

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        self._list: Grouped[Run, messages.Run | None] = Grouped(self._listed, most=TOGETHER)
        self._metadata: Grouped[tuple[UUID, Sequence[TaskDetail]], RunMirror | None] = Grouped(
            self._read_together, most=TOGETHER
        )
        self._list_seconds: float | None = None
        self._no_list_before = 0.0
        self._senseless = 0

    async def small_run(self, run: Run) -> messages.Run | None:
        """The run with its few task details, from a list of many; ``None``: it has to be asked for alone."""
        return await self._list(run)

    async def mirror(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """As ``MetadataReader.read_run``. Raises ``KfpError``."""
        if len(tasks) <= _MOST_TASKS:
            found = await self._metadata((kfp_run_id, tasks))
            if found is not None:
                return found
        return await self._backend.reader.read_run(kfp_run_id, tasks)

    async def _listed(self, wanted: Sequence[Run]) -> list[messages.Run | None]:
        by_namespace: defaultdict[str | None, list[UUID]] = defaultdict(list)
        for run in wanted:
            by_namespace[run.namespace].append(run.kfp_run_id)
        found: dict[str, messages.Run] = {}
        for namespace, ids in by_namespace.items():
            if self._may_list(len(ids)):
                found |= await self._list_of(ids, namespace)
        return [found.get(str(run.kfp_run_id)) for run in wanted]

    def _may_list(self, count: int) -> bool:
        if count < _LEAST_LISTED or self._clock() < self._no_list_before:
            return False
        cost = self._backend.list_seconds if self._list_seconds is None else self._list_seconds
        return count >= _LEAST_TRIED if cost is None else cost <= count * _SECONDS_OF_ONE

    async def _list_of(self, ids: Sequence[UUID], namespace: str | None) -> dict[str, messages.Run]:
        try:
            with counting_seconds() as spent:
                listed = await self._backend.client.get_runs(
                    ids, namespace=namespace, max_bytes=_MOST_LIST_BYTES
                )
        except KfpError as error:
            log.info("runs are read one by one", extra={"backend": self._backend.name, "error": str(error)})
            if isinstance(error, (KfpInvalid, KfpBadAnswer)):
                again = backoff_seconds(
                    self._senseless + 1, first=_FIRST_AGAIN_SECONDS, longest=_AGAIN_SECONDS
                )
                self._senseless += 1
            else:
                # It may have taken KFP long.
                again = max(1.0, _AGAIN_FACTOR * spent.seconds)
            self._no_list_before = self._clock() + max(error.retry_after_seconds or 0.0, again)
            return {}
        self._senseless = 0
        self._list_seconds = spent.seconds
        if not any(run.task_details for run in listed):
            self._no_list_before = self._clock() + _AGAIN_SECONDS
        elif spent.seconds > len(ids) * _SECONDS_OF_ONE:
            self._list_seconds = None
            self._no_list_before = self._clock() + _AGAIN_FACTOR * spent.seconds
        return {run.run_id: run for run in listed if run.run_id and 0 < len(run.task_details) <= _MOST_TASKS}

    async def _read_together(
        self, wanted: Sequence[tuple[UUID, Sequence[TaskDetail]]]
    ) -> list[RunMirror | None]:
        if len(wanted) == 1:
            return [None]
        try:
            found = await self._backend.reader.read_runs(dict(wanted))
        except KfpError as error:
            facts = {"backend": self._backend.name, "error": str(error)}
            log.info("metadata is read run by run", extra=facts)
            return [None] * len(wanted)
        except Exception:
            # Which of them it was shows when each is read alone.
            log.info("metadata is read run by run", extra={"backend": self._backend.name}, exc_info=True)
            return [None] * len(wanted)
        return [found.get(kfp_run_id) for kfp_run_id, _ in wanted]
