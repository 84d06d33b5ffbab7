"""Messages about who asks: ``GET /session`` and the end of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from bridge.client.models import Message


class SessionModel(Message):
    """Who asks, and what they may do: ``roles`` by project, ``*`` for all of them (docs/access.md).

    ``kind`` is how that is known; ``nobody``: callers are not asked who they are. ``signed_in``: by the
    session of a browser, which lasts until ``expires_at``.
    """

    name: str = ""
    kind: Literal["nobody", "setting", "token", "oidc", "kubernetes"]
    roles: Mapping[str, Literal["viewer", "submitter", "operator", "admin"]] = Field(default_factory=dict)
    signed_in: bool = False
    expires_at: datetime | None = None


class SignedOutModel(Message):
    """The session is over. ``continue_at`` is where the browser goes on: where the issuer ends its own
    session, or the page to sign in."""

    continue_at: str
