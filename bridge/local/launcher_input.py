"""Makes the ExecutorInput of a task: what it gets, and where it has to put what it gives."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.local.artifacts import to_place
from bridge.local.driver_scope import Inputs
from bridge.local.recording import StoredArtifact
from bridge.local.staging import Staging
from bridge.spec.model import Component

OUTPUT_FILE = "executor_output.json"


def make_executor_input(
    component: Component, inputs: Inputs, work_dir: Path, artifact_dir: str, staging: Staging | None = None
) -> dict[str, Any]:
    """The ExecutorInput message as JSON. Parent folders of all outputs are made; what an earlier attempt
    left there is removed. ``artifact_dir`` is a path, or a URI of what ``staging`` stands for.

    The folder of ``outputFile`` is what ``dsl.get_uri()`` makes URIs of, so it is the artifacts' folder, as
    in KFP's driver, for a component that puts artifacts out.
    """
    parameters = {
        name: {"outputFile": str(work_dir / "outputs" / name)} for name in component.output_parameters
    }
    artifacts = {}
    for name, slot in component.output_artifacts.items():
        place = f"{artifact_dir}/{name}"
        _remove(_here(place, staging))
        artifact = StoredArtifact(
            schema_title=slot.schema_title,
            schema_version=slot.schema_version,
            uri=place,
            name=name,
            metadata=slot.metadata,
        )
        artifacts[name] = {"artifacts": [_message(artifact)]}
    (work_dir / "outputs").mkdir(parents=True, exist_ok=True)
    output_file = (_here(artifact_dir, staging) if artifacts else work_dir) / OUTPUT_FILE
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.unlink(missing_ok=True)
    return {
        "inputs": {
            "parameterValues": dict(inputs.parameters),
            "artifacts": {
                name: {"artifacts": [_message(artifact) for artifact in found]}
                for name, found in inputs.artifacts.items()
            },
        },
        "outputs": {
            "parameters": parameters,
            "artifacts": artifacts,
            "outputFile": str(output_file),
        },
    }


def _here(place: str, staging: Staging | None) -> Path:
    return (staging and staging.place(place)) or Path(place)


def _message(artifact: StoredArtifact) -> Mapping[str, Any]:
    return {
        "name": artifact.name,
        "type": {"schemaTitle": artifact.schema_title, "schemaVersion": artifact.schema_version},
        "uri": to_place(artifact.uri),
        "metadata": dict(artifact.metadata),
    }


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
