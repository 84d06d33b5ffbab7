"""Reads ML Metadata over gRPC-web, as every published KFP release serves it beside its UI."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from uuid import UUID

from bridge.domain.lineage import RunMirror
from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpInvalid, KfpNotFound
from bridge.kfp_api.messages import TaskDetail
from bridge.kfp_api.metadata import Changes
from bridge.kfp_api.mirror import RunMetadata, build_mirror
from bridge.kfp_api.mlmd_calls import PAGE_SIZE, SERVICE, MlmdCalls, OrderField, list_options
from bridge.kfp_api.values import int_of

__all__ = ["MOST_TOGETHER", "PAGE_SIZE", "RUN_CONTEXT", "SERVICE", "MlmdReader"]

RUN_CONTEXT = "system.PipelineRun"
# Executions that are read together: what is beyond is read run by run, so that memory stays bounded.
MOST_TOGETHER = 1000
_MAX_REMEMBERED = 50_000
# How a server answers that knows neither the call nor its filter.
_NOT_THERE = (grpcweb.UNIMPLEMENTED, grpcweb.INVALID_ARGUMENT)


class MlmdReader:
    """The ``MetadataReader`` of published KFP releases.

    Goes through the given client, so host, token, timeouts and retries are its own; ``base_url``
    names where ``/ml_metadata.MetadataStoreService`` is if not there. Left out, and the client's URL
    has a path, the host's root is tried too: a Kubeflow gateway has the UI at ``/pipeline`` and the
    metadata beside it. All errors are ``KfpError``; ``KfpNotFound`` or a ``KfpBadAnswer`` about an
    HTML page means that no metadata service is reached there.
    """

    def __init__(self, client: KfpClient, *, base_url: str | None = None) -> None:
        self._calls = MlmdCalls(client, base_url=base_url)
        # Which run an execution belongs to never changes, and asking costs a call for each.
        self._runs: OrderedDict[int, UUID | None] = OrderedDict()
        self._takes_filters = True

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """The run's mirror; ``None`` if MLMD has no context of that run (not begun, or expired)."""
        calls = self._calls
        context = await self._context_of(kfp_run_id)
        if context is None:
            return None
        executions = [one async for one in self._executions_of(context)]
        events = [one async for one in calls.events_of([execution.id for execution in executions])]
        artifacts = {one.id: one async for one in self._artifacts_of(context)}
        # A cached or imported artifact can belong to another run's context alone.
        missing = {event.artifact_id for event in events} - set(artifacts)
        artifacts |= {one.id: one async for one in calls.artifacts_by_id(sorted(missing))}
        used = {event.artifact_id for event in events}
        run = RunMetadata(
            executions=executions,
            artifacts=[one for one in artifacts.values() if one.id in used],
            events=events,
            execution_types=await calls.execution_types(executions),
            artifact_types=await calls.artifact_types(artifacts.values()),
        )
        return build_mirror(run, tasks)

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        """See ``MetadataReader``: three calls and a few pages, however many runs it is."""
        executions = await self._executions_of_runs(runs)
        if not executions:
            return {}
        calls, together = self._calls, [one for ones in executions.values() for one in ones]
        owners = {one.id: run for run, ones in executions.items() for one in ones}
        events: defaultdict[UUID, list[pb.Event]] = defaultdict(list)
        async for event in calls.events_of(list(owners)):
            events[owners[event.execution_id]].append(event)
        used = {run: {event.artifact_id for event in told} for run, told in events.items()}
        wanted = sorted(set().union(*used.values()))
        artifacts = {one.id: one async for one in calls.artifacts_by_id(wanted)}
        execution_types = await calls.execution_types(together)
        artifact_types = await calls.artifact_types(artifacts.values())
        found = {}
        for run, ones in executions.items():
            metadata = RunMetadata(
                executions=ones,
                artifacts=[artifacts[one] for one in used.get(run, ()) if one in artifacts],
                events=events.get(run, ()),
                execution_types=execution_types,
                artifact_types=artifact_types,
            )
            found[run] = build_mirror(metadata, runs[run])
        return found

    async def changed_since(self, since_ms: int) -> Changes | None:
        """The runs with an execution that changed at ``since_ms`` or later; ``None`` if MLMD cannot say."""
        newest = since_ms
        runs: set[UUID] = set()
        where = f"last_update_time_since_epoch >= {int(since_ms)}"
        try:
            async for execution in self._calls.executions(where, OrderField.LAST_UPDATE_TIME):
                newest = max(newest, execution.last_update_time_since_epoch)
                run = await self._run_of(execution)
                if run is not None:
                    runs.add(run)
        except KfpInvalid as error:
            if error.code in _NOT_THERE:
                return None
            raise
        return Changes(frozenset(runs), newest)

    async def _executions_of_runs(self, runs: Collection[UUID]) -> dict[UUID, list[pb.Execution]]:
        """The executions by run; nothing if they are too many, or the server cannot tell."""
        if not self._takes_filters or not runs:
            return {}
        names = ", ".join(f"'{run}'" for run in runs)
        where = f"contexts_run.name IN ({names})"
        found: list[pb.Execution] = []
        try:
            async for execution in self._calls.executions(where):
                found.append(execution)
                if len(found) > MOST_TOGETHER:
                    return {}
        except KfpInvalid as error:
            if error.code not in _NOT_THERE:
                raise
            self._takes_filters = False
            return {}
        return await self._by_run(found, frozenset(runs))

    async def _by_run(
        self, executions: Iterable[pb.Execution], wanted: frozenset[UUID]
    ) -> dict[UUID, list[pb.Execution]]:
        by_run: dict[UUID, list[pb.Execution]] = {}
        owners: dict[int, UUID] = {}
        # An execution's id is greater than its parent's.
        for execution in executions:
            parent = int_of(execution.custom_properties, "parent_dag_id")
            run = owners.get(parent) if parent is not None else None
            if run is None:
                run = await self._run_of(execution)
            if run not in wanted:
                # The server found it for a run that it does not tell: none of them can be said to be whole.
                return {}
            owners[execution.id] = run
            by_run.setdefault(run, []).append(execution)
        return by_run

    async def _context_of(self, kfp_run_id: UUID) -> pb.Context | None:
        request = pb.GetContextByTypeAndNameRequest(type_name=RUN_CONTEXT, context_name=str(kfp_run_id))
        try:
            answer = await self._calls.call(
                "GetContextByTypeAndName", request, pb.GetContextByTypeAndNameResponse
            )
        except KfpNotFound as error:
            # With an HTTP status it is the route that is missing, not the context.
            if error.status is not None:
                raise
            return None
        return answer.context if answer.HasField("context") else None

    async def _executions_of(self, context: pb.Context) -> AsyncIterator[pb.Execution]:
        def ask(token: str) -> pb.GetExecutionsByContextRequest:
            return pb.GetExecutionsByContextRequest(context_id=context.id, options=list_options(token))

        async for page in self._calls.pages("GetExecutionsByContext", ask, pb.GetExecutionsByContextResponse):
            for execution in page.executions:
                yield execution

    async def _artifacts_of(self, context: pb.Context) -> AsyncIterator[pb.Artifact]:
        def ask(token: str) -> pb.GetArtifactsByContextRequest:
            return pb.GetArtifactsByContextRequest(context_id=context.id, options=list_options(token))

        async for page in self._calls.pages("GetArtifactsByContext", ask, pb.GetArtifactsByContextResponse):
            for artifact in page.artifacts:
                yield artifact

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
        answer = await self._calls.call("GetContextsByExecution", request, pb.GetContextsByExecutionResponse)
        contexts = [one for one in answer.contexts if one.type in (RUN_CONTEXT, "")]
        return next((run for run in (_uuid(one.name) for one in contexts) if run is not None), None)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
