"""A metadata service in memory that answers over gRPC-web as MLMD does, in small pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from google.protobuf import struct_pb2
from google.protobuf.message import Message

from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.retry import RetryPolicy

EXECUTION_TYPES = {"container": "system.ContainerExecution", "dag": "system.DAGExecution"}
EXECUTION_TYPES["importer"] = "system.ImporterExecution"
EXECUTION_TYPES["workspace importer"] = "system.ImporterWorkspaceExecution"
T0 = 1_767_323_045_000


def value(content: Any) -> pb.Value:
    """A property as KFP's converter writes it: objects and lists wrapped, other numbers as they are."""
    if isinstance(content, bool):
        return pb.Value(int_value=int(content))
    if isinstance(content, int):
        return pb.Value(int_value=content)
    if isinstance(content, float):
        return pb.Value(double_value=content)
    if isinstance(content, str):
        return pb.Value(string_value=content)
    if isinstance(content, list):
        return pb.Value(struct_value=struct({"list": content}))
    return pb.Value(struct_value=struct({"struct": content}))


def struct(content: Mapping[str, Any]) -> struct_pb2.Struct:
    """A protobuf struct, numbers that are not finite included."""
    made = struct_pb2.Struct()
    made.update(content)
    return made


@dataclass
class FakeMlmd:
    """Records, and the few calls on them that the reader makes. ``page_size`` keeps pages small."""

    page_size: int = 2
    types_in_records: bool = True
    contexts: dict[int, pb.Context] = field(default_factory=dict)
    executions: dict[int, pb.Execution] = field(default_factory=dict)
    artifacts: dict[int, pb.Artifact] = field(default_factory=dict)
    events: list[pb.Event] = field(default_factory=list)
    associations: set[tuple[int, int]] = field(default_factory=set)
    attributions: set[tuple[int, int]] = field(default_factory=set)
    type_ids: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)

    def run(self, run_id: object) -> pb.Context:
        """A run's context."""
        context = pb.Context(id=len(self.contexts) + 1, name=str(run_id))
        context.type_id = self._type("system.PipelineRun")
        if self.types_in_records:
            context.type = "system.PipelineRun"
        self.contexts[context.id] = context
        return context

    def execution(
        self,
        context: pb.Context,
        kind: str,
        task_name: str | None,
        *,
        parent: pb.Execution | None = None,
        state: int = pb.Execution.COMPLETE,
        name: str = "",
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        changed_ms: int | None = None,
        **properties: Any,
    ) -> pb.Execution:
        """An execution in the run's context."""
        made = pb.Execution(id=len(self.executions) + 1, last_known_state=pb.Execution.State.ValueType(state))
        made.type_id = self._type(EXECUTION_TYPES[kind])
        if self.types_in_records:
            made.type = EXECUTION_TYPES[kind]
        if name:
            made.name = name
        named = {"task_name": task_name, "display_name": task_name, **properties}
        if parent is not None:
            named["parent_dag_id"] = parent.id
        for key, content in named.items():
            if content is not None:
                made.custom_properties[key].CopyFrom(value(content))
        for key, content in (("inputs", inputs), ("outputs", outputs)):
            if content is not None:
                made.custom_properties[key].struct_value.CopyFrom(struct(content))
        made.create_time_since_epoch = T0 + made.id * 1000
        made.last_update_time_since_epoch = changed_ms or T0 + made.id * 1000 + 500
        self.executions[made.id] = made
        self.associations.add((context.id, made.id))
        return made

    def artifact(
        self, context: pb.Context, kind: str, uri: str = "", name: str | None = None, **properties: Any
    ) -> pb.Artifact:
        """An artifact in the run's context."""
        made = pb.Artifact(id=len(self.artifacts) + 101, uri=uri, create_time_since_epoch=T0)
        made.type_id = self._type(kind)
        if self.types_in_records:
            made.type = kind
        for key, content in {"display_name": name, **properties}.items():
            if content is not None:
                made.custom_properties[key].CopyFrom(value(content))
        self.artifacts[made.id] = made
        self.attributions.add((context.id, made.id))
        return made

    def event(
        self,
        execution: pb.Execution,
        artifact: pb.Artifact,
        key: str,
        kind: int = pb.Event.OUTPUT,
        index: int | None = None,
    ) -> None:
        """An execution used or made an artifact."""
        made = pb.Event(
            execution_id=execution.id, artifact_id=artifact.id, type=pb.Event.Type.ValueType(kind)
        )
        made.path.steps.add(key=key)
        if index is not None:
            made.path.steps.add(index=index)
        self.events.append(made)

    def client(self) -> KfpClient:
        """A client that reaches this service and nothing else."""

        async def no_wait(seconds: float) -> None:
            return None

        transport = httpx.MockTransport(self.handle)
        return KfpClient(
            "http://kfp.example", transport=transport, retry=RetryPolicy(attempts=2), sleep=no_wait
        )

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """One call."""
        service, method = request.url.path.lstrip("/").split("/")
        assert service == "ml_metadata.MetadataStoreService"
        assert request.headers["content-type"] == grpcweb.CONTENT_TYPE
        self.calls.append(method)
        headers = {"content-type": grpcweb.CONTENT_TYPE}
        if method in self.refusals:
            refusal = grpcweb.encode_error(*self.refusals[method])
            return httpx.Response(200, headers=headers, content=refusal)
        question = getattr(pb, f"{method}Request").FromString(grpcweb.decode_request(await request.aread()))
        answer: Message = getattr(self, f"_{method}")(question)
        return httpx.Response(
            200, headers=headers, content=grpcweb.encode_response(answer.SerializeToString())
        )

    def _type(self, name: str) -> int:
        return self.type_ids.setdefault(name, len(self.type_ids) + 1)

    def _GetContextByTypeAndName(self, question: Any) -> Message:
        assert question.type_name == "system.PipelineRun"
        found = [one for one in self.contexts.values() if one.name == question.context_name]
        return pb.GetContextByTypeAndNameResponse(context=found[0] if found else None)

    def _GetExecutionsByContext(self, question: Any) -> Message:
        mine = (
            self.executions[item] for context, item in self.associations if context == question.context_id
        )
        page, token = self._page(mine, question.options)
        return pb.GetExecutionsByContextResponse(executions=page, next_page_token=token)

    def _GetArtifactsByContext(self, question: Any) -> Message:
        of_run = question.context_id
        mine = (self.artifacts[item] for context, item in self.attributions if context == of_run)
        page, token = self._page(mine, question.options)
        return pb.GetArtifactsByContextResponse(artifacts=page, next_page_token=token)

    def _GetExecutions(self, question: Any) -> Message:
        order = pb.ListOperationOptions.OrderByField
        assert question.options.order_by_field.field == order.LAST_UPDATE_TIME
        column, operator, since = question.options.filter_query.split(" ")
        assert (column, operator) == ("last_update_time_since_epoch", ">=")
        changed = (one for one in self.executions.values() if one.last_update_time_since_epoch >= int(since))
        page, token = self._page(
            changed, question.options, lambda one: (one.last_update_time_since_epoch, one.id)
        )
        return pb.GetExecutionsResponse(executions=page, next_page_token=token)

    def _GetContextsByExecution(self, question: Any) -> Message:
        mine = [
            self.contexts[context] for context, item in self.associations if item == question.execution_id
        ]
        return pb.GetContextsByExecutionResponse(contexts=mine)

    def _GetEventsByExecutionIDs(self, question: Any) -> Message:
        wanted = set(question.execution_ids)
        return pb.GetEventsByExecutionIDsResponse(
            events=[one for one in self.events if one.execution_id in wanted]
        )

    def _GetArtifactsByID(self, question: Any) -> Message:
        found = [self.artifacts[one] for one in question.artifact_ids if one in self.artifacts]
        return pb.GetArtifactsByIDResponse(artifacts=found)

    def _GetExecutionTypesByID(self, question: Any) -> Message:
        names = {number: name for name, number in self.type_ids.items()}
        types = [pb.ExecutionType(id=one, name=names[one]) for one in question.type_ids]
        return pb.GetExecutionTypesByIDResponse(execution_types=types)

    def _GetArtifactTypesByID(self, question: Any) -> Message:
        names = {number: name for name, number in self.type_ids.items()}
        types = [pb.ArtifactType(id=one, name=names[one]) for one in question.type_ids]
        return pb.GetArtifactTypesByIDResponse(artifact_types=types)

    def _page(
        self, records: Iterable[Any], options: Any, key: Callable[[Any], Any] = lambda one: one.id
    ) -> tuple[Sequence[Any], str]:
        ordered = sorted(records, key=key)
        start = int(options.next_page_token or 0)
        end = start + min(self.page_size, options.max_result_size)
        return ordered[start:end], str(end) if end < len(ordered) else ""
