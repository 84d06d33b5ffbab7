"""The one interface to a backend's metadata: of published KFP (``mlmd``), of the coming one (``native``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from bridge.domain.lineage import RunMirror
from bridge.kfp_api.messages import TaskDetail


@dataclass(frozen=True, slots=True)
class Changes:
    """Which runs' metadata changed since a watermark.

    ``newest_ms`` is the newest change seen, by the backend's clock in milliseconds since the epoch,
    and at least the watermark asked for: what to ask from the next time. Changes may be told twice.
    """

    kfp_run_ids: frozenset[UUID]
    newest_ms: int


class MetadataReader(Protocol):
    """Reads what a backend keeps about runs beside their states. All errors are ``KfpError``."""

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """Everything the backend holds of a run, ``tasks`` being the run's REST task details.

        ``None`` means that the metadata knows nothing of the run: not begun, or expired. An empty
        mirror means that it knows the run and the run has done nothing yet.
        """
        ...

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        """As ``read_run`` for several small runs with few requests, each with its REST task details.

        A run that is left out could not be read together with the others: it is to be read alone. All of
        them are where the backend has no way to do that.
        """
        ...

    async def changed_since(self, since_ms: int) -> Changes | None:
        """The runs whose metadata changed at ``since_ms`` (epoch, backend's clock) or later.

        ``None`` means that the backend cannot say, and runs have to be read one by one.
        """
        ...
