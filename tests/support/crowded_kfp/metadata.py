"""MLMD of a crowded KFP server: computed from the rows, nothing stored beside them.

Each run has a root DAG, five tasks, a dataset, a model and metrics.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import Message

from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from tests.support.crowded_kfp.lists import TASK_NAMES
from tests.support.crowded_kfp.rows import TASKS, Row, Rows

SERVICE = "/ml_metadata.MetadataStoreService/"
# Executions, artifacts and contexts of run n have ids from n * _IDS on.
_IDS = 16
_OF_RUNS = re.compile(r"contexts_run\.name IN \((.*)\)")
_SINCE = re.compile(r"last_update_time_since_epoch >= (\d+)")
# Task that puts it out, key, type; each is also read by the task after that.
_ARTIFACTS = ((0, "data", "system.Dataset"), (1, "model", "system.Model"), (2, "metrics", "system.Metrics"))
_METRICS = ("auc", "accuracy", "precision", "recall", "loss")
_TYPE_IDS = {
    "system.PipelineRun": 1,
    "system.DAGExecution": 2,
    "system.ContainerExecution": 3,
    "system.Dataset": 4,
    "system.Model": 5,
    "system.Metrics": 6,
}
RecordT = TypeVar("RecordT")


class MetadataError(Exception):
    """A gRPC status other than OK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Metadata:
    """Answers the calls that a reader of runs makes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._calls: dict[str, Callable[[bytes], Message]] = {
            "GetContextByTypeAndName": self._context_by_name,
            "GetContextsByExecution": self._contexts_by_execution,
            "GetExecutionsByContext": self._executions_by_context,
            "GetExecutionsByID": self._executions_by_id,
            "GetArtifactsByContext": self._artifacts_by_context,
            "GetArtifactsByID": self._artifacts_by_id,
            "GetEventsByExecutionIDs": self._events,
            "GetExecutions": self._filtered_executions,
        }

    def answer(self, method: str, body: bytes) -> bytes:
        """The body of the response to a unary gRPC-web call."""
        call = self._calls.get(method)
        if call is None:
            return grpcweb.encode_error(grpcweb.UNIMPLEMENTED, f"no method {method}")
        try:
            return grpcweb.encode_response(call(grpcweb.decode_request(body)).SerializeToString())
        except MetadataError as error:
            return grpcweb.encode_error(error.code, str(error))

    def _context_by_name(self, asked: bytes) -> Message:
        request = pb.GetContextByTypeAndNameRequest.FromString(asked)
        row = self._rows.by_id.get(request.context_name)
        # MLMD answers without a context if there is none.
        if row is None or request.type_name != "system.PipelineRun":
            return pb.GetContextByTypeAndNameResponse()
        return pb.GetContextByTypeAndNameResponse(context=_context(row))

    def _contexts_by_execution(self, asked: bytes) -> Message:
        request = pb.GetContextsByExecutionRequest.FromString(asked)
        row = self._row(request.execution_id)
        return pb.GetContextsByExecutionResponse(contexts=[_context(row)] if row else [])

    def _executions_by_context(self, asked: bytes) -> Message:
        request = pb.GetExecutionsByContextRequest.FromString(asked)
        row = self._row(request.context_id)
        found, token = _page(_executions(row) if row else [], request.options)
        return pb.GetExecutionsByContextResponse(executions=found, next_page_token=token)

    def _executions_by_id(self, asked: bytes) -> Message:
        ids = pb.GetExecutionsByIDRequest.FromString(asked).execution_ids
        known = ((self._row(one), one % _IDS - 1) for one in ids)
        made = [_execution(row, place) for row, place in known if row and place < _shown(row)]
        return pb.GetExecutionsByIDResponse(executions=made)

    def _artifacts_by_context(self, asked: bytes) -> Message:
        request = pb.GetArtifactsByContextRequest.FromString(asked)
        row = self._row(request.context_id)
        found, token = _page(_artifacts(row) if row else [], request.options)
        return pb.GetArtifactsByContextResponse(artifacts=found, next_page_token=token)

    def _artifacts_by_id(self, asked: bytes) -> Message:
        wanted = set(pb.GetArtifactsByIDRequest.FromString(asked).artifact_ids)
        rows = [
            row for number in sorted({one // _IDS for one in wanted}) if (row := self._row(number * _IDS))
        ]
        found = [artifact for row in rows for artifact in _artifacts(row) if artifact.id in wanted]
        return pb.GetArtifactsByIDResponse(artifacts=found)

    def _events(self, asked: bytes) -> Message:
        answer = pb.GetEventsByExecutionIDsResponse()
        for execution_id in pb.GetEventsByExecutionIDsRequest.FromString(asked).execution_ids:
            row, task = self._row(execution_id), execution_id % _IDS - 2
            if row is None or task < 0:
                continue
            for place, (producer, key, _) in enumerate(_ARTIFACTS):
                for user, kind in ((producer, pb.Event.OUTPUT), (producer + 1, pb.Event.INPUT)):
                    if task == user and row.done > producer:
                        event = answer.events.add(execution_id=execution_id, type=kind)
                        event.artifact_id = row.number * _IDS + 1 + place
                        event.path.steps.add(key=key)
        return answer

    def _filtered_executions(self, asked: bytes) -> Message:
        options = pb.GetExecutionsRequest.FromString(asked).options
        of_runs = _OF_RUNS.fullmatch(options.filter_query)
        if of_runs is None:
            return self._changed_executions(options)
        rows = (self._rows.by_id.get(name.strip("' ")) for name in of_runs[1].split(","))
        known = sorted((row for row in rows if row is not None), key=lambda row: row.number)
        places = ((row, place) for row in known for place in range(_shown(row)))
        found, token = _page(places, options)
        return pb.GetExecutionsResponse(
            executions=[_execution(row, place) for row, place in found], next_page_token=token
        )

    def _changed_executions(self, options: pb.ListOperationOptions) -> Message:
        since = _SINCE.fullmatch(options.filter_query)
        if (
            since is None
            or options.order_by_field.field != pb.ListOperationOptions.OrderByField.LAST_UPDATE_TIME
        ):
            raise MetadataError(grpcweb.INVALID_ARGUMENT, "only what changed since a moment can be listed")
        changes = self._rows.changes
        at = int(options.next_page_token or bisect_left(changes, (int(since[1]),)))
        answer = pb.GetExecutionsResponse()
        while at < len(changes) and len(answer.executions) < _size(options):
            moment, number, place = changes[at]
            at += 1
            row = self._rows.all[number]
            # What changed again since then is listed once, where it changed last.
            if row.updates and row.updates[place] == moment and row.run_id in self._rows.by_id:
                answer.executions.append(_execution(row, place))
        if at < len(changes):
            answer.next_page_token = str(at)
        return answer

    def _row(self, identity: int) -> Row | None:
        number = identity // _IDS
        row = self._rows.all[number] if 0 <= number < len(self._rows.all) else None
        return row if row and row.run_id in self._rows.by_id else None


def _size(options: pb.ListOperationOptions) -> int:
    return min(100, options.max_result_size)


def _page(records: Iterable[RecordT], options: pb.ListOperationOptions) -> tuple[list[RecordT], str]:
    everything = list(records)
    start, size = int(options.next_page_token or 0), _size(options)
    more = start + size < len(everything)
    return everything[start : start + size], str(start + size) if more else ""


def _context(row: Row) -> pb.Context:
    kind = "system.PipelineRun"
    return pb.Context(id=row.number * _IDS, type_id=_TYPE_IDS[kind], type=kind, name=row.run_id)


def _shown(row: Row) -> int:
    """How many executions there are: the root, the finished tasks and the one that runs."""
    return 1 + min(row.done + 1, TASKS)


def _executions(row: Row) -> list[pb.Execution]:
    return [_execution(row, place) for place in range(_shown(row))]


def _execution(row: Row, place: int) -> pb.Execution:
    """The root (place 0) or a task of the run."""
    kind = "system.ContainerExecution" if place else "system.DAGExecution"
    state = pb.Execution.COMPLETE if row.done >= (place or TASKS) else pb.Execution.RUNNING
    if row.end and row.end[0] == "FAILED" and place == TASK_NAMES.index("evaluate") + 1:
        state = pb.Execution.FAILED
    made = pb.Execution(
        id=row.number * _IDS + 1 + place,
        type_id=_TYPE_IDS[kind],
        type=kind,
        last_known_state=state,
        create_time_since_epoch=row.created_ms + place * 1000,
        last_update_time_since_epoch=row.updates[place] if row.updates else row.created_ms,
    )
    if place == 0:
        made.name = f"run/{row.run_id}"
        return made
    texts = {"task_name": TASK_NAMES[place - 1], "pod_name": f"crowded-{row.number}-{place - 1}"}
    for name, text in texts.items():
        made.custom_properties[name].string_value = text
    made.custom_properties["parent_dag_id"].int_value = row.number * _IDS + 1
    made.custom_properties["inputs"].struct_value.update({"epochs": 3, "learning_rate": 0.1})
    return made


def _artifacts(row: Row) -> list[pb.Artifact]:
    made = []
    for place, (producer, key, kind) in enumerate(_ARTIFACTS):
        if row.done <= producer:
            break
        artifact = pb.Artifact(
            id=row.number * _IDS + 1 + place,
            type_id=_TYPE_IDS[kind],
            type=kind,
            uri=f"minio://mlpipeline/v2/artifacts/crowded/{row.run_id}/{TASK_NAMES[producer]}/{key}",
            state=pb.Artifact.LIVE,
            create_time_since_epoch=row.created_ms,
            last_update_time_since_epoch=row.created_ms,
        )
        artifact.custom_properties["display_name"].string_value = key
        if kind == "system.Metrics":
            for step, name in enumerate(_METRICS):
                artifact.custom_properties[name].double_value = (row.number % 1000) / 1000 + step
        made.append(artifact)
    return made
