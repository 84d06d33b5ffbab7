"""Where a pipeline comes from, and whether arguments fit it: at parse time and before sending."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow.sdk import ObjectStoragePath, XComArg

from bridge.domain.aliases import split_alias
from bridge.provider.fetching import MAX_PIPELINE_BYTES, PipelineProblem, read_remote, shown
from bridge.provider.functions import CompiledFunction, FunctionProblem, compile_function, is_component

if TYPE_CHECKING:
    from bridge.spec.load import Pipeline

_TEMPLATE_MARKS = ("{{", "{%", "{#")
_PIN = "#sha256="
_SEQUENCES = (list, tuple, set, frozenset)


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


def as_source(pipeline: Any) -> Any:
    """A pipeline as the operator keeps it: what kfp decorated is compiled, a ``Path`` becomes text.

    Raises ``PipelineProblem`` for a function that kfp has not decorated, or cannot compile.
    """
    if isinstance(pipeline, Path):
        return str(pipeline)
    if is_component(pipeline):
        try:
            return compile_function(pipeline)
        except FunctionProblem as error:
            raise PipelineProblem(str(error)) from error
    if callable(pipeline) and not isinstance(pipeline, ObjectStoragePath | XComArg):
        named = getattr(pipeline, "__name__", repr(pipeline))
        raise PipelineProblem(f"the function {named} is no pipeline; decorate it with @kfp.dsl.pipeline")
    return pipeline


def load_when_parsed(pipeline: Any, folders: Iterable[Path]) -> Pipeline | None:
    """The pipeline if it is known when the DAG is parsed; ``None`` for one that is registered, templated
    or elsewhere: parsing a DAG makes no network calls."""
    if isinstance(pipeline, CompiledFunction):
        return load_function(pipeline)
    if isinstance(pipeline, ObjectStoragePath):
        local = pipeline.protocol in ("file", "local") and Path(pipeline.path).is_file()
        return load_file(Path(pipeline.path)) if local else None
    if not isinstance(pipeline, str) or not is_static(pipeline) or registered(pipeline):
        return None
    path = find_file(pipeline, folders)
    return None if path is None else load_file(path)


@lru_cache(maxsize=64)
def load_function(function: CompiledFunction) -> Pipeline:
    """The pipeline that kfp compiled from a function."""
    return _parse(function.text.encode(), str(function))


def load_pipeline_from(
    pipeline: str | ObjectStoragePath | CompiledFunction, folders: Iterable[Path]
) -> Pipeline:
    """The pipeline of a function, at a path, at a URL or in an object store.

    ``#sha256=<hex>`` at the end of a URL pins the file's content. Raises ``PipelineAway`` where a later try
    may find it, and ``PipelineProblem`` where not.
    """
    if isinstance(pipeline, CompiledFunction):
        return load_function(pipeline)
    if isinstance(pipeline, str) and "://" in pipeline:
        pipeline, _, pin = pipeline.partition(_PIN)
        path = find_file(pipeline, folders)
        content = path.read_bytes() if path is not None else read_remote(pipeline)
        if pin and hashlib.sha256(content).hexdigest() != pin.lower():
            raise PipelineProblem(f"the pipeline {shown(pipeline)} is not the one that sha256={pin} names")
        return _parse(content, shown(pipeline))
    path = None if isinstance(pipeline, ObjectStoragePath) else find_file(pipeline, folders)
    return load_file(path) if path is not None else _parse(read_remote(pipeline), str(pipeline))


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
