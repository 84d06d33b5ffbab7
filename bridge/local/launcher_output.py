"""Reads what a task gave: ``executor_output.json``, output parameter files, artifacts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.local.artifacts import to_place, to_uri
from bridge.local.recording import StoredArtifact, TaskResult
from bridge.local.staging import Staging
from bridge.spec.model import ArtifactSlot, Component
from bridge.spec.values import as_type, parse_text

MAX_OUTPUT_BYTES = 32 * 1024 * 1024


class OutputError(ValueError):
    """What a task wrote cannot be read as what its component declares; a sentence for its error."""


def read_outputs(
    component: Component, executor_input: Mapping[str, Any], staging: Staging | None = None
) -> TaskResult:
    """The task's outputs, parameters with exactly their declared types. Raises ``OutputError``, and with
    ``staging`` ``ObjectStoreError`` for an artifact that lies outside of it.

    Files of output parameters win over ``executor_output.json``, as in KFP's launcher. A parameter the
    task wrote nowhere is left out.
    """
    outputs = executor_input["outputs"]
    written = _read_executor_output(Path(outputs["outputFile"]))
    values = written.get("parameterValues") or {}
    parameters: dict[str, Any] = {}
    for name, kind in component.output_parameters.items():
        path = Path(outputs["parameters"][name]["outputFile"])
        try:
            if path.is_file():
                parameters[name] = parse_text(kind, _read_text(path))
            elif name in values:
                parameters[name] = as_type(kind, values[name])
        except ValueError as error:
            raise OutputError(f"The output {name} does not fit its type: {error}") from error
    told = written.get("artifacts") or {}
    artifacts = {
        name: _artifacts(slot, outputs["artifacts"][name], told.get(name), staging)
        for name, slot in component.output_artifacts.items()
    }
    return TaskResult(parameters, artifacts)


def _read_executor_output(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        raise OutputError(f"executor_output.json is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise OutputError("executor_output.json holds no JSON object.")
    return content


def _read_text(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_OUTPUT_BYTES:
        raise OutputError(
            f"The output file {path.name} is {size} bytes long; at most {MAX_OUTPUT_BYTES} are read."
        )
    return path.read_text(encoding="utf-8")


def _artifacts(
    slot: ArtifactSlot,
    declared: Mapping[str, Any],
    written: Mapping[str, Any] | None,
    staging: Staging | None,
) -> tuple[StoredArtifact, ...]:
    default = declared["artifacts"][0]
    found = (written or {}).get("artifacts")
    if found is None:
        found = [default]
    return tuple(_artifact(slot, default, {**default, **message}, staging) for message in found)


def _artifact(
    slot: ArtifactSlot, default: Mapping[str, Any], message: Mapping[str, Any], staging: Staging | None
) -> StoredArtifact:
    place = str(message.get("uri") or default["uri"])
    if staging is not None:
        place = staging.uri(place)
    custom = message.get("custom_path") or message.get("customPath")
    if custom:
        _bring(Path(custom), (staging and staging.place(place)) or Path(to_place(place)))
    metadata = message.get("metadata")
    kind = message.get("type") or {}
    return StoredArtifact(
        schema_title=kind.get("schemaTitle") or slot.schema_title,
        schema_version=kind.get("schemaVersion") or slot.schema_version,
        uri=to_uri(place),
        name=str(message.get("name") or slot.name),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _bring(source: Path, target: Path) -> None:
    """Copies what a task wrote to a path of its own choice to where the artifact belongs."""
    if not source.exists() or source == target:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
