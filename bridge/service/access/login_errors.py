"""Why somebody could not sign in."""

from __future__ import annotations

from bridge.domain.redaction import redact_text


class LoginError(Exception):
    """What happened, and what to do about it, for the person to read; ``status`` is that of the page."""

    def __init__(self, status: int, title: str, detail: str, to_do: str) -> None:
        super().__init__(f"{title}: {detail}")
        self.status, self.title = status, title
        self.detail, self.to_do = redact_text(detail), to_do
