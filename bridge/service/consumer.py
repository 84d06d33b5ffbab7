"""The OpenLineage consumer: one event at a time is sent to it, and what came of that is told apart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.errors import KfpAuthError
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.outgoing import AddressRefused, Outgoing
from bridge.service.workers.backoff import backoff_seconds

# What no other event would get: this one makes no sense to the consumer. Other refusals are everybody's.
_REFUSALS = frozenset({400, 409, 413, 415, 422})
_TOLD_CHARACTERS = 200


class ConsumerAway(Exception):
    """The consumer takes nothing now; ``retry_after_seconds`` is what it asked for."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EventRefused(Exception):
    """The consumer answers, and does not take this event."""


class Circuit:
    """Keeps all of a process's workers from a consumer that is away, for a growing while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held_until = 0.0
        self._failures = 0

    @property
    def held_seconds(self) -> float:
        """How long nothing is to be sent."""
        return max(0.0, self._held_until - self._clock())

    @property
    def is_probing(self) -> bool:
        """Whether the last thing that is known of the consumer is that it was away."""
        return self._failures > 0

    def note_away(self, error: ConsumerAway, *, first: float, longest: float) -> None:
        """Nothing is sent for a while."""
        if self.held_seconds > 0:
            # Several found it away at the same time.
            return
        self._failures += 1
        pause = backoff_seconds(self._failures, first=first, longest=longest)
        self._held_until = self._clock() + min(max(pause, error.retry_after_seconds), longest)

    def note_answer(self) -> None:
        """It takes events again."""
        self._failures = 0


class Consumer:
    """Sends events to the configured consumer. Use it as an ``async with`` block."""

    def __init__(
        self, settings: OpenLineageSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        # Whoever configures the service says where it is: its own networks are meant.
        self._outgoing = Outgoing(timeout_seconds=settings.timeout_seconds, private=True, transport=transport)
        self._token = _token_of(settings)

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._outgoing.__aexit__()

    async def send(self, event: Mapping[str, Any]) -> None:
        """Send one event. Raises ``ConsumerAway`` and ``EventRefused``."""
        body = json.dumps(event, ensure_ascii=False, allow_nan=False).encode()
        try:
            answer = await self._outgoing.post(self._settings.url, body, self._headers())
        except (AddressRefused, KfpAuthError) as error:
            raise ConsumerAway(str(error)) from error
        except TimeoutError as error:
            raise ConsumerAway("no answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConsumerAway(f"{type(error).__name__}: {error}") from error
        if 200 <= answer.status < 300:
            return
        told = " ".join(answer.text.split())[:_TOLD_CHARACTERS]
        message = f"answered {answer.status}{f': {told}' if told else ''}"
        if answer.status in _REFUSALS:
            raise EventRefused(message)
        wanted = answer.headers.get("retry-after", "")
        raise ConsumerAway(message, float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0)

    def _headers(self) -> dict[str, str]:
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.token()}"
        return headers


def _token_of(settings: OpenLineageSettings) -> TokenSource | None:
    if settings.token is not None:
        return TokenSource.from_value(settings.token.get_secret_value())
    return TokenSource.from_file(settings.token_file) if settings.token_file else None
