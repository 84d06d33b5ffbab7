"""The bridge's API for programs without an event loop: the same client, blocking.

Every method does what its namesake of ``AsyncBridgeClient`` does; that is where they are described.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal, TypeVar
from uuid import UUID

import httpx

from bridge.client.api import DEFAULT_PATIENCE_SECONDS, LONG_POLL_SECONDS, AsyncBridgeClient
from bridge.client.calls import RunId
from bridge.client.comparison import CompareModel
from bridge.client.costs import CostModel, RunCostModel
from bridge.client.history import ArtifactBrief, PipelineDetailModel, TrendModel
from bridge.client.lineage import ExplainModel, LineageGraphModel
from bridge.client.models import (
    ArtifactModel,
    ClearedModel,
    EventModel,
    MetricsModel,
    Page,
    PipelineAliasModel,
    PipelineModel,
    RunModel,
    SubmitRequest,
    TaskModel,
)
from bridge.client.network import BlockingNetwork, Network, run_blocking
from bridge.client.notebook import Runs
from bridge.client.oncall import OnCallModel
from bridge.client.patience import OnTrouble
from bridge.client.reproduction import ReproductionModel
from bridge.client.status import BackendStatus, QuarantineModel, StatusModel
from bridge.client.webhook_api import Webhooks
from bridge.client.wire import base_url

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8700"


class BridgeClient:
    """A blocking client of one bridge. Use it as a ``with`` block, or ``close()`` it.

    The options are those of ``AsyncBridgeClient``. Not to be shared between threads.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        transport: httpx.BaseTransport | None = None,
        network: Network | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> None:
        blocking = network or BlockingNetwork(base_url(url), token, timeout_seconds, transport)
        self._client = AsyncBridgeClient(
            url, patience_seconds=patience_seconds, network=blocking, on_trouble=on_trouble
        )
        self.webhooks = Webhooks(self._client.webhooks)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> BridgeClient:
        """A client as ``KFBRIDGE_URL`` (default ``http://127.0.0.1:8700``) and ``KFBRIDGE_TOKEN`` say."""
        return cls(environ.get("KFBRIDGE_URL") or DEFAULT_URL, token=environ.get("KFBRIDGE_TOKEN") or None)

    @property
    def url(self) -> str:
        """The bridge's address."""
        return self._client.url

    def __enter__(self) -> BridgeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        run_blocking(self._client.close())

    def submit(
        self, request: SubmitRequest, idempotency_key: str | None = None, *, waits: bool = False
    ) -> RunModel:
        return run_blocking(self._client.submit(request, idempotency_key, waits=waits))

    def get_run(
        self, run_id: RunId, *, wait_seconds: float | None = None, version: int | None = None
    ) -> RunModel:
        return run_blocking(self._client.get_run(run_id, wait_seconds=wait_seconds, version=version))

    def follow_run(
        self,
        run_id: RunId,
        *,
        timeout_seconds: float | None = None,
        poll_seconds: float = LONG_POLL_SECONDS,
    ) -> Iterator[RunModel]:
        following = self._client.follow_run(
            run_id, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds
        )
        return _iterate(following)

    def wait_run(
        self,
        run_id: RunId,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[RunModel], None] | None = None,
    ) -> RunModel:
        waiting = self._client.wait_run(run_id, timeout_seconds=timeout_seconds, on_change=on_change)
        return run_blocking(waiting)

    def list_runs(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Any
    ) -> Page[RunModel]:
        return run_blocking(self._client.list_runs(limit=limit, cursor=cursor, **filters))

    def iterate_runs(self, **filters: Any) -> Iterator[RunModel]:
        return _iterate(self._client.iterate_runs(**filters))

    def runs(self, *, limit: int = 100, **filters: Any) -> Runs:
        return run_blocking(self._client.runs(limit=limit, **filters))

    def tasks(self, run_id: RunId) -> list[TaskModel]:
        return run_blocking(self._client.tasks(run_id))

    def artifacts(self, run_id: RunId) -> list[ArtifactModel]:
        return run_blocking(self._client.artifacts(run_id))

    def list_artifacts(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Any
    ) -> Page[ArtifactBrief]:
        return run_blocking(self._client.list_artifacts(limit=limit, cursor=cursor, **filters))

    def metrics(self, run_id: RunId) -> MetricsModel:
        return run_blocking(self._client.metrics(run_id))

    def explain(self, run_id: RunId) -> ExplainModel:
        return run_blocking(self._client.explain(run_id))

    def compare(self, *run_ids: RunId) -> CompareModel:
        return run_blocking(self._client.compare(*run_ids))

    def spec(self, run_id: RunId) -> str:
        return run_blocking(self._client.spec(run_id))

    def logs(self, run_id: RunId, task: str | None = None) -> str:
        return run_blocking(self._client.logs(run_id, task))

    def follow_log(self, run_id: RunId, task: str) -> Iterator[str]:
        return _iterate(self._client.follow_log(run_id, task))

    def cancel(
        self,
        run_id: RunId,
        *,
        key: UUID | None = None,
        try_number: int | None = None,
        reason: str | None = None,
    ) -> RunModel:
        return run_blocking(self._client.cancel(run_id, key=key, try_number=try_number, reason=reason))

    def retry(self, run_id: RunId) -> RunModel:
        return run_blocking(self._client.retry(run_id))

    def clear(self, run_id: RunId) -> ClearedModel:
        return run_blocking(self._client.clear(run_id))

    def reproduce(
        self,
        run_id: RunId,
        *,
        allow: Literal["exact", "same-spec"] = "same-spec",
        dry_run: bool = False,
        caching: bool | None = False,
        display_name: str | None = None,
        idempotency_key: str | None = None,
    ) -> ReproductionModel:
        making = self._client.reproduce(
            run_id,
            allow=allow,
            dry_run=dry_run,
            caching=caching,
            display_name=display_name,
            idempotency_key=idempotency_key,
        )
        return run_blocking(making)

    def quarantine(self, backend: str | None = None) -> list[QuarantineModel]:
        return run_blocking(self._client.quarantine(backend))

    def release_quarantined(self, number: int) -> QuarantineModel:
        return run_blocking(self._client.release_quarantined(number))

    def pause_backend(self, name: str, *, drain: bool = False, reason: str | None = None) -> BackendStatus:
        return run_blocking(self._client.pause_backend(name, drain=drain, reason=reason))

    def resume_backend(self, name: str) -> BackendStatus:
        return run_blocking(self._client.resume_backend(name))

    def pipelines(self) -> list[PipelineModel]:
        return run_blocking(self._client.pipelines())

    def pipeline(
        self, name: str, *, project: str = "default", cursor: str | None = None, limit: int | None = None
    ) -> PipelineDetailModel:
        return run_blocking(self._client.pipeline(name, project=project, cursor=cursor, limit=limit))

    def trend(
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
        asking = self._client.trend(
            pipeline, name, project=project, rule=rule, direction=direction, window=window, limit=limit
        )
        return run_blocking(asking)

    def register_pipeline(
        self, spec: str, *, version: str | None = None, project: str = "default"
    ) -> PipelineModel:
        return run_blocking(self._client.register_pipeline(spec, version=version, project=project))

    def set_alias(
        self,
        pipeline: str,
        alias: str,
        *,
        digest: str | None = None,
        version: str | None = None,
        project: str = "default",
    ) -> PipelineAliasModel:
        setting = self._client.set_alias(pipeline, alias, digest=digest, version=version, project=project)
        return run_blocking(setting)

    def alias(self, pipeline: str, alias: str, *, project: str = "default") -> PipelineAliasModel:
        return run_blocking(self._client.alias(pipeline, alias, project=project))

    def aliases(self, pipeline: str, *, project: str = "default") -> list[PipelineAliasModel]:
        return run_blocking(self._client.aliases(pipeline, project=project))

    def remove_alias(self, pipeline: str, alias: str, *, project: str = "default") -> None:
        run_blocking(self._client.remove_alias(pipeline, alias, project=project))

    def artifact(self, artifact_id: UUID | str) -> ArtifactModel:
        return run_blocking(self._client.artifact(artifact_id))

    def lineage(
        self,
        node: UUID | str,
        *,
        direction: Literal["up", "down", "both"] = "both",
        depth: int | None = None,
        nodes: int | None = None,
    ) -> LineageGraphModel:
        return run_blocking(self._client.lineage(node, direction=direction, depth=depth, nodes=nodes))

    def open_artifact(self, artifact_id: UUID | str) -> IO[bytes]:
        return run_blocking(self._client.open_artifact(artifact_id))

    def post_lineage(self, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        run_blocking(self._client.post_lineage(events))

    def cost(
        self,
        *,
        by: Literal["pipeline", "team", "project", "month"] = "pipeline",
        first: str | None = None,
        last: str | None = None,
        project: str | None = None,
        pipeline: str | None = None,
    ) -> CostModel:
        return run_blocking(
            self._client.cost(by=by, first=first, last=last, project=project, pipeline=pipeline)
        )

    def run_cost(self, run_id: RunId) -> RunCostModel:
        return run_blocking(self._client.run_cost(run_id))

    def oncall(self, *, window: str = "24h", project: str | None = None) -> OnCallModel:
        return run_blocking(self._client.oncall(window=window, project=project))

    def status(self) -> StatusModel:
        return run_blocking(self._client.status())

    def events(
        self, last_id: int | None = None, *, on_connect: Callable[[], None] | None = None
    ) -> Iterator[EventModel]:
        return _iterate(self._client.events(last_id, on_connect=on_connect))


_END: Any = object()


def _iterate(items: AsyncIterator[T]) -> Iterator[T]:
    async def following() -> T:
        return await anext(items, _END)

    async def closing() -> None:
        if isinstance(items, AsyncGenerator):
            await items.aclose()

    try:
        while (item := run_blocking(following())) is not _END:
            yield item
    finally:
        run_blocking(closing())
