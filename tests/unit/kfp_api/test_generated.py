"""The generated protobuf module: up to date, and with MLMD's own field numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.kfp_api import generate
from bridge.kfp_api import metadata_pb2 as pb

ROOT = Path(generate.__file__).resolve().parents[2]

# From ml_metadata/proto/metadata_store.proto and metadata_store_service.proto, as KFP ships them.
NUMBERS = {
    "Value": {"int_value": 1, "double_value": 2, "string_value": 3, "struct_value": 4, "bool_value": 6},
    "Artifact": {
        "id": 1,
        "type_id": 2,
        "uri": 3,
        "properties": 4,
        "custom_properties": 5,
        "state": 6,
        "name": 7,
        "type": 8,
        "create_time_since_epoch": 9,
        "last_update_time_since_epoch": 10,
    },
    "Execution": {
        "id": 1,
        "type_id": 2,
        "last_known_state": 3,
        "properties": 4,
        "custom_properties": 5,
        "name": 6,
        "type": 7,
        "create_time_since_epoch": 8,
        "last_update_time_since_epoch": 9,
    },
    "Context": {
        "id": 1,
        "type_id": 2,
        "name": 3,
        "properties": 4,
        "custom_properties": 5,
        "type": 6,
        "create_time_since_epoch": 7,
        "last_update_time_since_epoch": 8,
    },
    "Event": {"artifact_id": 1, "execution_id": 2, "path": 3, "type": 4, "milliseconds_since_epoch": 5},
    "ListOperationOptions": {
        "max_result_size": 1,
        "order_by_field": 2,
        "next_page_token": 3,
        "filter_query": 4,
    },
    "GetContextByTypeAndNameRequest": {"type_name": 1, "context_name": 2, "type_version": 3},
    "GetExecutionsByContextRequest": {"context_id": 1, "options": 2},
    "GetExecutionsByContextResponse": {"executions": 1, "next_page_token": 2},
    "GetArtifactsByURIRequest": {"uris": 2},
    "GetContextsByTypeRequest": {"type_name": 1, "options": 2, "type_version": 3},
    "GetArtifactsByTypeRequest": {"type_name": 1, "type_version": 2, "options": 3},
}


@pytest.mark.parametrize("name", NUMBERS)
def test_field_numbers_are_mlmds(name: str) -> None:
    fields = pb.DESCRIPTOR.message_types_by_name[name].fields_by_name
    assert {field: fields[field].number for field in NUMBERS[name]} == NUMBERS[name]


def test_enum_numbers_are_mlmds() -> None:
    assert dict(pb.Execution.State.items()) == {
        "UNKNOWN": 0,
        "NEW": 1,
        "RUNNING": 2,
        "COMPLETE": 3,
        "FAILED": 4,
        "CACHED": 5,
        "CANCELED": 6,
    }
    assert (pb.Event.DECLARED_OUTPUT, pb.Event.DECLARED_INPUT, pb.Event.INPUT, pb.Event.OUTPUT) == (
        1,
        2,
        3,
        4,
    )
    assert pb.ListOperationOptions.OrderByField.LAST_UPDATE_TIME == 2


def test_list_defaults_are_mlmds() -> None:
    assert pb.ListOperationOptions().max_result_size == 20
    assert pb.ListOperationOptions.OrderByField().is_asc is True
    assert pb.ListOperationOptions.OrderByField().field == pb.ListOperationOptions.OrderByField.ID


def test_unknown_fields_of_newer_servers_are_read_over() -> None:
    # Field 12 (system_metadata) is MLMD's and not in our file.
    foreign = pb.Artifact(id=7).SerializeToString() + b"\x62\x02hi"
    assert pb.Artifact.FromString(foreign).id == 7


def test_what_is_committed_is_what_the_proto_gives(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    for name in ("metadata_pb2.py", "metadata_pb2.pyi"):
        fresh = (tmp_path / "bridge" / "kfp_api" / name).read_text(encoding="utf-8")
        committed = (ROOT / "bridge" / "kfp_api" / name).read_text(encoding="utf-8")
        assert fresh == committed, f"{name} is out of date: python -m bridge.kfp_api.generate"


def test_the_module_runs_under_the_lowest_protobuf_we_allow() -> None:
    text = (ROOT / "bridge" / "kfp_api" / "metadata_pb2.py").read_text(encoding="utf-8")
    assert "Domain.PUBLIC,\n    6,\n    31,\n    0," in text
