"""Builds the typed model from a plain document, noting every problem with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bridge.spec.errors import SpecError
from bridge.spec.model import (
    MISSING,
    ArtifactSlot,
    ArtifactSource,
    Component,
    Constant,
    ContainerSpec,
    Dag,
    Executor,
    FinalStatusOf,
    FromInput,
    FromTask,
    ImporterSpec,
    Iterator,
    OutputSelector,
    Parameter,
    ParameterInput,
    ParameterSource,
    ParameterType,
    PipelineModel,
    Retry,
    Task,
    TriggerStrategy,
    UnsupportedSpec,
)
from bridge.spec.node import Node, Problems, suggest

SCHEMA_VERSION = "2.1.0"
ROOT = "root"

_TOP_LEVEL = (
    "pipelineInfo",
    "deploymentSpec",
    "sdkVersion",
    "schemaVersion",
    "components",
    "root",
    "defaultPipelineRoot",
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_OLD_TYPES = {"INT": ParameterType.NUMBER_INTEGER, "DOUBLE": ParameterType.NUMBER_DOUBLE}


def parse_model(document: Mapping[str, Any], problems: Problems) -> PipelineModel:
    """The model of a pipeline spec document; what is wrong with it is added to ``problems``."""
    node = Node(document, "", problems)
    for key in document.keys() - set(_TOP_LEVEL):
        node.wrong(f"{key} is no part of a pipeline spec.{suggest(key, _TOP_LEVEL)}")
    info = node.mapping("pipelineInfo")
    name = info.required_text("name")
    if name and not _NAME.fullmatch(name):
        info.wrong(
            f"the name {name!r} must be at most 128 lower-case letters, digits and dashes, "
            "and begin and end with a letter or digit."
        )
    version = node.required_text("schemaVersion")
    if version and version != SCHEMA_VERSION:
        node.wrong(f"schemaVersion {version} is not supported; this reads {SCHEMA_VERSION}.")
    if not node.has("root"):
        node.wrong("root is missing: there is nothing to run.")
    components = {key: _component(key, child) for key, child in node.mapping("components").items()}
    executors = node.mapping("deploymentSpec").mapping("executors")
    return PipelineModel(
        name=name,
        display_name=info.text("displayName"),
        description=info.text("description"),
        root=_component(ROOT, node.mapping("root")),
        components=components,
        executors={label: _executor(child) for label, child in executors.items()},
        schema_version=version,
        sdk_version=node.text("sdkVersion"),
        default_root=node.text("defaultPipelineRoot"),
    )


def parse_parameter_input(document: Mapping[str, Any]) -> ParameterInput:
    """Where a parameter comes from, as a platform document says it. Raises ``SpecError``."""
    problems = Problems()
    found = _parameter_input(Node(document, "", problems))
    if problems.sentences:
        raise SpecError(problems.sentences)
    return found


def _component(name: str, node: Node) -> Component:
    inputs, outputs = node.mapping("inputDefinitions"), node.mapping("outputDefinitions")
    dag = _dag(node.mapping("dag")) if node.has("dag") else None
    return Component(
        name=name,
        parameters={key: _parameter(key, child) for key, child in inputs.mapping("parameters").items()},
        artifacts={key: _slot(key, child) for key, child in inputs.mapping("artifacts").items()},
        output_parameters={
            key: _parameter_type(child) for key, child in outputs.mapping("parameters").items()
        },
        output_artifacts={key: _slot(key, child) for key, child in outputs.mapping("artifacts").items()},
        dag=dag,
        executor=node.text("executorLabel"),
        passthroughs={
            item.required_text("field"): item.flag("applyToTask")
            for item in node.elements("taskConfigPassthroughs")
        },
    )


def _parameter_type(node: Node) -> ParameterType:
    word = node.text("parameterType") or node.text("type") or ""
    if word in _OLD_TYPES:
        return _OLD_TYPES[word]
    try:
        return ParameterType(word)
    except ValueError:
        node.wrong(f"the parameter type {word!r} is unknown." if word else "parameterType is missing.")
        return ParameterType.STRING


def _parameter(name: str, node: Node) -> Parameter:
    return Parameter(
        name=name,
        type=_parameter_type(node),
        optional=node.flag("isOptional"),
        default=node.raw("defaultValue", MISSING),
        description=node.text("description"),
        literals=tuple(node.sequence("literals")),
    )


def _slot(name: str, node: Node) -> ArtifactSlot:
    artifact_type = node.mapping("artifactType")
    return ArtifactSlot(
        name=name,
        schema_title=_schema_title(artifact_type),
        schema_version=artifact_type.text("schemaVersion") or "0.0.1",
        is_list=node.flag("isArtifactList"),
        optional=node.flag("isOptional"),
        metadata=node.mapping("metadata").value,
        description=node.text("description"),
    )


def _schema_title(node: Node) -> str:
    return node.text("schemaTitle") or node.text("schemaUri") or "system.Artifact"


def _dag(node: Node) -> Dag:
    outputs = node.mapping("outputs")
    return Dag(
        tasks={name: _task(name, child) for name, child in node.mapping("tasks").items()},
        parameters={key: _output_parameter(child) for key, child in outputs.mapping("parameters").items()},
        artifacts={
            key: OutputSelector(
                tuple(
                    FromTask(item.required_text("producerSubtask"), item.required_text("outputArtifactKey"))
                    for item in child.elements("artifactSelectors")
                )
            )
            for key, child in outputs.mapping("artifacts").items()
        },
    )


def _output_parameter(node: Node) -> OutputSelector:
    if node.has("valueFromParameter"):
        chosen = [node.mapping("valueFromParameter")]
    else:
        chosen = list(node.mapping("valueFromOneof").elements("parameterSelectors"))
    if not chosen:
        node.wrong("neither valueFromParameter nor valueFromOneof says where this output comes from.")
    return OutputSelector(
        tuple(
            FromTask(item.required_text("producerSubtask"), item.required_text("outputParameterKey"))
            for item in chosen
        )
    )


def _task(name: str, node: Node) -> Task:
    inputs, trigger, caching = (
        node.mapping("inputs"),
        node.mapping("triggerPolicy"),
        node.mapping("cachingOptions"),
    )
    parameters = {key: _parameter_input(child) for key, child in inputs.mapping("parameters").items()}
    artifacts = {key: _artifact_input(child) for key, child in inputs.mapping("artifacts").items()}
    limit = int(node.mapping("iteratorPolicy").number("parallelismLimit", 0))
    return Task(
        name=name,
        display_name=node.mapping("taskInfo").text("name") or name,
        component=node.mapping("componentRef").required_text("name"),
        parameters=parameters,
        artifacts=artifacts,
        dependencies=_dependencies(node.texts("dependentTasks"), parameters, artifacts),
        enable_cache=caching.flag("enableCache"),
        cache_key=caching.text("cacheKey"),
        condition=trigger.text("condition"),
        strategy=_strategy(trigger),
        iterator=_iterator(node),
        parallelism_limit=limit if limit > 0 else None,
        retry=_retry(node.mapping("retryPolicy")) if node.has("retryPolicy") else None,
    )


def _dependencies(
    named: tuple[str, ...],
    parameters: Mapping[str, ParameterInput],
    artifacts: Mapping[str, ArtifactSource],
) -> tuple[str, ...]:
    found = dict.fromkeys(named)
    for source in [*(item.source for item in parameters.values()), *artifacts.values()]:
        if isinstance(source, FromTask | FinalStatusOf):
            found[source.task] = None
    return tuple(found)


def _parameter_input(node: Node) -> ParameterInput:
    return ParameterInput(_parameter_source(node), node.text("parameterExpressionSelector"))


def _parameter_source(node: Node) -> ParameterSource:
    if node.has("taskOutputParameter"):
        child = node.mapping("taskOutputParameter")
        return FromTask(child.required_text("producerTask"), child.required_text("outputParameterKey"))
    if node.has("componentInputParameter"):
        return FromInput(node.required_text("componentInputParameter"))
    if node.has("taskFinalStatus"):
        return FinalStatusOf(node.mapping("taskFinalStatus").required_text("producerTask"))
    if node.has("runtimeValue") or node.raw("runtimeValue") == {}:
        return _value_or_input(node.mapping("runtimeValue"))
    node.wrong("it is not said where this parameter comes from.")
    return Constant(None)


def _value_or_input(node: Node) -> Constant | FromInput:
    """A ``ValueOrRuntimeParameter``, in the present spelling or the old one (``constantValue``)."""
    if node.has("runtimeParameter"):
        return FromInput(node.required_text("runtimeParameter"))
    if node.has("constantValue"):
        old = node.mapping("constantValue")
        for key in ("stringValue", "intValue", "doubleValue"):
            if old.has(key):
                return Constant(old.raw(key))
    return Constant(node.raw("constant"))


def _artifact_input(node: Node) -> ArtifactSource:
    if node.has("taskOutputArtifact"):
        child = node.mapping("taskOutputArtifact")
        return FromTask(child.required_text("producerTask"), child.required_text("outputArtifactKey"))
    return FromInput(node.required_text("componentInputArtifact"))


def _strategy(trigger: Node) -> TriggerStrategy:
    word = trigger.text("strategy")
    if not word or word == "TRIGGER_STRATEGY_UNSPECIFIED":
        return TriggerStrategy.UPSTREAM_SUCCEEDED
    try:
        return TriggerStrategy(word)
    except ValueError:
        trigger.wrong(f"the trigger strategy {word!r} is unknown.")
        return TriggerStrategy.UPSTREAM_SUCCEEDED


def _iterator(node: Node) -> Iterator | None:
    if node.has("artifactIterator"):
        over = node.mapping("artifactIterator")
        return Iterator(
            item_input=over.required_text("itemInput"),
            input_name=over.mapping("items").required_text("inputArtifact"),
            over_artifacts=True,
        )
    if not node.has("parameterIterator"):
        return None
    over = node.mapping("parameterIterator")
    items = over.mapping("items")
    raw, input_name = items.text("raw"), items.text("inputParameter")
    if raw is None and not input_name:
        items.wrong("neither raw nor inputParameter says what the loop goes over.")
    if raw is not None and not _is_json_list(raw):
        items.wrong("raw must be a JSON list.")
    return Iterator(item_input=over.required_text("itemInput"), raw=raw, input_name=input_name)


def _is_json_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _retry(node: Node) -> Retry:
    return Retry(
        max_count=max(0, int(node.number("maxRetryCount", 0))),
        backoff_seconds=_seconds(node, "backoffDuration", 0.0),
        backoff_factor=node.number("backoffFactor", 2.0) or 2.0,
        backoff_max_seconds=_seconds(node, "backoffMaxDuration", 3600.0),
    )


def _seconds(node: Node, key: str, default: float) -> float:
    text = node.text(key)
    if text is None:
        return default
    match = _DURATION.fullmatch(text)
    if match is None:
        node.wrong(f"{key} {text!r} is no duration such as '60s'.")
        return default
    return float(match.group(1))


def _executor(node: Node) -> Executor:
    if node.has("container"):
        return _container(node.mapping("container"))
    if node.has("importer"):
        return _importer(node.mapping("importer"))
    for kind in ("resolver", "customJob"):
        if node.has(kind):
            return UnsupportedSpec(kind=kind)
    node.wrong("an executor needs a container or an importer.")
    return UnsupportedSpec(kind="nothing")


def _container(node: Node) -> ContainerSpec:
    env = tuple((item.required_text("name"), item.text("value") or "") for item in node.elements("env"))
    return ContainerSpec(
        image=node.required_text("image"),
        command=node.texts("command"),
        args=node.texts("args"),
        env=env,
        resources=node.mapping("resources").value,
    )


def _importer(node: Node) -> ImporterSpec:
    uri = _value_or_input(node.mapping("artifactUri"))
    constant = uri.value if isinstance(uri, Constant) else None
    if isinstance(uri, Constant) and not isinstance(constant, str):
        node.wrong("artifactUri says no URI.")
    artifact_type = node.mapping("typeSchema")
    return ImporterSpec(
        schema_title=_schema_title(artifact_type),
        schema_version=artifact_type.text("schemaVersion") or "0.0.1",
        uri=constant if isinstance(constant, str) else None,
        uri_input=uri.name if isinstance(uri, FromInput) else None,
        metadata=node.mapping("metadata").value,
        reimport=node.flag("reimport"),
        download_to_workspace=node.flag("downloadToWorkspace"),
    )
