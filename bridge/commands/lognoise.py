"""Tells what a component wrote from what KFP's executor writes around it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_EXECUTOR = re.compile(r"\[KFP Executor [^\]]* INFO\]: (.*)")
_DUMP_BEGINS = "Got executor_input:"


class ExecutorNoise:
    """Recognises the executor's own lines in one log, read from its beginning: paths, and a dump of JSON."""

    def __init__(self) -> None:
        self._in_dump = False

    def has(self, line: str) -> bool:
        """Whether this line, the next one of the log, is the executor's."""
        if self._in_dump:
            self._in_dump = line != "}"
            return True
        found = _EXECUTOR.match(line)
        if found is None:
            return False
        self._in_dump = found[1].startswith(_DUMP_BEGINS)
        return True


def without_noise(lines: Sequence[str]) -> list[str]:
    """The lines that are not the executor's; they may be the end of a log, cut off anywhere in its dump."""
    noise = ExecutorNoise()
    return [line for line in lines[_rest_of_dump(lines) :] if not noise.has(line)]


def _rest_of_dump(lines: Sequence[str]) -> int:
    """How many lines at the beginning are the rest of a dump that began before them."""
    for number, line in enumerate(lines):
        if line == "}" and number > 0:
            return number + 1
        if not line.startswith("  ") and line != "{":
            return 0
    return 0
