"""How long and how often a call is repeated: the one rule of both clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from bridge.client.errors import BridgeError

T = TypeVar("T")
OnTrouble = Callable[[BridgeError, float], None]

# Full jitter: callers that lost the bridge together must not come back together.
_BACKOFF = wait_random_exponential(multiplier=0.25, max=10.0)
_SHORTEST_PAUSE_SECONDS = 0.05


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    return isinstance(error, BridgeError) and error.transient


class Patience:
    """Spreads attempts over ``seconds`` from the beginning of the trouble; the last one comes at its end.

    It is counted from the first failure, not from the first attempt, which may have been a
    long-poll that waited on purpose. It is over at once when the bridge asks for a longer pause.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._ends_at: float | None = None
        self._over = False

    def pause(self, state: RetryCallState) -> float:
        """Seconds before the next attempt, exponential with full jitter, within what remains.

        Never sooner than the bridge asked for. Called once per failure, before ``over``.
        """
        moment = self._now()
        if self._ends_at is None:
            self._ends_at = moment + self._seconds
        remaining = self._ends_at - moment
        outcome = state.outcome
        error = outcome.exception() if outcome else None
        asked = (error.retry_after_seconds if isinstance(error, BridgeError) else None) or 0.0
        self._over = remaining < max(asked, _SHORTEST_PAUSE_SECONDS)
        return min(max(_BACKOFF(state), asked, _SHORTEST_PAUSE_SECONDS), max(remaining, 0.0))

    def over(self, _state: RetryCallState) -> bool:
        """Whether there is no time left for another attempt."""
        return self._over


async def with_patience(
    attempt: Callable[[], Awaitable[T]],
    *,
    patience: Patience,
    sleep: Callable[[float], Awaitable[None]],
    on_trouble: OnTrouble | None = None,
) -> T:
    """The attempt's result; its transient failures are repeated within the patience, then raised."""

    async def one() -> T:
        return await attempt()

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_trouble is not None and isinstance(error, BridgeError):
            on_trouble(error, state.upcoming_sleep)

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_transient),
        wait=patience.pause,
        stop=patience.over,
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )
    return await retrying(one)
