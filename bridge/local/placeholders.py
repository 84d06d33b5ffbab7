"""Replaces the placeholders of command lines and constants: ``{{$}}``, ``{{$.inputs.parameters['x']}}`` …

The text is read once from left to right: what a placeholder was replaced by is never looked at again,
so data that happens to contain ``{{$…}}`` stays as it is. A placeholder nobody knows stays as well, as
in KFP, since other template languages look alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.local.artifacts import mounted_path
from bridge.spec.values import as_text

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")
_STEP = re.compile(r"\.(\w+)|\[(?:'([^']*)'|\"([^\"]*)\"|(\d+))\]")
_STRUCT = re.compile(r'\s*\{\s*"(?:Concat|IfPresent)"\s*:')


class PlaceholderError(ValueError):
    """A concat or if-present placeholder is not of the shape that KFP's compiler writes."""


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What placeholders stand for in one task: its ExecutorInput and the names of run and task.

    ``names`` holds values such as ``pipeline_job_uuid``.
    """

    executor_input: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)

    def replace(self, text: str) -> str:
        """The text with every known placeholder replaced."""
        return _PLACEHOLDER.sub(self._value, text)

    def replace_in(self, value: Any) -> Any:
        """The value with placeholders replaced in every text within it, keys included."""
        if isinstance(value, str):
            return self.replace(value)
        if isinstance(value, list | tuple):
            return [self.replace_in(item) for item in value]
        if isinstance(value, dict):
            return {self.replace(key): self.replace_in(item) for key, item in value.items()}
        return value

    def command_line(self, elements: Sequence[str]) -> list[str]:
        """The words of a command line; an if-present placeholder may become none or several words."""
        words: list[str] = []
        for element in elements:
            words.extend(self.replace(word) for word in self._expand(element))
        return words

    def _expand(self, element: str) -> list[str]:
        if not _STRUCT.match(element):
            return [element]
        try:
            struct = json.loads(element)
        except ValueError:
            return [element]
        return self._struct(struct)

    def _struct(self, struct: Any) -> list[str]:
        if struct is None:
            return []
        if isinstance(struct, str):
            return [struct]
        if isinstance(struct, list):
            return [word for item in struct for word in self._struct(item)]
        if isinstance(struct, dict) and isinstance(struct.get("Concat"), list):
            return ["".join(self._struct(struct["Concat"]))]
        if isinstance(struct, dict) and isinstance(struct.get("IfPresent"), dict):
            choice = struct["IfPresent"]
            present = self._is_present(choice.get("InputName", ""))
            return self._struct(choice.get("Then") if present else choice.get("Else"))
        raise PlaceholderError(f"The placeholder {json.dumps(struct)[:200]} is neither Concat nor IfPresent.")

    def _is_present(self, name: str) -> bool:
        inputs = self.executor_input.get("inputs", {})
        return (
            inputs.get("parameterValues", {}).get(name) is not None
            or inputs.get("artifacts", {}).get(name) is not None
        )

    def _value(self, match: re.Match[str]) -> str:
        steps = _steps(match.group(1))
        if steps is None:
            return match.group(0)
        escapes = 0
        if len(steps) >= 2 and steps[0] == "json_escape" and isinstance(steps[1], int):
            escapes, steps = steps[1], steps[2:]
        value = self._look_up(steps)
        if value is None:
            return match.group(0)
        for _ in range(min(escapes, 4)):
            value = json.dumps(value, ensure_ascii=False)[1:-1]
        return value

    def _look_up(self, steps: list[str | int]) -> str | None:
        match steps:
            case []:
                return json.dumps(self.executor_input, ensure_ascii=False)
            case ["outputs", "output_file"]:
                return str(self.executor_input.get("outputs", {}).get("outputFile", ""))
            case [str(name)]:
                return self.names.get(name)
            case ["inputs" | "outputs" as side, kind, str(name), *rest]:
                return self._look_up_in(self.executor_input.get(side, {}), f"{side}.{kind}", name, rest)
        return None

    def _look_up_in(self, side: Mapping[str, Any], kind: str, name: str, rest: list[str | int]) -> str | None:
        if kind == "inputs.parameters":
            return _dig(side.get("parameterValues", {}).get(name), rest)
        if kind == "outputs.parameters" and rest == ["output_file"]:
            output = side.get("parameters", {}).get(name)
            return str(output["outputFile"]) if output else None
        return self._artifact(side, name, rest) if kind.endswith(".artifacts") else None

    def _artifact(self, side: Mapping[str, Any], name: str, rest: list[str | int]) -> str | None:
        found = side.get("artifacts", {}).get(name)
        if not found or not found["artifacts"]:
            return ""
        artifact = found["artifacts"][0]
        value: str | None = None
        match rest:
            case []:
                # How a container component takes a list of artifacts: all of them, as JSON.
                value = json.dumps(found["artifacts"], ensure_ascii=False)
            case ["path"]:
                value = mounted_path(str(artifact.get("uri", "")))
            case ["uri"]:
                value = str(artifact.get("uri", ""))
            case ["name"]:
                value = str(artifact.get("name", ""))
            case ["metadata", *keys]:
                value = _dig(artifact.get("metadata", {}), keys)
            case ["value"]:
                value = json.dumps(artifact, ensure_ascii=False)
        return value


def _steps(expression: str) -> list[str | int] | None:
    steps: list[str | int] = []
    position = 0
    while position < len(expression):
        match = _STEP.match(expression, position)
        if match is None:
            return None
        word, single, double, index = match.groups()
        steps.append(
            int(index) if index is not None else next(s for s in (word, single, double) if s is not None)
        )
        position = match.end()
    return steps


def _dig(value: Any, keys: Sequence[str | int]) -> str:
    """An absent value reads ``null``, as KFP writes it into a command line."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(str(key))
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            value = None
    return as_text(value)
