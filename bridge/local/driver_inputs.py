"""Resolves the inputs of a task: constants, the surrounding DAG's inputs, outputs of siblings, defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local.conditions import select
from bridge.local.driver_scope import Inputs, RunContext, Scope
from bridge.local.placeholders import Placeholders
from bridge.local.recording import StoredArtifact
from bridge.spec.model import (
    MISSING,
    Component,
    Constant,
    FinalStatusOf,
    FromInput,
    FromTask,
    ParameterInput,
    Task,
)
from bridge.spec.values import as_type

# google.rpc.Code FAILED_PRECONDITION, which KFP puts into the status of a failed task.
_FAILED_CODE = 9


class InputError(ValueError):
    """A task cannot get the inputs it needs. The message is a sentence for the task's error."""


def resolve_inputs(context: RunContext, scope: Scope, task: Task) -> Inputs:
    """Everything the task names as its inputs, before defaults and types of its component are applied.

    It may hold more than the component declares: constants refer to such channels by placeholders.
    Raises ``InputError``.
    """
    parameters: dict[str, Any] = {}
    constants: dict[str, ParameterInput] = {}
    for name, item in task.parameters.items():
        if isinstance(item.source, Constant):
            constants[name] = item
            continue
        value = _parameter(context, scope, item)
        if value is not MISSING and value is not None:
            parameters[name] = value
    artifacts = {}
    for name, source in task.artifacts.items():
        found = _artifacts(scope, source)
        if found:
            artifacts[name] = found
    if constants:
        placeholders = _placeholders(context, scope, task, parameters)
        for name, item in constants.items():
            assert isinstance(item.source, Constant)
            value = placeholders.replace_in(item.source.value)
            parameters[name] = select(item.selector, value) if item.selector else value
    return Inputs(parameters, artifacts)


def fit_to_component(component: Component, inputs: Inputs, task_name: str) -> Inputs:
    """The inputs as the component takes them: only those it declares, its defaults filled in, and every
    parameter with exactly its type. Raises ``InputError``."""
    parameters: dict[str, Any] = {}
    for name, parameter in component.parameters.items():
        value = inputs.parameters.get(name)
        if value is None and parameter.default is not MISSING:
            value = parameter.default
        if value is None:
            # A null that was given for an optional input is the same as none.
            if parameter.required:
                raise InputError(f"{task_name} needs a value for {name}, and there is none.")
            continue
        try:
            parameters[name] = as_type(parameter.type, value)
        except ValueError as error:
            raise InputError(f"The input {name} of {task_name} does not fit: {error}") from error
    artifacts: dict[str, tuple[StoredArtifact, ...]] = {}
    for name, slot in component.artifacts.items():
        found = inputs.artifacts.get(name)
        if found:
            artifacts[name] = found
        elif not slot.optional and not (slot.is_list and found is not None):
            raise InputError(f"{task_name} needs the artifact {name}, and there is none.")
    return Inputs(parameters, artifacts)


def resolve_items(
    context: RunContext, scope: Scope, task: Task, inputs: Inputs
) -> list[Any] | list[StoredArtifact]:
    """What a loop goes over. Raises ``InputError`` if that is no list."""
    assert task.iterator is not None
    iterator = task.iterator
    if iterator.over_artifacts:
        return list(inputs.artifacts.get(iterator.input_name or "", ()))
    if iterator.raw is not None:
        items = json.loads(iterator.raw)
        replaced = _placeholders(context, scope, task, inputs.parameters).replace_in(items)
        assert isinstance(replaced, list)
        return replaced
    value = inputs.parameters.get(iterator.input_name or "")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list | tuple):
        raise InputError(f"{task.name} loops over {iterator.input_name}, which is no list.")
    return list(value)


def resolve_parameter(context: RunContext, scope: Scope, task: Task, item: ParameterInput) -> Any:
    """One parameter as a task of this DAG would get it; ``None`` if it has no value."""
    if isinstance(item.source, Constant):
        value = _placeholders(context, scope, task, {}).replace_in(item.source.value)
        return select(item.selector, value) if item.selector else value
    value = _parameter(context, scope, item)
    return None if value is MISSING else value


def _parameter(context: RunContext, scope: Scope, item: ParameterInput) -> Any:
    source = item.source
    if isinstance(source, FromInput):
        value = scope.inputs.parameters.get(source.name, MISSING)
    elif isinstance(source, FromTask):
        end = scope.ends.get(source.task)
        value = end.result.parameters.get(source.key, MISSING) if end else MISSING
    else:
        assert isinstance(source, FinalStatusOf)
        value = final_status(context, scope, source.task)
    if item.selector and value is not MISSING and value is not None:
        return select(item.selector, value)
    return value


def final_status(context: RunContext, scope: Scope, task: str) -> dict[str, Any]:
    """The ``PipelineTaskFinalStatus`` of a sibling, as the kfp SDK reads it.

    Its ``state`` is MLMD's word, as on KFP: ``COMPLETE``, not ``SUCCEEDED``.
    """
    end = scope.ends[task]
    status: dict[str, Any] = {
        "state": "COMPLETE" if end.succeeded else end.state.value,
        "pipelineJobName": context.run.display_name,
        "pipelineJobResourceName": context.resource_name,
        "pipelineJobUuid": str(context.run.kfp_run_id),
        "pipelineTaskName": task,
        "error": {},
    }
    if end.state is RuntimeState.FAILED:
        status["error"] = {"code": _FAILED_CODE, "message": end.message or ""}
    return status


def _artifacts(scope: Scope, source: FromInput | FromTask) -> tuple[StoredArtifact, ...]:
    if isinstance(source, FromInput):
        return scope.inputs.artifacts.get(source.name, ())
    end = scope.ends.get(source.task)
    return end.result.artifacts.get(source.key, ()) if end else ()


def _placeholders(
    context: RunContext, scope: Scope, task: Task, parameters: Mapping[str, Any]
) -> Placeholders:
    names = context.names(task.name, context.task_id(scope.path_of(task)))
    return Placeholders({"inputs": {"parameterValues": parameters}}, names)
