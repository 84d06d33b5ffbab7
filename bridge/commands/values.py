"""Arguments and inputs as they are written on a command line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.failures import CommandError

if TYPE_CHECKING:
    from bridge.client.models import InputModel
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console
    from bridge.spec.load import Pipeline

_MAX_FILE_BYTES = 8 * 1024 * 1024


def read_arguments(given: Sequence[tuple[str, str]], types: Mapping[str, str] | None) -> dict[str, Any]:
    """The arguments of ``-a NAME=VALUE`` options, by the types that the pipeline declares.

    ``@FILE`` as a value reads the file as JSON, ``@@`` begins a text with one ``@``. A value that does
    not fit its type is kept as text, for the check of arguments to tell; without types (``None``), or
    for a name that is not declared, it is JSON if it can be read as such and text otherwise.
    Raises ``CommandError`` for what is given twice or cannot be read.
    """
    arguments: dict[str, Any] = {}
    problems = []
    for name, text in given:
        if name in arguments:
            problems.append(f"{name} is given twice.")
            continue
        try:
            arguments[name] = _value(text, (types or {}).get(name))
        except ValueError as error:
            problems.append(f"{name}: {error}")
            arguments[name] = None
    if problems:
        raise CommandError("the arguments cannot be read; nothing was sent", details=problems)
    return arguments


def read_inputs(given: Sequence[tuple[str, str]], console: Console, client: BridgeClient) -> list[InputModel]:
    """The data that ``--input NAME=URI`` options name, with versions where they can be told here."""
    from bridge.client.errors import InputError
    from bridge.client.inputs import resolve_input, to_message
    from bridge.domain.uris import local_path

    models, problems = [], []
    for name, text in given:
        try:
            found = resolve_input(name, text, find_artifact=client.artifact, base=Path.cwd())
        except InputError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(f"input {name}: {text} cannot be read: {error.strerror}")
            continue
        for version in found:
            if version.version is None and local_path(version.uri) is not None:
                console.note(
                    f"note: input {name}: {version.uri} is not on this machine, so its version is unknown"
                )
            models.append(to_message(version))
    if problems:
        raise CommandError("the inputs cannot be used; nothing was sent", details=problems)
    return models


def check_against(
    pipeline: Pipeline, arguments: Mapping[str, Any], inputs: Sequence[InputModel], command: str
) -> None:
    """Refuse arguments that do not fit the pipeline, every mistake at once, before anything is sent."""
    from bridge.domain.lineage import InputVersion
    from bridge.spec.arguments import apply_inputs, check_arguments
    from bridge.spec.errors import ArgumentErrors

    problems: list[str] = []
    filled = dict(arguments)
    versions = [InputVersion(name=item.name, uri=item.uri) for item in inputs if item.name not in arguments]
    try:
        filled = apply_inputs(pipeline, arguments, versions)
    except ArgumentErrors as error:
        problems += error.problems
        # A wrong input is told once, not a second time as a missing argument.
        filled |= {item.name: None for item in inputs if item.name in pipeline.parameters}
    try:
        check_arguments(pipeline, filled)
    except ArgumentErrors as error:
        problems += [text for pointer, text in error.errors if not _told(pointer, filled, problems)]
    if problems:
        raise CommandError(
            f"the arguments do not fit the pipeline {pipeline.name}; nothing was sent",
            details=[*problems, *_taken(pipeline)],
            to_do=f"kfbridge {command} -a NAME=VALUE, once for each argument.",
        )


def declared_types(pipeline: Pipeline) -> dict[str, str]:
    """The declared type of each parameter."""
    return {name: str(parameter.type) for name, parameter in pipeline.parameters.items()}


def _told(pointer: str, filled: Mapping[str, Any], problems: Sequence[str]) -> bool:
    name = pointer.removeprefix("/arguments/").replace("~1", "/").replace("~0", "~")
    return bool(problems) and name in filled and filled[name] is None


def _taken(pipeline: Pipeline) -> list[str]:
    if not pipeline.parameters:
        return [f"{pipeline.name} takes no arguments."]
    lines = [f"{pipeline.name} takes:"]
    for name, parameter in pipeline.parameters.items():
        if parameter.required:
            how = "needed"
        elif parameter.default is None or not _is_plain(parameter.default):
            how = "optional"
        else:
            how = f"default {json.dumps(parameter.default, ensure_ascii=False)}"
        lines.append(f"  {name}  {parameter.type}, {how}")
    return lines


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | list | dict)


def _value(text: str, kind: str | None) -> Any:
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        return _file_value(Path(text[1:]).expanduser())
    if kind == "STRING":
        return text
    if kind == "BOOLEAN" and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    return _json_or_text(text)


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value


def _file_value(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"{path} is larger than {_MAX_FILE_BYTES // 1024**2} MiB; hand it over by URI")
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no JSON: it is not UTF-8") from error
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")
