"""Reads ML Metadata over gRPC-web, as every published KFP release serves it beside its UI."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from google.protobuf.message import DecodeError, Message

from bridge.domain.lineage import RunMirror
from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpBadAnswer, KfpError, KfpInvalid, KfpNotFound
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metadata import Changes
from bridge.kfp_api.mirror import RunMetadata, build_mirror
from bridge.kfp_api.values import int_of

SERVICE = "ml_metadata.MetadataStoreService"
RUN_CONTEXT = "system.PipelineRun"
PAGE_SIZE = 100
_BATCH = 200
_MAX_PAGES = 5_000
_MAX_REMEMBERED = 50_000

MessageT = TypeVar("MessageT", bound=Message)


class MlmdReader:
    """The ``MetadataReader`` of published KFP releases.

    Goes through the given client, so host, token, timeouts and retries are its own; ``base_url``
    names where ``/ml_metadata.MetadataStoreService`` is if not there. Left out, and the client's URL
    has a path, the host's root is tried too: a Kubeflow gateway has the UI at ``/pipeline`` and the
    metadata beside it. All errors are ``KfpError``; ``KfpNotFound`` or a ``KfpBadAnswer`` about an
    HTML page means that no metadata service is reached there.
    """

    def __init__(self, client: KfpClient, *, base_url: str | None = None) -> None:
        self._client = client
        self._places = [base_url] if base_url else _places(client.base_url)
        # Which run an execution belongs to never changes, and asking costs a call for each.
        self._runs: OrderedDict[int, UUID | None] = OrderedDict()

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """The run's mirror; ``None`` if MLMD has no context of that run (not begun, or expired)."""
        context = await self._context_of(kfp_run_id)
        if context is None:
            return None
        executions = [one async for one in self._executions_of(context)]
        events = [one async for one in self._events_of([execution.id for execution in executions])]
        artifacts = {one.id: one async for one in self._artifacts_of(context)}
        # A cached or imported artifact can belong to another run's context alone.
        missing = {event.artifact_id for event in events} - set(artifacts)
        artifacts |= {one.id: one async for one in self._artifacts_by_id(sorted(missing))}
        used = {event.artifact_id for event in events}
        run = RunMetadata(
            executions=executions,
            artifacts=[one for one in artifacts.values() if one.id in used],
            events=events,
            execution_types=await self._execution_types(executions),
            artifact_types=await self._artifact_types(artifacts.values()),
        )
        return build_mirror(run, tasks)

    async def changed_since(self, since_ms: int) -> Changes | None:
        """The runs with an execution that changed at ``since_ms`` or later; ``None`` if MLMD cannot say."""
        newest = since_ms
        runs: set[UUID] = set()
        try:
            async for execution in self._changed_executions(since_ms):
                newest = max(newest, execution.last_update_time_since_epoch)
                run = await self._run_of(execution)
                if run is not None:
                    runs.add(run)
        except KfpInvalid as error:
            if error.code in (grpcweb.UNIMPLEMENTED, grpcweb.INVALID_ARGUMENT):
                return None
            raise
        return Changes(frozenset(runs), newest)

    async def _context_of(self, kfp_run_id: UUID) -> pb.Context | None:
        request = pb.GetContextByTypeAndNameRequest(type_name=RUN_CONTEXT, context_name=str(kfp_run_id))
        try:
            answer = await self._call("GetContextByTypeAndName", request, pb.GetContextByTypeAndNameResponse)
        except KfpNotFound as error:
            # With an HTTP status it is the route that is missing, not the context.
            if error.status is not None:
                raise
            return None
        return answer.context if answer.HasField("context") else None

    async def _executions_of(self, context: pb.Context) -> AsyncIterator[pb.Execution]:
        def ask(token: str) -> pb.GetExecutionsByContextRequest:
            return pb.GetExecutionsByContextRequest(context_id=context.id, options=_options(token))

        async for page in self._pages("GetExecutionsByContext", ask, pb.GetExecutionsByContextResponse):
            for execution in page.executions:
                yield execution

    async def _artifacts_of(self, context: pb.Context) -> AsyncIterator[pb.Artifact]:
        def ask(token: str) -> pb.GetArtifactsByContextRequest:
            return pb.GetArtifactsByContextRequest(context_id=context.id, options=_options(token))

        async for page in self._pages("GetArtifactsByContext", ask, pb.GetArtifactsByContextResponse):
            for artifact in page.artifacts:
                yield artifact

    async def _events_of(self, execution_ids: Sequence[int]) -> AsyncIterator[pb.Event]:
        for batch in _batches(execution_ids):
            request = pb.GetEventsByExecutionIDsRequest(execution_ids=batch)
            answer = await self._call("GetEventsByExecutionIDs", request, pb.GetEventsByExecutionIDsResponse)
            for event in answer.events:
                yield event

    async def _artifacts_by_id(self, artifact_ids: Sequence[int]) -> AsyncIterator[pb.Artifact]:
        for batch in _batches(artifact_ids):
            request = pb.GetArtifactsByIDRequest(artifact_ids=batch)
            answer = await self._call("GetArtifactsByID", request, pb.GetArtifactsByIDResponse)
            for artifact in answer.artifacts:
                yield artifact

    async def _execution_types(self, executions: Iterable[pb.Execution]) -> dict[int, str]:
        ids = sorted({one.type_id for one in executions if not one.type and one.HasField("type_id")})
        if not ids:
            return {}
        request = pb.GetExecutionTypesByIDRequest(type_ids=ids)
        answer = await self._call("GetExecutionTypesByID", request, pb.GetExecutionTypesByIDResponse)
        return {one.id: one.name for one in answer.execution_types}

    async def _artifact_types(self, artifacts: Iterable[pb.Artifact]) -> dict[int, str]:
        ids = sorted({one.type_id for one in artifacts if not one.type and one.HasField("type_id")})
        if not ids:
            return {}
        request = pb.GetArtifactTypesByIDRequest(type_ids=ids)
        answer = await self._call("GetArtifactTypesByID", request, pb.GetArtifactTypesByIDResponse)
        return {one.id: one.name for one in answer.artifact_types}

    async def _changed_executions(self, since_ms: int) -> AsyncIterator[pb.Execution]:
        def ask(token: str) -> pb.GetExecutionsRequest:
            options = _options(token, pb.ListOperationOptions.OrderByField.LAST_UPDATE_TIME)
            options.filter_query = f"last_update_time_since_epoch >= {int(since_ms)}"
            return pb.GetExecutionsRequest(options=options)

        async for page in self._pages("GetExecutions", ask, pb.GetExecutionsResponse):
            for execution in page.executions:
                yield execution

    async def _run_of(self, execution: pb.Execution) -> UUID | None:
        if execution.name.startswith("run/"):
            return self._remember(execution.id, _uuid(execution.name.removeprefix("run/")))
        # Siblings share their parent, so asking for the parent costs one call for all of them.
        owner = int_of(execution.custom_properties, "parent_dag_id") or execution.id
        if owner not in self._runs:
            self._remember(owner, await self._ask_run_of(owner))
        self._runs.move_to_end(owner)
        return self._runs[owner]

    def _remember(self, execution_id: int, run: UUID | None) -> UUID | None:
        self._runs[execution_id] = run
        if len(self._runs) > _MAX_REMEMBERED:
            self._runs.popitem(last=False)
        return run

    async def _ask_run_of(self, execution_id: int) -> UUID | None:
        request = pb.GetContextsByExecutionRequest(execution_id=execution_id)
        answer = await self._call("GetContextsByExecution", request, pb.GetContextsByExecutionResponse)
        contexts = [one for one in answer.contexts if one.type in (RUN_CONTEXT, "")]
        return next((run for run in (_uuid(one.name) for one in contexts) if run is not None), None)

    async def _pages(
        self, method: str, ask: Callable[[str], Message], kind: type[MessageT]
    ) -> AsyncIterator[MessageT]:
        token = ""
        for _ in range(_MAX_PAGES):
            page = await self._call(method, ask(token), kind)
            yield page
            following: str = getattr(page, "next_page_token", "")
            if not following:
                return
            if following == token:
                raise KfpBadAnswer("the server repeats a page token", request=f"{SERVICE}/{method}")
            token = following
        raise KfpBadAnswer(f"more than {_MAX_PAGES} pages", request=f"{SERVICE}/{method}")

    async def _call(self, method: str, request: Message, kind: type[MessageT]) -> MessageT:
        payload = await self._ask(f"{SERVICE}/{method}", request.SerializeToString())
        answer = kind()
        try:
            answer.ParseFromString(payload)
        except DecodeError as error:
            raise KfpBadAnswer(f"no {kind.__name__}: {error}", request=f"{SERVICE}/{method}") from error
        return answer

    async def _ask(self, method: str, payload: bytes) -> bytes:
        *others, last = self._places
        for place in others:
            try:
                answer = await self._client.grpc_web(method, payload, base_url=place)
            except KfpError as error:
                if not _is_elsewhere(error):
                    raise
            else:
                self._places = [place]
                return answer
        answer = await self._client.grpc_web(method, payload, base_url=last)
        self._places = [last]
        return answer


def _is_elsewhere(error: KfpError) -> bool:
    """Whether so answers a place that knows nothing of metadata: no such route, or a page for people."""
    if isinstance(error, KfpBadAnswer):
        return error.status is not None and not error.cut
    return error.status in (404, 405)


def _places(base_url: str) -> list[str]:
    parts = urlsplit(base_url)
    return [base_url, f"{parts.scheme}://{parts.netloc}"] if parts.path else [base_url]


def _options(
    token: str,
    field: pb.ListOperationOptions.OrderByField.Field = pb.ListOperationOptions.OrderByField.ID,
) -> pb.ListOperationOptions:
    order = pb.ListOperationOptions.OrderByField(field=field, is_asc=True)
    options = pb.ListOperationOptions(max_result_size=PAGE_SIZE, order_by_field=order)
    if token:
        options.next_page_token = token
    return options


def _batches(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
