"""The calls of ML Metadata's service over gRPC-web that reading runs takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError, Message

from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpBadAnswer, KfpError

SERVICE = "ml_metadata.MetadataStoreService"
PAGE_SIZE = 100
_BATCH = 200
_MAX_PAGES = 5_000

MessageT = TypeVar("MessageT", bound=Message)
OrderField = pb.ListOperationOptions.OrderByField


class MlmdCalls:
    """Calls through the given client; ``base_url`` as of ``MlmdReader``. All errors are ``KfpError``."""

    def __init__(self, client: KfpClient, *, base_url: str | None = None) -> None:
        self._client = client
        self._places = [base_url] if base_url else _places(client.base_url)

    async def executions(
        self, where: str, order: OrderField.Field = OrderField.ID
    ) -> AsyncIterator[pb.Execution]:
        """The executions that a filter query finds, over all runs."""

        def ask(token: str) -> pb.GetExecutionsRequest:
            options = list_options(token, order)
            options.filter_query = where
            return pb.GetExecutionsRequest(options=options)

        async for page in self.pages("GetExecutions", ask, pb.GetExecutionsResponse):
            for execution in page.executions:
                yield execution

    async def events_of(self, execution_ids: Sequence[int]) -> AsyncIterator[pb.Event]:
        """What the executions read and made."""
        for batch in _batches(execution_ids):
            request = pb.GetEventsByExecutionIDsRequest(execution_ids=batch)
            answer = await self.call("GetEventsByExecutionIDs", request, pb.GetEventsByExecutionIDsResponse)
            for event in answer.events:
                yield event

    async def artifacts_by_id(self, artifact_ids: Sequence[int]) -> AsyncIterator[pb.Artifact]:
        """Those of the artifacts that are there."""
        for batch in _batches(artifact_ids):
            request = pb.GetArtifactsByIDRequest(artifact_ids=batch)
            answer = await self.call("GetArtifactsByID", request, pb.GetArtifactsByIDResponse)
            for artifact in answer.artifacts:
                yield artifact

    async def execution_types(self, executions: Iterable[pb.Execution]) -> dict[int, str]:
        """The names of the types that the records leave out, by type id."""
        ids = sorted({one.type_id for one in executions if not one.type and one.HasField("type_id")})
        if not ids:
            return {}
        request = pb.GetExecutionTypesByIDRequest(type_ids=ids)
        answer = await self.call("GetExecutionTypesByID", request, pb.GetExecutionTypesByIDResponse)
        return {one.id: one.name for one in answer.execution_types}

    async def artifact_types(self, artifacts: Iterable[pb.Artifact]) -> dict[int, str]:
        """As ``execution_types``."""
        ids = sorted({one.type_id for one in artifacts if not one.type and one.HasField("type_id")})
        if not ids:
            return {}
        request = pb.GetArtifactTypesByIDRequest(type_ids=ids)
        answer = await self.call("GetArtifactTypesByID", request, pb.GetArtifactTypesByIDResponse)
        return {one.id: one.name for one in answer.artifact_types}

    async def pages(
        self, method: str, ask: Callable[[str], Message], kind: type[MessageT]
    ) -> AsyncIterator[MessageT]:
        """The answers page by page; ``ask`` makes the request with a page's token."""
        token = ""
        for _ in range(_MAX_PAGES):
            page = await self.call(method, ask(token), kind)
            yield page
            following: str = getattr(page, "next_page_token", "")
            if not following:
                return
            if following == token:
                raise KfpBadAnswer("the server repeats a page token", request=f"{SERVICE}/{method}")
            token = following
        raise KfpBadAnswer(f"more than {_MAX_PAGES} pages", request=f"{SERVICE}/{method}")

    async def call(self, method: str, request: Message, kind: type[MessageT]) -> MessageT:
        """The answer to one call."""
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


def list_options(token: str, field: OrderField.Field = OrderField.ID) -> pb.ListOperationOptions:
    """One page, in ascending order."""
    order = pb.ListOperationOptions.OrderByField(field=field, is_asc=True)
    options = pb.ListOperationOptions(max_result_size=PAGE_SIZE, order_by_field=order)
    if token:
        options.next_page_token = token
    return options


def _batches(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
