"""Checks arguments against a pipeline's parameters before anything is sent anywhere."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.domain.lineage import InputVersion
from bridge.spec.errors import ArgumentErrors
from bridge.spec.load import Pipeline
from bridge.spec.model import Parameter, ParameterType
from bridge.spec.node import describe, suggest
from bridge.spec.values import TYPE_WORDS, fits


def check_arguments(pipeline: Pipeline, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they were given, if they fit; nothing is added for defaults.

    Raises ``ArgumentErrors`` with one entry for each that is missing, unknown or of the wrong type.
    """
    errors: list[tuple[str, str]] = []
    for name, value in arguments.items():
        parameter = pipeline.parameters.get(name)
        if parameter is None:
            sentence = f"{pipeline.name} has no parameter {name}.{suggest(name, pipeline.parameters)}"
            errors.append((_pointer(name), sentence))
            continue
        problem = _problem(parameter, value)
        if problem:
            errors.append((_pointer(name), problem))
    for name, parameter in pipeline.parameters.items():
        if parameter.required and name not in arguments:
            errors.append((_pointer(name), f"{name} is missing: {pipeline.name} needs {_wanted(parameter)}."))
    if errors:
        raise ArgumentErrors(errors)
    return dict(arguments)


def as_declared(pipeline: Pipeline, arguments: Mapping[str, Any], texts: Iterable[str]) -> dict[str, Any]:
    """The arguments; those that ``texts`` names, where they are text, in the type that the pipeline declares.

    Text that does not read as the declared type is left as it is, for the check to name.
    """
    done = dict(arguments)
    for name in texts:
        parameter = pipeline.parameters.get(name)
        value = done.get(name)
        if parameter is not None and isinstance(value, str):
            done[name] = _from_text(parameter, value)
    return done


def _from_text(parameter: Parameter, text: str) -> Any:
    if parameter.type is ParameterType.STRING:
        return text
    stripped = text.strip()
    if parameter.type is ParameterType.BOOLEAN and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    try:
        value = json.loads(stripped)
    except ValueError:
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value


def apply_inputs(
    pipeline: Pipeline, arguments: Mapping[str, Any], inputs: Sequence[InputVersion]
) -> dict[str, Any]:
    """The arguments, with each parameter that inputs name filled with their URI (STRING) or the list of
    their URIs (LIST). Raises ``ArgumentErrors`` for inputs that no such parameter can take."""
    uris: defaultdict[str, list[str]] = defaultdict(list)
    for item in inputs:
        uris[item.name].append(item.uri)
    filled, errors = dict(arguments), []
    for name, found in uris.items():
        parameter = pipeline.parameters.get(name)
        problem = None
        if parameter is None:
            problem = f"the input {name} has no parameter of that name.{suggest(name, pipeline.parameters)}"
        elif name in arguments:
            problem = f"{name} is given twice: as an argument and as an input."
        elif parameter.type is ParameterType.LIST:
            filled[name] = found
        elif parameter.type is not ParameterType.STRING:
            problem = f"the input {name} is a URI, but {name} takes {_wanted(parameter)}."
        elif len(found) > 1:
            problem = f"{name} takes one URI, but {len(found)} inputs have that name."
        else:
            filled[name] = found[0]
        if problem:
            errors.append((f"/inputs/{_escape(name)}", problem))
    if errors:
        raise ArgumentErrors(errors)
    return filled


def _problem(parameter: Parameter, value: Any) -> str | None:
    if value is None:
        # An optional parameter may be given as null, which is the same as not giving it.
        return None if not parameter.required else f"{parameter.name} takes {_wanted(parameter)}, not null."
    if not fits(parameter.type, value):
        return f"{parameter.name} takes {_wanted(parameter)}, not {describe(value)}."
    if parameter.literals and value not in parameter.literals:
        allowed = ", ".join(repr(item) for item in parameter.literals)
        return f"{parameter.name} takes one of {allowed}, not {describe(value)}."
    return None


def _wanted(parameter: Parameter) -> str:
    return f"{TYPE_WORDS[parameter.type]} ({parameter.type})"


def _pointer(name: str) -> str:
    return f"/arguments/{_escape(name)}"


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
