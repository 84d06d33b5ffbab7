"""How calls that are safe to repeat are repeated: exponential waits with jitter, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from bridge.kfp_api.errors import KfpError, KfpHeldBack

ResultT = TypeVar("ResultT")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounds on repeating a call; all seconds.

    A server's ``Retry-After`` replaces the computed wait, up to ``longest_wait_seconds``; a server
    that asks for more is not waited for, and its error is raised for the caller to act on.
    """

    attempts: int = 4
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 10.0
    total_seconds: float = 60.0


async def retry_safe(
    call: Callable[[], Awaitable[ResultT]],
    policy: RetryPolicy,
    sleep: Sleep = asyncio.sleep,
    *,
    worth: Callable[[KfpError], bool] = lambda error: error.retryable,
) -> ResultT:
    """The result of ``call``, repeated while it fails with a ``KfpError`` that is ``worth`` it.

    Raises the last error when attempts or time are used up.
    """
    computed = wait_random_exponential(multiplier=policy.first_wait_seconds, max=policy.longest_wait_seconds)

    def is_worth(error: BaseException) -> bool:
        if not isinstance(error, KfpError) or not worth(error):
            return False
        if isinstance(error, KfpHeldBack):
            # Whoever waits here would be held back again, with all others.
            return False
        return (error.retry_after_seconds or 0.0) <= policy.longest_wait_seconds

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, KfpError) else None
        return asked if asked is not None else computed(state)

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_worth),
        stop=stop_after_attempt(policy.attempts) | stop_after_delay(policy.total_seconds),
        wait=wait,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(call)
