"""MLMD's calls beyond those that the bridge's own reader makes, and how wrong ones are refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.kfp_api import grpcweb
from bridge.kfp_api import metadata_pb2 as pb
from bridge.local import mlmd_service, store_mlmd, store_schema
from bridge.local.mlmd_service import METHODS, GrpcError
from bridge.local.recording import StoredArtifact
from bridge.local.store_mlmd import EventType, ExecutionState

SERVED = {method.name for method in pb.DESCRIPTOR.services_by_name["MetadataStoreService"].methods}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.row_factory = sqlite3.Row
    store_schema.prepare(made)
    contexts = store_mlmd.contexts_of_run(made, "flow", "run-1", "ns")
    for number in range(5):
        execution = store_mlmd.add_execution(made, "container", None, contexts)
        store_mlmd.update_execution(made, execution, ExecutionState.COMPLETE, {"task_name": f"t{number}"})
        artifact = StoredArtifact(schema_title="system.Model", uri=f"file:///m{number}", name=f"m{number}")
        ids = {"model": (store_mlmd.add_artifact(made, artifact, "model"),)}
        store_mlmd.link(made, execution, EventType.OUTPUT, ids, contexts)
        made.execute(
            "UPDATE mlmd_executions SET update_time = ? WHERE id = ?", (1000 + number // 2, execution)
        )
    yield made
    made.close()


def call(connection: sqlite3.Connection, method: str, **fields: Any) -> Any:
    request = getattr(pb, f"{method}Request")(**fields)
    answer = getattr(pb, f"{method}Response")()
    answer.ParseFromString(mlmd_service.call(connection, method, request.SerializeToString()))
    return answer


def options(**fields: Any) -> pb.ListOperationOptions:
    return pb.ListOperationOptions(**fields)


def test_every_method_of_the_service_is_served() -> None:
    assert set(METHODS) == SERVED


def test_nodes_by_name_id_type_and_uri(connection: sqlite3.Connection) -> None:
    run = call(
        connection, "GetContextByTypeAndName", type_name="system.PipelineRun", context_name="run-1"
    ).context
    assert run.custom_properties["namespace"].string_value == "ns"
    assert not call(
        connection, "GetContextByTypeAndName", type_name="system.PipelineRun", context_name="x"
    ).HasField("context")
    parents = call(connection, "GetParentContextsByContext", context_id=run.id).contexts
    assert [(one.type, one.name) for one in parents] == [("system.Pipeline", "flow")]
    children = call(connection, "GetChildrenContextsByContext", context_id=parents[0].id).contexts
    assert [one.id for one in children] == [run.id]
    assert [one.id for one in call(connection, "GetExecutionsByID", execution_ids=[4, 2, 9]).executions] == [
        2,
        4,
    ]
    assert len(call(connection, "GetArtifactsByType", type_name="system.Model").artifacts) == 5
    assert not call(connection, "GetArtifactsByType", type_name="system.Dataset").artifacts
    assert [one.id for one in call(connection, "GetArtifactsByURI", uris=["file:///m2"]).artifacts] == [3]
    found = call(
        connection, "GetArtifactByTypeAndName", type_name="system.Model", artifact_name="m1"
    ).artifact
    assert (found.id, found.type, found.uri) == (2, "system.Model", "file:///m1")
    assert [one.name for one in call(connection, "GetContextsByArtifact", artifact_id=1).contexts] == [
        "flow",
        "run-1",
    ]
    events = call(connection, "GetEventsByArtifactIDs", artifact_ids=[1, 2]).events
    assert [(one.execution_id, one.type, one.path.steps[0].key) for one in events] == [
        (1, pb.Event.OUTPUT, "model"),
        (2, pb.Event.OUTPUT, "model"),
    ]


def test_types(connection: sqlite3.Connection) -> None:
    kind = call(connection, "GetArtifactType", type_name="system.Model").artifact_type
    assert [
        one.name for one in call(connection, "GetArtifactTypesByID", type_ids=[kind.id]).artifact_types
    ] == ["system.Model"]
    assert [one.name for one in call(connection, "GetContextTypes").context_types] == [
        "system.Pipeline",
        "system.PipelineRun",
    ]
    with pytest.raises(GrpcError) as caught:
        call(connection, "GetExecutionType", type_name="system.Nothing")
    assert caught.value.code == grpcweb.NOT_FOUND


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("field", ["ID", "CREATE_TIME", "LAST_UPDATE_TIME"])
def test_pages_join_to_the_whole(connection: sqlite3.Connection, field: str, ascending: bool) -> None:
    order = pb.ListOperationOptions.OrderByField(field=field, is_asc=ascending)
    seen, token = [], ""
    for _ in range(3):
        told = options(max_result_size=2, order_by_field=order, next_page_token=token)
        page = call(connection, "GetExecutions", options=told)
        seen += [one.id for one in page.executions]
        token = page.next_page_token
    assert token == ""
    assert seen == ([1, 2, 3, 4, 5] if ascending else [5, 4, 3, 2, 1])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("last_update_time_since_epoch >= 1001", [3, 4, 5]),
        ("last_update_time_since_epoch>1001 AND id != 5", []),
        ("custom_properties.task_name.string_value = 't3'", [4]),
        ('custom_properties.`task_name`.string_value LIKE "t%" and id < 3', [1, 2]),
        ("contexts_run.name = 'run-1' AND contexts_run.type = 'system.PipelineRun' AND id <= 2", [1, 2]),
        ("contexts_run.name = 'other'", []),
        ("contexts_run.name IN ('other', 'run-1') AND id >= 4", [4, 5]),
        ('custom_properties.task_name.string_value IN ("t1" , "t3")', [2, 4]),
        ("id IN(5,1)", [1, 5]),
        ("type = 'system.ContainerExecution' AND last_known_state = 3 AND id > 4", [5]),
        ("custom_properties.task_name.string_value = 'it\\'s'", []),
    ],
)
def test_filters(connection: sqlite3.Connection, query: str, expected: list[int]) -> None:
    found = call(connection, "GetExecutions", options=options(filter_query=query)).executions
    assert [one.id for one in found] == expected


@pytest.mark.parametrize(
    "query",
    [
        "colour = 'red'",
        "id = ",
        "id = 1 OR id = 2",
        "id = 1; DROP TABLE runs",
        "id IN ()",
        "id IN (1, 2",
        "'",
        "id = 1 id = 2",
    ],
)
def test_a_filter_that_is_not_understood_is_an_invalid_argument(
    connection: sqlite3.Connection, query: str
) -> None:
    with pytest.raises(GrpcError, match="filter_query") as caught:
        call(connection, "GetExecutions", options=options(filter_query=query))
    assert caught.value.code == grpcweb.INVALID_ARGUMENT


def test_other_wrong_calls(connection: sqlite3.Connection) -> None:
    with pytest.raises(GrpcError) as caught:
        mlmd_service.call(connection, "PutArtifacts", b"")
    assert caught.value.code == grpcweb.UNIMPLEMENTED
    with pytest.raises(GrpcError) as caught:
        mlmd_service.call(connection, "GetExecutions", b"\xff\xff\xff")
    assert caught.value.code == grpcweb.INVALID_ARGUMENT
    for wrong in (options(next_page_token="x"), options(max_result_size=0)):
        with pytest.raises(GrpcError) as caught:
            call(connection, "GetExecutions", options=wrong)
        assert caught.value.code == grpcweb.INVALID_ARGUMENT


def test_values_keep_their_mlmd_types(connection: sqlite3.Connection) -> None:
    metadata = {
        "n": 1,
        "f": 0.5,
        "b": True,
        "s": "x",
        "l": [1],
        "o": {"a": None},
        "huge": 10**400,
        "none": None,
    }
    artifact = StoredArtifact(schema_title="system.Metrics", uri="file:///x", metadata=metadata)
    number = store_mlmd.add_artifact(connection, artifact, "metrics")
    properties = call(connection, "GetArtifactsByID", artifact_ids=[number]).artifacts[0].custom_properties
    assert {name: value.WhichOneof("value") for name, value in properties.items()} == {
        "n": "double_value",
        "f": "double_value",
        "b": "int_value",
        "s": "string_value",
        "l": "struct_value",
        "o": "struct_value",
        "huge": "string_value",
        "display_name": "string_value",
    }
    assert list(properties["l"].struct_value["list"]) == [1]
    assert dict(properties["o"].struct_value["struct"]) == {"a": None}
    assert store_mlmd.get_artifact(connection, number).metadata == metadata  # type: ignore[union-attr]


def test_a_number_beyond_all_doubles_is_shown_by_its_digits(connection: sqlite3.Connection) -> None:
    properties = json.dumps({"outputs": {"n": [10**400, 1]}})
    connection.execute("UPDATE mlmd_executions SET custom_properties = ? WHERE id = 1", (properties,))
    execution = call(connection, "GetExecutionsByID", execution_ids=[1]).executions[0]
    assert list(execution.custom_properties["outputs"].struct_value["n"]) == [str(10**400), 1.0]
