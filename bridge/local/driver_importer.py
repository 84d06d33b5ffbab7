"""Executes importers: an artifact that exists already becomes known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local.artifacts import to_uri
from bridge.local.driver_finish import Leaf, finish, start_without_pod
from bridge.local.driver_scope import RunContext, TaskEnd
from bridge.local.placeholders import Placeholders
from bridge.local.recording import StoredArtifact, TaskResult
from bridge.spec.model import ImporterSpec

IMPORTED_KEY = "artifact"


async def run_importer(context: RunContext, leaf: Leaf, importer: ImporterSpec) -> TaskEnd:
    """Makes the artifact known; the one that is known already is taken unless it shall be imported anew."""
    await start_without_pod(context, leaf)
    uri = importer.uri if importer.uri_input is None else leaf.inputs.parameters.get(importer.uri_input)
    if not isinstance(uri, str) or not uri:
        end = TaskEnd(RuntimeState.FAILED, message=f"{leaf.task.name} imports an artifact without a URI.")
        return await finish(context, leaf.path, end)
    names = context.names(leaf.task.name, context.task_id(leaf.path))
    executor_input = {"inputs": {"parameterValues": leaf.inputs.parameters}}
    placeholders = Placeholders(executor_input, names)
    artifact = StoredArtifact(
        schema_title=importer.schema_title,
        schema_version=importer.schema_version,
        uri=to_uri(placeholders.replace(uri)),
        name=IMPORTED_KEY,
        metadata=_decoded(placeholders.replace_in(dict(importer.metadata)), importer.metadata),
    )
    if not importer.reimport:
        artifact = replace(artifact, artifact_id=await context.recorder.find_artifact(artifact))
    keys = list(leaf.component.output_artifacts) or [IMPORTED_KEY]
    result = TaskResult(artifacts=dict.fromkeys(keys, (artifact,)))
    return await finish(context, leaf.path, TaskEnd(RuntimeState.SUCCEEDED, result))


def _decoded(replaced: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata where a value that was one placeholder is again what it stands for, not its text."""
    decoded: dict[str, Any] = {}
    for (key, value), before in zip(replaced.items(), original.values(), strict=True):
        decoded[key] = value
        if isinstance(before, str) and before.startswith("{{$") and before.endswith("}}") and value != before:
            try:
                decoded[key] = json.loads(value)
            except ValueError:
                continue
    return decoded
