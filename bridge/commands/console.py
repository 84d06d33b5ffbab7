"""What a command may touch of its surroundings, handed in so that tests can hand in others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


@dataclass(slots=True)
class Console:
    """The two streams and the environment. Results go to ``out``, everything else to ``err``.

    ``transport`` replaces the network of the client of the bridge.
    """

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: Any = None

    def result(self, text: str) -> None:
        """Write what was asked for."""
        print(text, file=self.out, flush=True)

    def result_json(self, value: Any, *, indent: int | None = 2) -> None:
        """Write what was asked for as one JSON document."""
        print(json.dumps(value, indent=indent, ensure_ascii=False), file=self.out, flush=True)

    def note(self, text: str) -> None:
        """Write what a person should know beside the result."""
        print(text, file=self.err, flush=True)

    @property
    def is_live(self) -> bool:
        """Whether ``err`` is a terminal that can be redrawn."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb"

    def paint(self, text: str, style: str, *, stream: TextIO | None = None) -> str:
        """The text in a style, where the stream is a terminal and ``NO_COLOR`` is not set."""
        target = stream or self.out
        if style not in _STYLES or self.environ.get("NO_COLOR") or not target.isatty():
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    @property
    def has_unicode(self) -> bool:
        """Whether ``out`` can show more than ASCII."""
        return "utf" in (getattr(self.out, "encoding", None) or "utf-8").lower()

    @property
    def width(self) -> int:
        """Columns of the terminal; without one, wide enough to cut nothing short of a whole line."""
        return shutil.get_terminal_size().columns if self.out.isatty() else 1000
