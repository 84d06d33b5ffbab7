"""Walks a plain document, collecting what is wrong with it instead of stopping at the first problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

_MAX_PROBLEMS = 20


@dataclass(slots=True)
class Problems:
    """Sentences about one document, in the order found, at most ``_MAX_PROBLEMS``."""

    sentences: list[str] = field(default_factory=list)

    def add(self, pointer: str, sentence: str) -> None:
        """Notes a problem at a place."""
        if len(self.sentences) < _MAX_PROBLEMS:
            self.sentences.append(f"{pointer or '/'}: {sentence}")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document with the JSON pointer of its place."""

    value: Any
    pointer: str
    problems: Problems

    def _child(self, key: str | int, value: Any) -> Node:
        return Node(value, f"{self.pointer}/{key}", self.problems)

    def wrong(self, sentence: str) -> None:
        """Notes a problem with this very value."""
        self.problems.add(self.pointer, sentence)

    def has(self, key: str) -> bool:
        """Whether this is a mapping that holds a value under the key."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def raw(self, key: str, default: Any = None) -> Any:
        """The plain value under a key, of any type."""
        return self.value.get(key, default) if isinstance(self.value, dict) else default

    def mapping(self, key: str) -> Node:
        """The mapping under a key; an empty one if it is absent or of another type (a problem)."""
        value = self.raw(key)
        child = self._child(key, value if isinstance(value, dict) else {})
        if value is not None and not isinstance(value, dict):
            child.wrong(f"a mapping is expected here, not {describe(value)}.")
        return child

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping of mappings; an entry of another type is a problem and left out."""
        for key, value in self.value.items() if isinstance(self.value, dict) else ():
            child = self._child(key, {} if value is None else value)
            if isinstance(child.value, dict):
                yield key, child
            else:
                child.wrong(f"a mapping is expected here, not {describe(value)}.")

    def elements(self, key: str) -> Iterator[Node]:
        """The mappings in the list under a key."""
        for index, value in enumerate(self.sequence(key)):
            child = self._child(key, None)._child(index, value)
            if isinstance(value, dict):
                yield child
            else:
                child.wrong(f"a mapping is expected here, not {describe(value)}.")

    def sequence(self, key: str) -> list[Any]:
        """The list under a key; empty if it is absent or of another type (a problem)."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._child(key, value).wrong(f"a list is expected here, not {describe(value)}.")
            return []
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts in the list under a key."""
        found = []
        for index, value in enumerate(self.sequence(key)):
            if isinstance(value, str):
                found.append(value)
            else:
                self._child(key, None)._child(index, value).wrong(
                    f"a text is expected here, not {describe(value)}."
                )
        return tuple(found)

    def text(self, key: str) -> str | None:
        """The text under a key, ``None`` if absent."""
        value = self.raw(key)
        if value is None or isinstance(value, str):
            return value
        self._child(key, value).wrong(f"a text is expected here, not {describe(value)}.")
        return None

    def required_text(self, key: str) -> str:
        """The non-empty text under a key; its absence is a problem."""
        value = self.text(key)
        if not value and not (self.raw(key) is not None and not isinstance(self.raw(key), str)):
            self.wrong(f"{key} is missing.")
        return value or ""

    def flag(self, key: str) -> bool:
        """The truth value under a key, ``False`` if absent."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._child(key, value).wrong(f"true or false is expected here, not {describe(value)}.")
        return False

    def number(self, key: str, default: float) -> float:
        """The number under a key."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._child(key, value).wrong(f"a number is expected here, not {describe(value)}.")
            return default
        return value


def describe(value: Any) -> str:
    """A value in a few words, for error messages: ``the text 'ten'``, ``a list``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        shown = value if len(value) <= 40 else value[:37] + "…"
        return f"the text {shown!r}"
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def suggest(name: str, known: Iterable[str]) -> str:
    """A did-you-mean clause that ends a sentence, or the list of what there is."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]}?"
    if not names:
        return " There are none."
    return f" There are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."
