"""Writes small compiled pipelines by hand, of container components that any machine can run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.spec.load import Pipeline, load_pipeline

_TYPES = {
    "str": "STRING",
    "int": "NUMBER_INTEGER",
    "float": "NUMBER_DOUBLE",
    "bool": "BOOLEAN",
    "list": "LIST",
    "dict": "STRUCT",
    "status": "TASK_FINAL_STATUS",
}


def parameters(**types: str) -> dict[str, Any]:
    """Parameter definitions: ``int`` is required, ``int?`` optional, ``int=3`` has a (JSON) default."""
    found: dict[str, Any] = {}
    for name, text in types.items():
        word, _, default = text.partition("=")
        found[name] = {"parameterType": _TYPES[word.rstrip("?")]}
        if word.endswith("?") or default:
            found[name]["isOptional"] = True
        if default:
            found[name]["defaultValue"] = json.loads(default)
    return found


def artifacts(**types: str) -> dict[str, Any]:
    """Artifact definitions: ``Model``, a list of such ``[Model]``, an optional one ``Model?``."""
    found: dict[str, Any] = {}
    for name, text in types.items():
        title = "system." + text.strip("[]?")
        found[name] = {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}
        if text.startswith("["):
            found[name]["isArtifactList"] = True
        if text.endswith("?"):
            found[name]["isOptional"] = True
    return found


def component(
    *,
    inputs: Mapping[str, Any] | None = None,
    input_artifacts: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    output_artifacts: Mapping[str, Any] | None = None,
    **body: Any,
) -> dict[str, Any]:
    """A component; ``body`` is ``executorLabel=…`` or ``dag=…``."""
    return {
        "inputDefinitions": {"parameters": dict(inputs or {}), "artifacts": dict(input_artifacts or {})},
        "outputDefinitions": {"parameters": dict(outputs or {}), "artifacts": dict(output_artifacts or {})},
        **body,
    }


def sh(script: str, *args: str, **more: Any) -> dict[str, Any]:
    """A container that runs a shell script; ``args`` are its ``$0``, ``$1`` …"""
    return {"container": {"image": "alpine", "command": ["sh", "-c", script], "args": list(args), **more}}


def task(name: str, component_name: str, *after: str, **more: Any) -> dict[str, Any]:
    """A task; inputs are ``parameters={'x': constant(1)}`` and ``artifacts={…}``."""
    inputs = {"parameters": more.pop("parameters", {}), "artifacts": more.pop("artifacts", {})}
    return {
        "componentRef": {"name": component_name},
        "taskInfo": {"name": name},
        "dependentTasks": list(after),
        "inputs": inputs,
        **more,
    }


def constant(value: Any) -> dict[str, Any]:
    """A parameter that is a constant."""
    return {"runtimeValue": {"constant": value}}


def from_input(name: str, **more: Any) -> dict[str, Any]:
    """A parameter that is an input of the surrounding DAG."""
    return {"componentInputParameter": name, **more}


def from_task(name: str, key: str = "Output", **more: Any) -> dict[str, Any]:
    """A parameter that is an output of a sibling."""
    return {"taskOutputParameter": {"producerTask": name, "outputParameterKey": key}, **more}


def artifact_from_task(name: str, key: str) -> dict[str, Any]:
    """An artifact that is an output of a sibling."""
    return {"taskOutputArtifact": {"producerTask": name, "outputArtifactKey": key}}


def selected(*sources: tuple[str, str]) -> dict[str, Any]:
    """A DAG's output parameter: of one task, or of the first of several that ran (``OneOf``)."""
    found = [{"producerSubtask": name, "outputParameterKey": key} for name, key in sources]
    if len(found) == 1:
        return {"valueFromParameter": found[0]}
    return {"valueFromOneof": {"parameterSelectors": found}}


def document(
    tasks: Mapping[str, Any],
    components: Mapping[str, Any],
    executors: Mapping[str, Any],
    *,
    name: str = "by-hand",
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    output_types: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A pipeline spec document."""
    dag = {"tasks": dict(tasks), "outputs": {"parameters": dict(outputs or {})}}
    return {
        "pipelineInfo": {"name": name},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "root": component(inputs=inputs, outputs=output_types, dag=dag),
        "components": dict(components),
        "deploymentSpec": {"executors": dict(executors)},
    }


def pipeline(
    tasks: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    components: Mapping[str, Any],
    executors: Mapping[str, Any],
    *,
    platform: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    **more: Any,
) -> Pipeline:
    """A pipeline of these parts, loaded; ``platform`` is the Kubernetes configuration by executor label,
    ``config`` that of the whole pipeline."""
    by_name = tasks if isinstance(tasks, Mapping) else {item["taskInfo"]["name"]: item for item in tasks}
    texts = [json.dumps(document(by_name, components, executors, **more))]
    if platform is not None or config is not None:
        kubernetes = {"deploymentSpec": {"executors": platform or {}}, "pipelineConfig": config or {}}
        texts.append(json.dumps({"platforms": {"kubernetes": kubernetes}}))
    return load_pipeline("\n---\n".join(texts))
