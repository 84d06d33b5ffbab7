"""Answers the reading half of ``ml_metadata.MetadataStoreService`` from the local store.

Each method is a function of a connection and its request message; ``METHODS`` names them all.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.local.mlmd_filter import FilterError, add_filter
from bridge.local.mlmd_messages import (
    artifact_message,
    context_message,
    event_message,
    execution_message,
)
from bridge.local.store_listing import Conditions

_MAX_PAGE = 100


class GrpcError(Exception):
    """A call that is refused, with its gRPC status code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the three kinds of nodes: where its rows are and how a row becomes a message."""

    table: str
    type_kind: str
    context_link: str
    columns: Mapping[str, str]
    message: Callable[[sqlite3.Row], Any]


def call(connection: sqlite3.Connection, method: str, body: bytes) -> bytes:
    """Carry out a method on an encoded request; returns the encoded response. Raises ``GrpcError``."""
    handler = METHODS.get(method)
    if handler is None:
        raise GrpcError(grpcweb.UNIMPLEMENTED, f"the local backend does not serve {method}")
    request: Message = getattr(pb, f"{method}Request")()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise GrpcError(grpcweb.INVALID_ARGUMENT, f"the request is no {method}Request: {error}") from error
    response: Message = handler(connection, request)
    return response.SerializeToString()


_OWN = {
    "id": "node.id",
    "type_id": "node.type_id",
    "type": "type.name",
    "name": "node.name",
    "create_time_since_epoch": "node.create_time",
    "last_update_time_since_epoch": "node.update_time",
}
_ARTIFACTS = _Kind(
    "mlmd_artifacts",
    "artifact",
    "mlmd_attributions.artifact_id",
    {**_OWN, "uri": "node.uri", "state": "node.state"},
    artifact_message,
)
_EXECUTIONS = _Kind(
    "mlmd_executions",
    "execution",
    "mlmd_associations.execution_id",
    {**_OWN, "last_known_state": "node.state"},
    execution_message,
)
_CONTEXTS = _Kind("mlmd_contexts", "context", "mlmd_attributions.context_id", _OWN, context_message)


def _select(
    connection: sqlite3.Connection, kind: _Kind, conditions: Conditions, tail: str = "ORDER BY node.id"
) -> list[Any]:
    rows = connection.execute(
        f"SELECT node.*, type.name AS type_name FROM {kind.table} AS node "  # noqa: S608
        f"JOIN mlmd_types AS type ON type.id = node.type_id{conditions.sql()} {tail}",
        conditions.arguments,
    )
    return [kind.message(row) for row in rows]


def _page(
    connection: sqlite3.Connection, kind: _Kind, conditions: Conditions, options: pb.ListOperationOptions
) -> tuple[list[Any], str]:
    """One page of nodes and the token of the next. Ties in the order are broken by id."""
    if options.max_result_size <= 0:
        raise GrpcError(grpcweb.INVALID_ARGUMENT, "max_result_size must be greater than 0")
    field = options.order_by_field
    fields = pb.ListOperationOptions.OrderByField
    column, attribute = {
        fields.CREATE_TIME: ("node.create_time", "create_time_since_epoch"),
        fields.LAST_UPDATE_TIME: ("node.update_time", "last_update_time_since_epoch"),
    }.get(field.field, ("node.id", "id"))
    if options.filter_query:
        try:
            add_filter(conditions, options.filter_query, kind.columns, kind.context_link)
        except FilterError as error:
            raise GrpcError(grpcweb.INVALID_ARGUMENT, str(error)) from error
    if options.next_page_token:
        value, node = _read_token(options.next_page_token)
        conditions.add(f"({column}, node.id) {'>' if field.is_asc else '<'} (?, ?)", value, node)
    size = min(options.max_result_size, _MAX_PAGE)
    order = "ASC" if field.is_asc else "DESC"
    found = _select(
        connection, kind, conditions, f"ORDER BY {column} {order}, node.id {order} LIMIT {size + 1}"
    )
    if len(found) <= size:
        return found, ""
    last = found[size - 1]
    return found[:size], _token(getattr(last, attribute), last.id)


def _token(value: int, node: int) -> str:
    return base64.urlsafe_b64encode(f"{value}:{node}".encode()).decode()


def _read_token(token: str) -> tuple[int, int]:
    try:
        value, _, node = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        return int(value), int(node)
    except ValueError as error:
        raise GrpcError(grpcweb.INVALID_ARGUMENT, "next_page_token was not given by this server") from error


def _of_type(name: str) -> Conditions:
    conditions = Conditions()
    conditions.add("type.name = ?", name)
    return conditions


def _among(column: str, values: Iterable[Any]) -> Conditions:
    wanted = list(values)
    conditions = Conditions()
    # One argument however many ids: SQLite bounds the number of arguments.
    conditions.add(f"{column} IN (SELECT value FROM json_each(?))", json.dumps(wanted))  # noqa: S608
    return conditions


def _in_context(kind: _Kind, context_id: int) -> Conditions:
    table, column = kind.context_link.split(".")
    conditions = Conditions()
    conditions.add(f"node.id IN (SELECT {column} FROM {table} WHERE context_id = ?)", context_id)  # noqa: S608
    return conditions


def _types(
    connection: sqlite3.Connection, kind: str, column: str = "", values: Sequence[Any] = ()
) -> list[sqlite3.Row]:
    conditions = _among(column, values) if column else Conditions()
    conditions.add("kind = ?", kind)
    return connection.execute(
        f"SELECT id, name FROM mlmd_types{conditions.sql()} ORDER BY id",  # noqa: S608
        conditions.arguments,
    ).fetchall()


def _events(connection: sqlite3.Connection, column: str, ids: Iterable[int]) -> list[pb.Event]:
    conditions = _among(column, ids)
    rows = connection.execute(
        f"SELECT * FROM mlmd_events{conditions.sql()} ORDER BY number",  # noqa: S608
        conditions.arguments,
    )
    return [event_message(row) for row in rows]


def _list_method(kind: _Kind, response: Any, field: str, by: str | None = None) -> Callable[..., Message]:
    def method(connection: sqlite3.Connection, request: Any) -> Message:
        if by == "type":
            conditions = _of_type(request.type_name)
        elif by == "context":
            conditions = _in_context(kind, request.context_id)
        else:
            conditions = Conditions()
        if request.HasField("options"):
            found, token = _page(connection, kind, conditions, request.options)
        else:
            found, token = _select(connection, kind, conditions), ""
        answer: Message = response(**{field: found})
        if token:
            answer.next_page_token = token  # type: ignore[attr-defined]
        return answer

    return method


def _id_method(kind: _Kind, response: Any, field: str) -> Callable[..., Message]:
    def method(connection: sqlite3.Connection, request: Any) -> Message:
        ids = getattr(request, f"{field.removesuffix('s')}_ids")
        answer: Message = response(**{field: _select(connection, kind, _among("node.id", ids))})
        return answer

    return method


def _name_method(kind: _Kind, response: Any, field: str) -> Callable[..., Message]:
    def method(connection: sqlite3.Connection, request: Any) -> Message:
        conditions = _of_type(request.type_name)
        conditions.add("node.name = ?", getattr(request, f"{field}_name"))
        found = _select(connection, kind, conditions)
        # MLMD leaves the field out where nothing is found; it is no error.
        answer: Message = response(**({field: found[0]} if found else {}))
        return answer

    return method


def _type_method(kind: str, message: Any, response: Any) -> Callable[..., Message]:
    def method(connection: sqlite3.Connection, request: Any) -> Message:
        rows = _types(connection, kind, "name", [request.type_name])
        if not rows:
            raise GrpcError(grpcweb.NOT_FOUND, f"no {kind} type is named {request.type_name!r}")
        answer: Message = response(**{f"{kind}_type": message(id=rows[0]["id"], name=rows[0]["name"])})
        return answer

    return method


def _types_method(kind: str, message: Any, response: Any, *, by_id: bool) -> Callable[..., Message]:
    def method(connection: sqlite3.Connection, request: Any) -> Message:
        rows = _types(connection, kind, "id", list(request.type_ids)) if by_id else _types(connection, kind)
        types = [message(id=row["id"], name=row["name"]) for row in rows]
        answer: Message = response(**{f"{kind}_types": types})
        return answer

    return method


def _artifacts_by_uri(connection: sqlite3.Connection, request: Any) -> Message:
    return pb.GetArtifactsByURIResponse(
        artifacts=_select(connection, _ARTIFACTS, _among("node.uri", request.uris))
    )


def _events_by_executions(connection: sqlite3.Connection, request: Any) -> Message:
    return pb.GetEventsByExecutionIDsResponse(
        events=_events(connection, "execution_id", request.execution_ids)
    )


def _events_by_artifacts(connection: sqlite3.Connection, request: Any) -> Message:
    return pb.GetEventsByArtifactIDsResponse(events=_events(connection, "artifact_id", request.artifact_ids))


def _contexts_where(condition: str, response: Any, field: str) -> Callable[..., Message]:
    def method(connection: sqlite3.Connection, request: Any) -> Message:
        conditions = Conditions()
        conditions.add(condition, getattr(request, field))
        answer: Message = response(contexts=_select(connection, _CONTEXTS, conditions))
        return answer

    return method


METHODS: Mapping[str, Callable[[sqlite3.Connection, Any], Message]] = {
    "GetArtifactType": _type_method("artifact", pb.ArtifactType, pb.GetArtifactTypeResponse),
    "GetArtifactTypes": _types_method("artifact", pb.ArtifactType, pb.GetArtifactTypesResponse, by_id=False),
    "GetArtifactTypesByID": _types_method(
        "artifact", pb.ArtifactType, pb.GetArtifactTypesByIDResponse, by_id=True
    ),
    "GetExecutionType": _type_method("execution", pb.ExecutionType, pb.GetExecutionTypeResponse),
    "GetExecutionTypes": _types_method(
        "execution", pb.ExecutionType, pb.GetExecutionTypesResponse, by_id=False
    ),
    "GetExecutionTypesByID": _types_method(
        "execution", pb.ExecutionType, pb.GetExecutionTypesByIDResponse, by_id=True
    ),
    "GetContextType": _type_method("context", pb.ContextType, pb.GetContextTypeResponse),
    "GetContextTypes": _types_method("context", pb.ContextType, pb.GetContextTypesResponse, by_id=False),
    "GetContextTypesByID": _types_method(
        "context", pb.ContextType, pb.GetContextTypesByIDResponse, by_id=True
    ),
    "GetArtifacts": _list_method(_ARTIFACTS, pb.GetArtifactsResponse, "artifacts"),
    "GetArtifactsByType": _list_method(_ARTIFACTS, pb.GetArtifactsByTypeResponse, "artifacts", "type"),
    "GetArtifactsByContext": _list_method(
        _ARTIFACTS, pb.GetArtifactsByContextResponse, "artifacts", "context"
    ),
    "GetArtifactsByID": _id_method(_ARTIFACTS, pb.GetArtifactsByIDResponse, "artifacts"),
    "GetArtifactsByURI": _artifacts_by_uri,
    "GetArtifactByTypeAndName": _name_method(_ARTIFACTS, pb.GetArtifactByTypeAndNameResponse, "artifact"),
    "GetExecutions": _list_method(_EXECUTIONS, pb.GetExecutionsResponse, "executions"),
    "GetExecutionsByType": _list_method(_EXECUTIONS, pb.GetExecutionsByTypeResponse, "executions", "type"),
    "GetExecutionsByContext": _list_method(
        _EXECUTIONS, pb.GetExecutionsByContextResponse, "executions", "context"
    ),
    "GetExecutionsByID": _id_method(_EXECUTIONS, pb.GetExecutionsByIDResponse, "executions"),
    "GetExecutionByTypeAndName": _name_method(_EXECUTIONS, pb.GetExecutionByTypeAndNameResponse, "execution"),
    "GetContexts": _list_method(_CONTEXTS, pb.GetContextsResponse, "contexts"),
    "GetContextsByType": _list_method(_CONTEXTS, pb.GetContextsByTypeResponse, "contexts", "type"),
    "GetContextsByID": _id_method(_CONTEXTS, pb.GetContextsByIDResponse, "contexts"),
    "GetContextByTypeAndName": _name_method(_CONTEXTS, pb.GetContextByTypeAndNameResponse, "context"),
    "GetContextsByExecution": _contexts_where(
        "node.id IN (SELECT context_id FROM mlmd_associations WHERE execution_id = ?)",
        pb.GetContextsByExecutionResponse,
        "execution_id",
    ),
    "GetContextsByArtifact": _contexts_where(
        "node.id IN (SELECT context_id FROM mlmd_attributions WHERE artifact_id = ?)",
        pb.GetContextsByArtifactResponse,
        "artifact_id",
    ),
    "GetParentContextsByContext": _contexts_where(
        "node.id = (SELECT parent_id FROM mlmd_contexts WHERE id = ?)",
        pb.GetParentContextsByContextResponse,
        "context_id",
    ),
    "GetChildrenContextsByContext": _contexts_where(
        "node.parent_id = ?", pb.GetChildrenContextsByContextResponse, "context_id"
    ),
    "GetEventsByExecutionIDs": _events_by_executions,
    "GetEventsByArtifactIDs": _events_by_artifacts,
}
