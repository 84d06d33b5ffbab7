"""How exactly a run can be made again: a grade, and every reason that keeps it from being exact. Pure.

Unknown is said and never counts as the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bridge.domain.redaction import redact_uri

_PINNED = re.compile(r"^===?\s*[^\s*,;]+$")
_DIRECT = re.compile(r"(#|&)sha256=[0-9a-f]{64}\b|@[0-9a-f]{40}\b", re.IGNORECASE)
_BY_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


class Grade(StrEnum):
    """``exact``: everything that is recorded is fixed and as it was. ``same-spec``: the same pipeline and
    arguments, but something moved, may move, or is not known. ``impossible``: something is gone."""

    EXACT = "exact"
    SAME_SPEC = "same-spec"
    IMPOSSIBLE = "impossible"


class Effect(StrEnum):
    """What is the matter with something that a run was made of.

    FLOATING  its name may mean another thing by now: an image's tag, a package without a version.
    MOVED     it is known to be another thing now: data was overwritten.
    GONE      it is not there any more.
    UNKNOWN   nobody can tell whether it is the same.
    """

    FLOATING = "floating"
    MOVED = "moved"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that keeps a run from being made again exactly. ``kind`` is ``spec``, ``backend``, ``image``,
    ``package`` or ``input``, ``name`` which one, ``detail`` a sentence."""

    kind: str
    effect: Effect
    name: str
    detail: str


def grade(reasons: Iterable[Reason]) -> Grade:
    """What the reasons amount to."""
    effects = {reason.effect for reason in reasons}
    if Effect.GONE in effects:
        return Grade.IMPOSSIBLE
    return Grade.SAME_SPEC if effects else Grade.EXACT


def allows(wanted: Grade, found: Grade) -> bool:
    """Whether a run of that grade is what a caller who wants at least ``wanted`` would have."""
    order = (Grade.IMPOSSIBLE, Grade.SAME_SPEC, Grade.EXACT)
    return found is not Grade.IMPOSSIBLE and order.index(found) >= order.index(wanted)


def is_by_digest(image: str) -> bool:
    """Whether an image is named by what it holds, so that the name cannot come to mean another."""
    return _BY_DIGEST.search(image) is not None


def image_reasons(images: Mapping[str, str]) -> list[Reason]:
    """Images, by component, that are named by a tag."""
    return [
        Reason(
            kind="image",
            effect=Effect.FLOATING,
            name=component,
            detail=f"{image} is a tag, which may mean another image now; name it by its digest",
        )
        for component, image in images.items()
        if not is_by_digest(image)
    ]


def package_reasons(packages: Mapping[str, str]) -> list[Reason]:
    """Packages (``train: pandas``) of which what is said of the version does not fix it."""
    return [
        Reason(
            kind="package",
            effect=Effect.FLOATING,
            name=name,
            detail=f"{name} ({said}) may be installed in another version now; pin it with ==",
        )
        for name, said in packages.items()
        if not is_pinned(said)
    ]


def is_pinned(said: str) -> bool:
    """Whether a requirement's version leaves no choice: ``==2.1``, an address with a digest or commit."""
    plain = said.partition(";")[0].strip()
    return bool(_PINNED.match(plain) or _DIRECT.search(plain))


@dataclass(frozen=True, slots=True, kw_only=True)
class InputNow:
    """An input of the run, as it was and as far as it can be seen now. ``measured`` is the version that was
    found there now, ``newest`` the newest one that anybody told of since; ``gone`` that there is nothing,
    ``unseen`` why nothing can be seen."""

    name: str
    uri: str
    version: str | None
    measured: str | None = None
    newest: str | None = None
    gone: bool = False
    unseen: str | None = None


def input_reasons(inputs: Iterable[InputNow]) -> list[Reason]:
    """What is the matter with the run's data."""
    return [reason for item in inputs if (reason := _input_reason(item)) is not None]


def _input_reason(item: InputNow) -> Reason | None:
    def told(effect: Effect, detail: str) -> Reason:
        return Reason(kind="input", effect=effect, name=item.name, detail=f"{redact_uri(item.uri)} {detail}")

    if item.gone:
        return told(Effect.GONE, "is not there any more")
    if item.version is None:
        return told(Effect.UNKNOWN, "was read in a version that nobody told")
    if item.measured is not None:
        if item.measured == item.version:
            return None
        return told(Effect.MOVED, f"was {item.version[:12]} and is {item.measured[:12]} now")
    if item.newest is not None and item.newest != item.version:
        return told(Effect.MOVED, f"was {item.version[:12]} and was written since as {item.newest[:12]}")
    return told(Effect.UNKNOWN, f"cannot be looked at: {item.unseen or 'no way there is known'}")
