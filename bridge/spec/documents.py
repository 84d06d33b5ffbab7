"""Reads YAML (of which JSON is a part) into plain values without trusting it.

A hostile document may be huge, nested deeply, or a few hundred bytes that aliases blow up to
gigabytes. Everything is bounded while parser events come in, before any value is built.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from bridge.spec.errors import SpecError

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 100
MAX_NODES = 500_000
MAX_DOCUMENTS = 8

_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FastDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_FastLoader):  # type: ignore[misc]
    """A safe loader to which ``2013-01-01`` is text, as it is in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _FastLoader.yaml_implicit_resolvers.items()
}


class _Dumper(_FastDumper):  # type: ignore[misc]
    """A safe dumper that writes no anchors: many readers refuse them."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def read_documents(source: bytes) -> list[Any]:
    """All documents of a YAML stream as plain values, integral floats as integers.

    Integral floats become integers because a compiled pipeline is a protobuf ``Struct``, which knows
    only doubles: the compiler writes ``1.0`` for 1, and KFP reads it back as 1. Raises ``SpecError``.
    """
    if len(source) > MAX_BYTES:
        raise SpecError(f"The document is {len(source)} bytes long; at most {MAX_BYTES} are read.")
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"The document is no UTF-8 text: byte {error.start} cannot be decoded.") from error
    try:
        meter = _Meter()
        for event in yaml.parse(text, Loader=_Loader):
            meter.take(event)
        documents = list(yaml.load_all(text, Loader=_Loader))
        return [_plain(document, "") for document in documents if document is not None]
    except yaml.YAMLError as error:
        raise SpecError(f"The document is not valid YAML: {_explain(error)}") from error
    except (RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"The document cannot be read: {error}") from error


def write_documents(documents: list[Any]) -> str:
    """The one YAML text of these values: keys sorted, no anchors."""
    dumped = [
        yaml.dump(document, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=120)
        for document in documents
    ]
    return "---\n".join(dumped)


def canonical_json(value: Any) -> bytes:
    """The one JSON spelling of a value, for digests. Raises ``ValueError`` for NaN and infinities."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


@dataclass(slots=True)
class _Open:
    """A collection that has begun and not ended: how many nodes it holds once aliases are expanded."""

    anchor: str | None
    is_mapping: bool
    nodes: int = 1
    expects_key: bool = True
    keys: set[str] = field(default_factory=set)


class _Meter:
    """Follows parser events and refuses the document as soon as its values would take too much."""

    def __init__(self) -> None:
        self.documents = 0
        self.sizes: dict[str, int] = {}
        self.stack: list[_Open] = []

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            _note_key(self.stack, None, event)
            self.stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(self.stack) > MAX_DEPTH:
                raise SpecError(f"The document is nested more than {MAX_DEPTH} levels deep.")
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self.stack.pop()
            self._add(closed.anchor, closed.nodes)
        elif isinstance(event, yaml.ScalarEvent):
            _note_key(self.stack, event.value, event)
            self._add(event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes:
                raise SpecError(f"The alias *{event.anchor} refers to what contains it, or to nothing.")
            _note_key(self.stack, None, event)
            self._add(None, self.sizes[event.anchor])
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents, self.sizes = self.documents + 1, {}
            if self.documents > MAX_DOCUMENTS:
                raise SpecError(f"The stream holds more than {MAX_DOCUMENTS} YAML documents.")

    def _add(self, anchor: str | None, nodes: int) -> None:
        if anchor:
            self.sizes[anchor] = nodes
        if not self.stack:
            return
        self.stack[-1].nodes += nodes
        if self.stack[-1].nodes > MAX_NODES:
            raise SpecError(
                f"The document holds more than {MAX_NODES} values once its aliases are written out."
            )


def _note_key(stack: list[_Open], key: str | None, event: Any) -> None:
    if not stack or not stack[-1].is_mapping:
        return
    holder = stack[-1]
    if holder.expects_key:
        line = event.start_mark.line + 1
        if key is None:
            raise SpecError(f"Line {line}: a key must be plain text.")
        if key in holder.keys:
            raise SpecError(f"Line {line}: the key {key!r} stands twice in the same mapping.")
        holder.keys.add(key)
    holder.expects_key = not holder.expects_key


def _plain(value: Any, pointer: str) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise SpecError(f"{pointer or '/'}: the key {key!r} is no text; put it in quotes.")
        return {key: _plain(item, f"{pointer}/{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{pointer}/{index}") for index, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(f"{pointer}: {value} is no number that JSON knows.")
        return int(value) if value.is_integer() and abs(value) < 2**63 else value
    if value is None or isinstance(value, str | bool | int):
        return value
    raise SpecError(f"{pointer}: a {type(value).__name__} has no place in a pipeline.")


def _explain(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"{str(problem).rstrip('.')}{where}."
