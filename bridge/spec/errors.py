"""What can be wrong with a compiled pipeline or with the arguments for one.

SpecError                the document is no pipeline that can be run
└── ArgumentErrors       the arguments do not fit the pipeline's parameters
"""

from __future__ import annotations

from collections.abc import Sequence


class SpecError(ValueError):
    """A pipeline document cannot be used. ``problems`` says why, one sentence each, at least one."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(" ".join(self.problems))


class ArgumentErrors(SpecError):
    """Arguments do not fit. ``errors`` holds (JSON pointer, sentence) pairs, such as
    ``("/arguments/epochs", "epochs takes an integer (NUMBER_INTEGER), not the text 'ten'.")``."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        self.errors: list[tuple[str, str]] = list(errors)
        super().__init__([detail for _, detail in self.errors])
