"""Rows of the store as MLMD's messages."""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import Any

from bridge.kfp_api import metadata_pb2 as pb


def artifact_message(row: sqlite3.Row) -> pb.Artifact:
    """A row of ``mlmd_artifacts`` with its ``type_name``."""
    artifact = pb.Artifact(
        id=row["id"],
        type_id=row["type_id"],
        type=row["type_name"],
        state=row["state"],
        create_time_since_epoch=row["create_time"],
        last_update_time_since_epoch=row["update_time"],
    )
    if row["uri"] is not None:
        artifact.uri = row["uri"]
    if row["name"] is not None:
        artifact.name = row["name"]
    _fill(artifact.custom_properties, row["custom_properties"])
    return artifact


def execution_message(row: sqlite3.Row) -> pb.Execution:
    """A row of ``mlmd_executions`` with its ``type_name``."""
    execution = pb.Execution(
        id=row["id"],
        type_id=row["type_id"],
        type=row["type_name"],
        last_known_state=row["state"],
        create_time_since_epoch=row["create_time"],
        last_update_time_since_epoch=row["update_time"],
    )
    if row["name"] is not None:
        execution.name = row["name"]
    _fill(execution.custom_properties, row["custom_properties"])
    return execution


def context_message(row: sqlite3.Row) -> pb.Context:
    """A row of ``mlmd_contexts`` with its ``type_name``."""
    context = pb.Context(
        id=row["id"],
        type_id=row["type_id"],
        type=row["type_name"],
        name=row["name"],
        create_time_since_epoch=row["create_time"],
        last_update_time_since_epoch=row["update_time"],
    )
    _fill(context.custom_properties, row["custom_properties"])
    return context


def _fill(properties: Any, text: str) -> None:
    for name, value in json.loads(text).items():
        if isinstance(value, str):
            properties[name].string_value = value
        elif isinstance(value, int):
            properties[name].int_value = value
        elif isinstance(value, float):
            properties[name].double_value = value
        else:
            # Touching the field keeps an empty object apart from no value at all.
            properties[name].struct_value.SetInParent()
            properties[name].struct_value.update(_representable(value))


def _representable(value: Any) -> Any:
    """A value as protobuf's Struct can hold it: a number beyond all doubles is kept by its digits."""
    if isinstance(value, dict):
        return {name: _representable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_representable(inner) for inner in value]
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return str(value)
    return value


def event_message(row: sqlite3.Row) -> pb.Event:
    """A row of ``mlmd_events``; its path is the artifact's key and its position under that key."""
    steps = [pb.Event.Path.Step(key=row["key"]), pb.Event.Path.Step(index=row["position"])]
    return pb.Event(
        artifact_id=row["artifact_id"],
        execution_id=row["execution_id"],
        path=pb.Event.Path(steps=steps),
        type=row["type"],
        milliseconds_since_epoch=row["time"],
    )
