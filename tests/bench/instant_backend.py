"""A backend that answers at once, since it made all its answers beforehand: finished runs and their metadata.

Run as a process of its own, so that a bench of the mirror measures the bridge and not a backend. It knows the
runs ``run_ids(shape)``, all SUCCEEDED, and nothing else: other lists are empty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import unquote_to_bytes
from uuid import UUID

import uvloop
from google.protobuf.message import Message

from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.client import API
from bridge.kfp_api.mlmd import PAGE_SIZE, RUN_CONTEXT, SERVICE

_FIRST_RUN = 0xBE << 120
_T0 = 1_767_323_045_000
_ENDED = "2026-01-02T03:05:00Z"
_EVENTS_AT_ONCE = 200
_LIST = f"GET {API}/runs?".encode()
_RUN_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FRAME_BYTES = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """How many runs there are, and what is in each: tasks beside the root, each with ``parameters`` inputs,
    one artifact that carries ``metrics`` scalars, and, where ``chained``, a model that the next one reads."""

    name: str
    runs: int
    tasks: int
    parameters: int
    metrics: int
    chained: bool


SMALL = Shape("small runs", runs=3000, tasks=1, parameters=5, metrics=5, chained=False)
LARGE = Shape("large runs", runs=12, tasks=500, parameters=3, metrics=2, chained=True)
SHAPES = {shape.name: shape for shape in (SMALL, LARGE)}


def run_ids(shape: Shape) -> list[UUID]:
    """The ids of the runs that the backend knows."""
    return [UUID(int=_FIRST_RUN + number) for number in range(1, shape.runs + 1)]


class _Answers(dict[bytes, bytes]):
    """What is answered, by the request's target and body; and the pieces of answers about several runs."""

    def __init__(self) -> None:
        super().__init__()
        self.together = Together()

    def add(self, method: str, request: Message, answer: Message) -> None:
        payload = grpcweb.encode_message(request.SerializeToString())
        body = grpcweb.encode_response(answer.SerializeToString())
        self[f"POST /{SERVICE}/{method}".encode() + payload] = _response(body, grpcweb.CONTENT_TYPE)


def _response(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Together:
    """Answers about any of the runs together, put together from pieces that are made beforehand."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        # Records as fields of the answers: protobuf messages are joined by joining their bytes.
        self._executions: dict[bytes, list[bytes]] = {}
        self._events: defaultdict[int, list[bytes]] = defaultdict(list)
        self._artifacts: dict[int, bytes] = {}

    def add(
        self,
        run_id: bytes,
        row: bytes,
        executions: Sequence[pb.Execution],
        events: Sequence[pb.Event],
        artifacts: Sequence[pb.Artifact],
    ) -> None:
        """One more run."""
        self._rows[run_id] = row
        self._executions[run_id] = [
            pb.GetExecutionsResponse(executions=[one]).SerializeToString() for one in executions
        ]
        for event in events:
            told = pb.GetEventsByExecutionIDsResponse(events=[event]).SerializeToString()
            self._events[event.execution_id].append(told)
        for artifact in artifacts:
            told = pb.GetArtifactsByIDResponse(artifacts=[artifact]).SerializeToString()
            self._artifacts[artifact.id] = told

    def answer(self, target: bytes, body: bytes) -> bytes | None:
        """The answer, if it is such a request."""
        if target.startswith(_LIST):
            named = _RUN_ID.findall(unquote_to_bytes(target))
            return (
                _response(b'{"runs":[%s]}' % b",".join(self._rows[one] for one in named)) if named else None
            )
        payload = body[_FRAME_BYTES:]
        if target.endswith(b"/GetExecutions"):
            return _grpc(self._executions_of(pb.GetExecutionsRequest.FromString(payload).options))
        if target.endswith(b"/GetEventsByExecutionIDs"):
            ids = pb.GetEventsByExecutionIDsRequest.FromString(payload).execution_ids
            return _grpc(b"".join(piece for one in ids for piece in self._events.get(one, ())))
        if target.endswith(b"/GetArtifactsByID"):
            wanted = pb.GetArtifactsByIDRequest.FromString(payload).artifact_ids
            return _grpc(b"".join(self._artifacts[one] for one in wanted))
        return None

    def _executions_of(self, options: pb.ListOperationOptions) -> bytes:
        # Runs in the order of their ids have their executions in the order of theirs.
        named = sorted(_RUN_ID.findall(options.filter_query.encode()))
        found = [piece for one in named for piece in self._executions[one]]
        start = int(options.next_page_token or 0)
        end = start + PAGE_SIZE
        token = str(end) if end < len(found) else ""
        return (
            b"".join(found[start:end]) + pb.GetExecutionsResponse(next_page_token=token).SerializeToString()
        )


def _grpc(message: bytes) -> bytes:
    return _response(grpcweb.encode_response(message), grpcweb.CONTENT_TYPE)


def make_answers(shape: Shape) -> _Answers:
    """Every answer about every run."""
    answers = _Answers()
    for number, run_id in enumerate(run_ids(shape), 1):
        _add_run(answers, shape, number, run_id)
    return answers


def _add_run(answers: _Answers, shape: Shape, number: int, run_id: UUID) -> None:
    executions = list(_executions(shape, number, run_id))
    artifacts = list(_artifacts(shape, number))
    events = list(_events(shape, number))
    context = pb.Context(id=number, name=str(run_id), type=RUN_CONTEXT)
    row = _row(shape, executions, run_id)
    answers[f"GET {API}/runs/{run_id}".encode()] = _response(row)
    answers.together.add(str(run_id).encode(), row, executions, events, artifacts)
    answers.add(
        "GetContextByTypeAndName",
        pb.GetContextByTypeAndNameRequest(type_name=RUN_CONTEXT, context_name=str(run_id)),
        pb.GetContextByTypeAndNameResponse(context=context),
    )
    for options, page, following in _pages(executions):
        answers.add(
            "GetExecutionsByContext",
            pb.GetExecutionsByContextRequest(context_id=number, options=options),
            pb.GetExecutionsByContextResponse(executions=page, next_page_token=following),
        )
    for options, page, following in _pages(artifacts):
        answers.add(
            "GetArtifactsByContext",
            pb.GetArtifactsByContextRequest(context_id=number, options=options),
            pb.GetArtifactsByContextResponse(artifacts=page, next_page_token=following),
        )
    ids = [one.id for one in executions]
    for start in range(0, len(ids), _EVENTS_AT_ONCE):
        batch = ids[start : start + _EVENTS_AT_ONCE]
        wanted = set(batch)
        answers.add(
            "GetEventsByExecutionIDs",
            pb.GetEventsByExecutionIDsRequest(execution_ids=batch),
            pb.GetEventsByExecutionIDsResponse(events=[one for one in events if one.execution_id in wanted]),
        )


def _row(shape: Shape, executions: Sequence[pb.Execution], run_id: UUID) -> bytes:
    details = [
        {
            "run_id": str(run_id),
            "task_id": f"task-{execution.id}",
            "display_name": _task_name(place),
            "state": "SUCCEEDED",
            "execution_id": str(execution.id),
            "create_time": _ENDED,
            "start_time": _ENDED,
            "end_time": _ENDED,
        }
        for place, execution in enumerate(executions)
    ]
    row = {
        "run_id": str(run_id),
        "display_name": shape.name,
        "state": "SUCCEEDED",
        "created_at": _ENDED,
        "finished_at": _ENDED,
        "run_details": {"task_details": details},
    }
    return json.dumps(row).encode()


def _task_name(place: int) -> str:
    return f"step-{place}" if place else "root"


def _first(shape: Shape, number: int) -> int:
    return number * (shape.tasks + 1) * 2


def _executions(shape: Shape, number: int, run_id: UUID) -> Iterator[pb.Execution]:
    first = _first(shape, number)
    for place in range(shape.tasks + 1):
        made = pb.Execution(
            id=first + place,
            last_known_state=pb.Execution.COMPLETE,
            type="system.ContainerExecution" if place else "system.DAGExecution",
            create_time_since_epoch=_T0 + place,
            last_update_time_since_epoch=_T0 + place + 500,
        )
        if place:
            made.custom_properties["task_name"].string_value = _task_name(place)
            made.custom_properties["parent_dag_id"].int_value = first
            made.custom_properties["pod_name"].string_value = f"flow-{number}-impl-{first + place}"
        else:
            made.name = f"run/{run_id}"
        inputs = made.custom_properties["inputs"].struct_value
        inputs.update({f"parameter_{index}": index / 7 for index in range(shape.parameters)})
        yield made


def _artifacts(shape: Shape, number: int) -> Iterator[pb.Artifact]:
    for place in range(shape.tasks):
        for kind, number_of_kind in _kinds(shape):
            made = pb.Artifact(
                id=_first(shape, number) + 2 * place + number_of_kind,
                type=kind,
                uri=f"s3://bench/{number}/{place}/{number_of_kind}",
                create_time_since_epoch=_T0,
            )
            if kind == "system.Metrics":
                for index in range(shape.metrics):
                    made.custom_properties[f"metric_{index}"].double_value = (place + index) / 7
            yield made


def _kinds(shape: Shape) -> tuple[tuple[str, int], ...]:
    return (("system.Metrics", 0), ("system.Model", 1)) if shape.chained else (("system.Metrics", 0),)


def _events(shape: Shape, number: int) -> Iterator[pb.Event]:
    first = _first(shape, number)
    for place in range(1, shape.tasks + 1):
        for key, number_of_kind in (("metrics", 0), ("model", 1))[: len(_kinds(shape))]:
            yield _event(first + place, first + 2 * (place - 1) + number_of_kind, key, pb.Event.OUTPUT)
        if shape.chained and place > 1:
            yield _event(first + place, first + 2 * (place - 2) + 1, "model", pb.Event.INPUT)


def _event(execution: int, artifact: int, key: str, kind: int) -> pb.Event:
    made = pb.Event(execution_id=execution, artifact_id=artifact, type=pb.Event.Type.ValueType(kind))
    made.path.steps.add(key=key)
    return made


def _pages(records: Sequence[Any]) -> Iterator[tuple[pb.ListOperationOptions, Sequence[Any], str]]:
    order = pb.ListOperationOptions.OrderByField(field=pb.ListOperationOptions.OrderByField.ID, is_asc=True)
    for start in range(0, max(1, len(records)), PAGE_SIZE):
        options = pb.ListOperationOptions(max_result_size=PAGE_SIZE, order_by_field=order)
        if start:
            options.next_page_token = str(start)
        end = start + PAGE_SIZE
        yield options, records[start:end], str(end) if end < len(records) else ""


class _Server(asyncio.Protocol):
    """One connection; requests come one after another."""

    def __init__(self, answers: _Answers) -> None:
        self._answers = answers
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: answer what is there as a whole."""
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        place = head.lower().find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(rest) < length:
            return
        self._received = rest[length:]
        assert self._transport is not None
        self._transport.write(self._answer(head.split(b" HTTP/", 1)[0], rest[:length]))

    def _answer(self, target: bytes, body: bytes) -> bytes:
        known = self._answers.get(target + body) or self._answers.together.answer(target, body)
        if known is not None:
            return known
        # Health, and the lists that sweeps ask for.
        return _response(b"{}") if target.startswith(b"GET ") else _response(b"{}", status="404 Not Found")


async def _serve(shape: Shape, port: int) -> None:
    answers = make_answers(shape)
    server = await asyncio.get_running_loop().create_server(lambda: _Server(answers), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=tuple(SHAPES), required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(_serve(replace(SHAPES[options.shape], runs=options.runs), options.port))
