"""The part of the client that asks what ran and what came of it, and that names pipelines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel

from bridge.client import calls
from bridge.client.calls import RunId
from bridge.client.comparison import CompareModel
from bridge.client.costs import CostModel, RunCostModel
from bridge.client.errors import BridgeBadAnswer
from bridge.client.history import ArtifactBrief, PipelineDetailModel, TrendModel
from bridge.client.lineage import ExplainModel, LineageGraphModel
from bridge.client.models import ArtifactModel, Page, PipelineAliasModel, PipelineModel
from bridge.client.oncall import OnCallModel
from bridge.client.wire import Call

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)
# More than this, and the bridge sends them round in a circle.
MOST_PAGES = 10_000


class HistoryCalls(ABC):
    """What ``AsyncBridgeClient`` can ask of the history."""

    url: str

    @abstractmethod
    async def _exchange(self, call: Call[T]) -> T:
        """The answer to one request."""

    async def explain(self, run_id: RunId) -> ExplainModel:
        """Which DagRun, data, parameters, code and environment made this run, and what came out."""
        return await self._exchange(calls.explain(run_id))

    async def compare(self, *run_ids: RunId) -> CompareModel:
        """Two to five runs beside each other: what differs of parameters, metrics, pipeline, data …"""
        return await self._exchange(calls.compare(run_ids))

    async def list_artifacts(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Any
    ) -> Page[ArtifactBrief]:
        """One page of all artifacts, newest first; the filters are those of ``GET /artifacts``."""
        return await self._exchange(calls.list_artifacts(limit, cursor, filters))

    async def artifact(self, artifact_id: UUID | str) -> ArtifactModel:
        """One artifact by its id."""
        return await self._exchange(calls.artifact(artifact_id))

    async def lineage(
        self,
        node: UUID | str,
        *,
        direction: Literal["up", "down", "both"] = "both",
        depth: int | None = None,
        nodes: int | None = None,
    ) -> LineageGraphModel:
        """What a node came from and what came of it. The node is an artifact's id, ``run:<run_id>``, or the
        ``id`` of a node of another graph, such as one of its ``frontier``."""
        known = f"artifact:{node}" if isinstance(node, UUID) or ":" not in node else node
        return await self._exchange(calls.lineage(known, direction, depth, nodes))

    async def cost(
        self,
        *,
        by: Literal["pipeline", "team", "project", "month"] = "pipeline",
        first: str | None = None,
        last: str | None = None,
        project: str | None = None,
        pipeline: str | None = None,
    ) -> CostModel:
        """Hours of cores, memory and accelerators and their cost, of the months ``first`` to ``last``."""
        options = {"from": first, "to": last, "project": project, "pipeline": pipeline}
        return await self._exchange(calls.cost(by, options))

    async def run_cost(self, run_id: RunId) -> RunCostModel:
        """What each task of a run used and cost."""
        return await self._exchange(calls.run_cost(run_id))

    async def oncall(self, *, window: str = "24h", project: str | None = None) -> OnCallModel:
        """Failures of the window by cause, runs stuck beyond their usual time, runs that never started."""
        return await self._exchange(calls.oncall(window, project))

    async def pipelines(self) -> list[PipelineModel]:
        """The pipelines the bridge has seen."""
        return await self._all(calls.pipelines)

    async def pipeline(
        self, name: str, *, project: str = "default", cursor: str | None = None, limit: int | None = None
    ) -> PipelineDetailModel:
        """A pipeline over time: a page of its runs with their tasks, versions, last good run."""
        return await self._exchange(calls.pipeline(name, project, cursor, limit))

    async def trend(
        self,
        pipeline: str,
        name: str,
        *,
        project: str = "default",
        rule: str | None = None,
        direction: Literal["higher", "lower"] | None = None,
        window: int | None = None,
        limit: int | None = None,
    ) -> TrendModel:
        """A metric (or ``duration``, ``queued``) over the pipeline's newest runs, regressions marked.

        ``rule`` is a CEL expression or ``median``.
        """
        options = {"rule": rule, "direction": direction, "window": window, "limit": limit}
        return await self._exchange(calls.trend(pipeline, name, project, options))

    async def register_pipeline(
        self, spec: str, *, version: str | None = None, project: str = "default"
    ) -> PipelineModel:
        """Make a compiled pipeline (YAML text) known without running it; ``version`` names this one."""
        return await self._exchange(calls.register_pipeline(spec, version, project))

    async def set_alias(
        self,
        pipeline: str,
        alias: str,
        *,
        digest: str | None = None,
        version: str | None = None,
        project: str = "default",
    ) -> PipelineAliasModel:
        """Let ``pipeline@alias`` mean one version from now on, by its digest or by its name."""
        return await self._exchange(calls.set_alias(pipeline, alias, digest, version, project))

    async def alias(self, pipeline: str, alias: str, *, project: str = "default") -> PipelineAliasModel:
        """Which version an alias means now."""
        return await self._exchange(calls.alias(pipeline, alias, project))

    async def aliases(self, pipeline: str, *, project: str = "default") -> list[PipelineAliasModel]:
        """The aliases of a pipeline."""
        return (await self._exchange(calls.aliases(pipeline, project))).items

    async def remove_alias(self, pipeline: str, alias: str, *, project: str = "default") -> None:
        """Take an alias away; what it meant stays."""
        await self._exchange(calls.remove_alias(pipeline, alias, project))

    async def _all(self, call_of: Callable[[str | None], Call[Page[ModelT]]]) -> list[ModelT]:
        items: list[ModelT] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._exchange(call_of(cursor))
            items += page.items
            if page.next_cursor is None:
                return items
            cursor = page.next_cursor
        raise BridgeBadAnswer(f"the bridge at {self.url} sends more than {MOST_PAGES} pages")
