"""Lets a run look as if it had thousands of tasks, each with an artifact and a metric: what the fault proxy
answers in the metadata store's place."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from tests.support.fault_proxy import Answer, Exchange, FaultProxy, Gate, edit

_FIRST_ID = 10_000_000
_LONG_AGO_MS = 1_700_000_000_000
_PAGE = 100
_HEADERS = (("content-type", grpcweb.CONTENT_TYPE),)


class ManyTasks:
    """A run with that many tasks below its root."""

    def __init__(self, kfp_run_id: UUID, count: int) -> None:
        self._root = pb.Execution(
            id=_FIRST_ID,
            type="system.DAGExecution",
            name=f"run/{kfp_run_id}",
            last_known_state=pb.Execution.COMPLETE,
            create_time_since_epoch=_LONG_AGO_MS,
            last_update_time_since_epoch=_LONG_AGO_MS,
        )
        self._numbers = range(1, count + 1)

    def lay(self, proxy: FaultProxy, gate: Gate) -> None:
        """Answer so from now on; the artifacts are told only when the gate is open."""

        async def executions(exchange: Exchange) -> None:
            numbers, token = self._page(_asked(exchange, pb.GetExecutionsByContextRequest()).options)
            found = [self._execution(number) for number in numbers]
            if not numbers or numbers[0] == 1:
                found.insert(0, self._root)
            await _answer(
                exchange, pb.GetExecutionsByContextResponse(executions=found, next_page_token=token)
            )

        async def artifacts(exchange: Exchange) -> None:
            await gate.passage()
            numbers, token = self._page(_asked(exchange, pb.GetArtifactsByContextRequest()).options)
            found = [self._artifact(number) for number in numbers]
            await _answer(exchange, pb.GetArtifactsByContextResponse(artifacts=found, next_page_token=token))

        async def events(exchange: Exchange) -> None:
            ids = _asked(exchange, pb.GetEventsByExecutionIDsRequest()).execution_ids
            found = [_event(number) for number in ids if number > _FIRST_ID]
            await _answer(exchange, pb.GetEventsByExecutionIDsResponse(events=found))

        for method, fault in (
            ("GetExecutionsByContext", executions),
            ("GetArtifactsByContext", artifacts),
            ("GetEventsByExecutionIDs", events),
        ):
            proxy.when("POST", rf"/ml_metadata\..*/{method}$", fault, times=None)
        proxy.when("GET", r"/apis/v2beta1/runs/[0-9a-f-]+$", edit(self._with_details), times=None)

    def _page(self, options: pb.ListOperationOptions) -> tuple[range, str]:
        begin = int(options.next_page_token or 0)
        following = begin + _PAGE
        return self._numbers[begin:following], str(following) if following < len(self._numbers) else ""

    def _execution(self, number: int) -> pb.Execution:
        execution = pb.Execution(
            id=_FIRST_ID + number,
            type="system.ContainerExecution",
            name=f"execution-{number}",
            last_known_state=pb.Execution.COMPLETE,
            create_time_since_epoch=_LONG_AGO_MS,
            last_update_time_since_epoch=_LONG_AGO_MS,
        )
        execution.custom_properties["task_name"].string_value = f"step-{number}"
        execution.custom_properties["parent_dag_id"].int_value = _FIRST_ID
        execution.custom_properties["inputs"].struct_value.update({"shard": number, "rows": 1000})
        return execution

    def _artifact(self, number: int) -> pb.Artifact:
        artifact = pb.Artifact(
            id=_FIRST_ID + number,
            type="system.Metrics",
            uri=f"s3://bucket/run/step-{number}/metrics",
            name="metrics",
            create_time_since_epoch=_LONG_AGO_MS,
        )
        artifact.custom_properties["loss"].double_value = 1 / number
        return artifact

    def _with_details(self, run: dict[str, Any]) -> dict[str, Any]:
        details = [
            {
                "run_id": run["run_id"],
                "task_id": f"node-{number}",
                "display_name": f"step-{number}",
                "state": "SUCCEEDED",
                "execution_id": str(_FIRST_ID + number),
                "create_time": "2026-01-01T00:00:00Z",
                "start_time": "2026-01-01T00:00:01Z",
                "end_time": "2026-01-01T00:00:02Z",
            }
            for number in self._numbers
        ]
        return {**run, "run_details": {"task_details": details}}


def _event(number: int) -> pb.Event:
    steps = [pb.Event.Path.Step(key="metrics"), pb.Event.Path.Step(index=0)]
    return pb.Event(
        artifact_id=number, execution_id=number, path=pb.Event.Path(steps=steps), type=pb.Event.OUTPUT
    )


def _asked(exchange: Exchange, request: Any) -> Any:
    """What is asked, read into an empty request of its kind."""
    request.ParseFromString(grpcweb.decode_request(exchange.seen.body))
    return request


async def _answer(exchange: Exchange, message: Message) -> None:
    body = grpcweb.encode_response(message.SerializeToString())
    await exchange.answer(Answer(200, body, _HEADERS))
