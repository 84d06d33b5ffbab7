"""Where the bearer token comes from: a value, a file that somebody else rotates, or somebody who gives it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from bridge.kfp_api.errors import KfpAuthError

_MAX_TOKEN_BYTES = 64 * 1024


class Bearer(Protocol):
    """Something that has a bearer token for each request."""

    async def current(self) -> str:
        """The token as it is now. Raises ``KfpError``."""

    async def renewed(self, refused: str | None) -> bool:
        """Look for another one, since ``refused`` was; whether there is. Raises ``KfpError``."""


class TokenSource:
    """A bearer token, given as a value or read from a file.

    A file is read again whenever it changed (projected service-account tokens rotate), and by
    ``refresh`` after a 401. Errors: ``KfpAuthError`` if the file cannot be read or holds no token.
    """

    def __init__(self, *, value: str | None = None, path: Path | str | None = None) -> None:
        if (value is None) == (path is None):
            raise ValueError("a token is given either as a value or as a file")
        self._path = None if path is None else Path(path)
        self._token = checked_token(value, "the token") if value is not None else None
        self._stamp: tuple[int, ...] | None = None

    @classmethod
    def from_value(cls, value: str) -> TokenSource:
        """A token that never changes."""
        return cls(value=value)

    @classmethod
    def from_file(cls, path: Path | str) -> TokenSource:
        """A token in a file, which is read when first asked for."""
        return cls(path=path)

    def token(self) -> str:
        """The token as it is now."""
        if self._path is not None:
            self._read(force=False)
        if self._token is None:
            raise KfpAuthError("there is no token")
        return self._token

    async def current(self) -> str:
        """As ``token``."""
        return self.token()

    async def renewed(self, refused: str | None) -> bool:
        """As ``refresh``."""
        return self.refresh()

    def refresh(self) -> bool:
        """Reads the file again, whatever its time stamp; whether another token came of it."""
        if self._path is None:
            return False
        before = self._token
        self._read(force=True)
        return self._token != before

    def __repr__(self) -> str:
        return f"TokenSource(path={str(self._path)!r})" if self._path else "TokenSource(value=…)"

    def _read(self, *, force: bool) -> None:
        assert self._path is not None
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
            if stamp == self._stamp and not force:
                return
            if status.st_size > _MAX_TOKEN_BYTES:
                raise KfpAuthError(f"the token file {self._path} is too large to hold a token")
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KfpAuthError(f"the token file {self._path} cannot be read: {error}") from error
        self._token = checked_token(text, f"the token file {self._path}")
        self._stamp = stamp


class GivenToken:
    """A token that somebody gives when asked: asked once for all who wait for it, and kept while it is good.

    ``ask`` answers with the token and for how many seconds it is good. Errors: those of ``ask``.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[tuple[str, float]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._token: str | None = None
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def current(self) -> str:
        """A token that is good now."""
        async with self._lock:
            if self._token is None or self._clock() >= self._good_until:
                return await self._renew()
            return self._token

    async def renewed(self, refused: str | None) -> bool:
        """Ask for another token, since ``refused`` was; whether there is one that was not refused."""
        async with self._lock:
            if self._token == refused:
                await self._renew()
            return self._token != refused

    async def _renew(self) -> str:
        token, seconds = await self._ask()
        self._token, self._good_until = token, self._clock() + seconds
        return token


def checked_token(text: str, what: str) -> str:
    """The token without blanks around it. Raises ``KfpAuthError`` for one that cannot stand in a header."""
    token = text.strip()
    # What cannot stand in a header would otherwise fail as a protocol error far from its cause.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise KfpAuthError(f"{what} holds no bearer token (one word of printable ASCII)")
    return token
