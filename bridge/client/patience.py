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
    """Stops when the next attempt would come later than ``seconds`` after the trouble began.

    It is counted from the first failure, not from the first attempt, which may have been a
    long-poll that waited on purpose.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._trouble_since: float | None = None

    def over(self, pause_seconds: float) -> bool:
        """Whether a pause of this length would outlast the patience; called once per failure."""
        moment = self._now()
        if self._trouble_since is None:
            self._trouble_since = moment
        return moment + pause_seconds - self._trouble_since > self._seconds

    def __call__(self, state: RetryCallState) -> bool:
        return self.over(state.upcoming_sleep)


def pause_before_next(state: RetryCallState) -> float:
    """Exponential with full jitter, and never sooner than the bridge asked for."""
    outcome = state.outcome
    error = outcome.exception() if outcome else None
    asked = error.retry_after_seconds if isinstance(error, BridgeError) else None
    return max(_BACKOFF(state), asked or 0.0, _SHORTEST_PAUSE_SECONDS)


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
        wait=pause_before_next,
        stop=patience,
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )
    return await retrying(one)
