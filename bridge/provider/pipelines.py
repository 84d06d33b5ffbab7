"""Where a pipeline comes from, and whether arguments fit it: at parse time and before sending."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow.sdk import ObjectStoragePath

from bridge.domain.aliases import split_alias

if TYPE_CHECKING:
    from bridge.spec.load import Parameter, Pipeline

MAX_PIPELINE_BYTES = 8 * 1024 * 1024
_TEMPLATE_MARKS = ("{{", "{%", "{#")
_SEQUENCES = (list, tuple, set, frozenset)


class PipelineProblem(ValueError):
    """A pipeline cannot be found or read, or arguments do not fit it; the message lists every problem."""


def is_static(value: Any) -> bool:
    """Whether a value is known when the DAG is parsed: plain data without templates or XComs."""
    if value is None or isinstance(value, bool | int | float):
        return True
    if isinstance(value, str):
        return not any(mark in value for mark in _TEMPLATE_MARKS)
    if isinstance(value, Mapping):
        return all(is_static(item) for pair in value.items() for item in pair)
    return isinstance(value, _SEQUENCES) and all(is_static(item) for item in value)


def registered(pipeline: Any) -> dict[str, Any] | None:
    """The pipeline that the bridge is to know by name: ``{"name": …, "version": …}``, ``{"name": …,
    "alias": …}`` or ``"name@alias"``; ``None`` for anything else."""
    if isinstance(pipeline, Mapping):
        return dict(pipeline)
    parts = split_alias(pipeline) if isinstance(pipeline, str) else None
    return None if parts is None else {"name": parts[0], "alias": parts[1]}


def find_file(pipeline: str, folders: Iterable[Path]) -> Path | None:
    """The file a path names, or ``None`` if it is a URL; relative ones are looked for in ``folders``.

    Raises ``PipelineProblem`` naming every place where the file is not.
    """
    if "://" in pipeline:
        parts = urlsplit(pipeline)
        if parts.scheme != "file":
            return None
        pipeline = unquote(parts.path)
    wanted = Path(pipeline)
    places = [wanted] if wanted.is_absolute() else [folder / wanted for folder in folders]
    for place in places:
        if place.is_file():
            return place
    tried = ", ".join(str(place) for place in dict.fromkeys(places))
    raise PipelineProblem(
        f"there is no pipeline file {pipeline!r}; looked for {tried or 'no folder is known'}"
    )


def load_file(path: Path) -> Pipeline:
    """The compiled pipeline in a file; parsed once per process for as long as the file stays the same."""
    try:
        stat = path.stat()
    except OSError as error:
        raise PipelineProblem(f"the pipeline file {path} cannot be read: {error.strerror}") from error
    return _load_unchanged(path, stat.st_mtime_ns, stat.st_size)


def load_pipeline_from(pipeline: str | ObjectStoragePath, folders: Iterable[Path]) -> Pipeline:
    """The compiled pipeline at a path, a URL or an object-store path."""
    path = None if isinstance(pipeline, ObjectStoragePath) else find_file(pipeline, folders)
    if path is not None:
        return load_file(path)
    return _parse(_read_remote(pipeline), str(pipeline))


def argument_problems(
    pipeline: Pipeline, arguments: Mapping[str, Any], *, inputs: Iterable[str] = ()
) -> list[str]:
    """What is wrong with arguments, one sentence each; empty if nothing.

    Arguments that are not static count as given, and so do the parameters that ``inputs`` will fill;
    both have to exist, and an input's parameter has to take a URI or a list of them.
    """
    from bridge.domain.lineage import InputVersion
    from bridge.spec.arguments import apply_inputs, check_arguments
    from bridge.spec.errors import ArgumentErrors

    problems: list[tuple[str, str]] = []
    named = {name: InputVersion(name=name, uri="urn:kfbridge:known-when-it-runs") for name in inputs}
    for placeholder in named.values():
        try:
            apply_inputs(pipeline, dict.fromkeys(arguments), [placeholder])
        except ArgumentErrors as error:
            problems += error.errors
    later = {name for name, value in arguments.items() if not is_static(value)} | named.keys()
    try:
        check_arguments(pipeline, {**dict.fromkeys(later), **_static(arguments)})
    except ArgumentErrors as error:
        forgiven = {f"/arguments/{name}" for name in later if name in pipeline.parameters or name in named}
        problems += [problem for problem in error.errors if problem[0] not in forgiven]
    return [f"{pointer}: {detail}" for pointer, detail in problems]


def _static(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if is_static(value)}


def as_declared(pipeline: Pipeline, arguments: Mapping[str, Any], templated: Iterable[str]) -> dict[str, Any]:
    """Arguments in which what a template rendered to text has the type that the pipeline declares.

    A template always renders to text unless the DAG renders native objects; text that does not read
    as the declared type is left as it is, for the check to name.
    """
    done = dict(arguments)
    for name in templated:
        parameter = pipeline.parameters.get(name)
        value = done.get(name)
        if parameter is not None and isinstance(value, str):
            done[name] = _from_text(parameter, value)
    return done


def _from_text(parameter: Parameter, text: str) -> Any:
    if parameter.type == "STRING":
        return text
    stripped = text.strip()
    if parameter.type == "BOOLEAN" and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    try:
        value = json.loads(stripped)
    except ValueError:
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value


@lru_cache(maxsize=64)
def _load_unchanged(path: Path, modified_ns: int, size: int) -> Pipeline:
    del modified_ns  # part of the cache's key only
    if size > MAX_PIPELINE_BYTES:
        raise PipelineProblem(
            f"{path} holds {size} bytes; a compiled pipeline has {MAX_PIPELINE_BYTES} at most"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PipelineProblem(f"the pipeline file {path} cannot be read: {error.strerror}") from error
    return _parse(content, str(path))


def _parse(content: bytes, where: str) -> Pipeline:
    from bridge.spec.errors import SpecError
    from bridge.spec.load import load_pipeline

    try:
        return load_pipeline(content)
    except SpecError as error:
        listed = "".join(f"\n  - {problem}" for problem in error.problems)
        raise PipelineProblem(f"{where} is no compiled pipeline that can be run:{listed}") from error


def _read_remote(pipeline: str | ObjectStoragePath) -> bytes:
    if isinstance(pipeline, str) and urlsplit(pipeline).scheme in ("http", "https"):
        return _download(pipeline)
    path = pipeline if isinstance(pipeline, ObjectStoragePath) else ObjectStoragePath(pipeline)
    try:
        with path.open("rb") as stream:
            content = bytes(stream.read(MAX_PIPELINE_BYTES + 1))
    except (OSError, ImportError, ValueError) as error:
        raise PipelineProblem(f"the pipeline {pipeline} cannot be read: {error}") from error
    return _limited(content, str(pipeline))


def _download(url: str) -> bytes:
    import httpx

    content = bytearray()
    try:
        with httpx.stream("GET", url, timeout=30, follow_redirects=True) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                _limited(content, url)
    except httpx.HTTPError as error:
        raise PipelineProblem(f"the pipeline {url} cannot be read: {error}") from error
    return bytes(content)


def _limited(content: bytes | bytearray, where: str) -> bytes:
    if len(content) > MAX_PIPELINE_BYTES:
        raise PipelineProblem(
            f"{where} is longer than {MAX_PIPELINE_BYTES} bytes, the most a pipeline may have"
        )
    return bytes(content)
