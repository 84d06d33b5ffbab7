"""How an expected value is compared with one that a backend gave.

A plain value means itself, with its JSON type: ``1`` is not ``"1"`` and not ``true``. Whole and decimal
numbers are one type on the wire, so ``1`` is ``1.0``. What cannot be known beforehand is written with a tag:

    !matches REGEX          a text that the expression matches as a whole
    !text 'heads and {n}'   a text with values that are known by now filled in
    !between [LOW, HIGH]    a whole number from LOW to HIGH, both included
    !one_of [A, B]          one of these
    !let {NAME: EXPECTED}   what EXPECTED says, and from here on ``{NAME}`` in ``!text``
    !known NAME             the value that is known under that name
    !other_than NAME        any value but the one that is known under that name
    !anything               any value, but there is one
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Matcher(Protocol):
    """An expected value that is no plain one."""

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        """Why ``found`` is not what is expected, a phrase each; ``known`` may be read and added to."""
        ...


@dataclass(frozen=True, slots=True)
class Matches:
    """``!matches``"""

    pattern: str

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        if not isinstance(found, str) or not re.fullmatch(self.pattern, found, re.DOTALL):
            yield f"{_shown(found)} does not match {self.pattern!r}"


@dataclass(frozen=True, slots=True)
class Text:
    """``!text``"""

    template: str

    def fill(self, known: Mapping[str, Any]) -> str:
        """The text, with what is known filled in."""
        return self.template.format_map({name: _plain(value) for name, value in known.items()})

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        try:
            wanted = self.fill(known)
        except KeyError as error:
            yield f"{_shown(found)}, and {error} of {self.template!r} did not become known"
            return
        yield from differences(wanted, found, known)


@dataclass(frozen=True, slots=True)
class Between:
    """``!between``"""

    low: int
    high: int

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        whole = isinstance(found, int | float) and not isinstance(found, bool) and found == int(found)
        if not whole or not self.low <= found <= self.high:
            yield f"{_shown(found)} is no whole number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """``!one_of``"""

    choices: Sequence[Any]

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        if all(any(differences(choice, found, dict(known))) for choice in self.choices):
            yield f"{_shown(found)} is none of {_shown(self.choices)}"


@dataclass(frozen=True, slots=True)
class Let:
    """``!let``"""

    name: str
    expected: Any

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        known[self.name] = found
        yield from differences(self.expected, found, known)


@dataclass(frozen=True, slots=True)
class Known:
    """``!known``"""

    name: str

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        if self.name not in known:
            yield f"{_shown(found)}, and {self.name!r} did not become known"
            return
        yield from differences(known[self.name], found, known)


@dataclass(frozen=True, slots=True)
class OtherThan:
    """``!other_than``"""

    name: str

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        if self.name not in known:
            yield f"{_shown(found)}, and {self.name!r} did not become known"
        elif found is None or found == known[self.name]:
            yield f"{_shown(found)} is the same as {self.name!r}, or none"


@dataclass(frozen=True, slots=True)
class Anything:
    """``!anything``"""

    def differences(self, found: Any, known: dict[str, Any]) -> Iterator[str]:
        if found is None:
            yield "there is no value"


MATCHERS = (Matches, Text, Between, OneOf, Let, Known, OtherThan, Anything)


def differences(expected: Any, found: Any, known: dict[str, Any]) -> Iterator[str]:
    """Why ``found`` is not what ``expected`` says, a phrase each; nothing if it is."""
    if isinstance(expected, MATCHERS):
        yield from expected.differences(found, known)
    elif isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in sorted(expected.keys() - found.keys()):
            yield f"{name} is missing"
        for name in sorted(found.keys() - expected.keys()):
            yield f"{name} is not expected, and is {_shown(found[name])}"
        for name in expected.keys() & found.keys():
            yield from (f"{name}: {why}" for why in differences(expected[name], found[name], known))
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        if len(expected) != len(found):
            yield f"{_shown(found)} has {len(found)} items instead of {len(expected)}: {_shown(expected)}"
            return
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from (f"[{index}]: {why}" for why in differences(one, other, known))
    elif _kind(expected) != _kind(found) or expected != found:
        yield f"{_shown(found)} instead of {_shown(expected)}"


def _kind(value: Any) -> str:
    # bool is an int in Python, and no number in JSON.
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
