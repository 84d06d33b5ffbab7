"""Reads Python tracebacks out of the last lines of a log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_BEGIN = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+)(?:, in (\S+))?')
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(:|$)")
# Frames of installed packages and of KFP's executor are where an error surfaced, seldom where it came from.
_FOREIGN = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ", "/kfp/dsl/")
# What KFP's launcher, the wheels' installer and shells add below a component's own words.
_NOISE = re.compile(
    r"^([IWEF]\d{4} [\d:.]+ .*|\[KFP Executor .*|time=\"[^\"]*\".*|exit status \d+|\+ .*"
    r"|Error: exit status \d+"
    r"|\[notice\].*|WARNING: Running pip as .*)$"
)
_MAX_WORDS = 400


@dataclass(frozen=True, slots=True)
class Traceback:
    """The last traceback of a log: the exception's own line, and ``file:line in function`` of the
    component's code nearest to where it was raised."""

    exception: str
    where: str | None


def read_traceback(text: str) -> Traceback | None:
    """The last traceback in a text, ``None`` if it holds none that is whole enough to name an exception."""
    lines = text.splitlines()
    begins = [number for number, line in enumerate(lines) if line.strip().endswith(_BEGIN)]
    for begin in reversed(begins):
        found = _read(lines[begin + 1 :])
        if found is not None:
            return found
    # The beginning may be cut off the tail of a long log: its last frames are enough.
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    return _read(lines[frames[0] :]) if frames and not begins else None


def last_words(text: str) -> str | None:
    """The last line that says something and is not what launchers and installers add."""
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in reversed(kept) if not _NOISE.match(line)), None)
    return (said or (kept[-1] if kept else None) or "")[:_MAX_WORDS] or None


def _read(lines: list[str]) -> Traceback | None:
    own: str | None = None
    other: str | None = None
    for line in lines:
        frame = _FRAME.match(line)
        if frame:
            where = _where(frame)
            if any(part in frame[1] for part in _FOREIGN):
                other = where
            else:
                own = where
        elif line.strip() and not line[:1].isspace():
            if not _EXCEPTION.match(line):
                return None
            return Traceback(line.strip()[:_MAX_WORDS], own or other)
    return None


def _where(frame: re.Match[str]) -> str:
    name = PurePosixPath(frame[1]).name
    function = f" in {frame[3]}" if frame[3] and frame[3] != "<module>" else ""
    return f"{name}:{frame[2]}{function}"
