"""Spares a server that all workers of a process talk to: a rate, its own Retry-After, a circuit breaker.

A request first waits for its turn (token bucket). While the server wants no requests (``Retry-After``), or
after so many failures in a row that it is plainly away, a request is not sent at all: ``KfpHeldBack``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from bridge.kfp_api.errors import KfpError, KfpHeldBack, KfpRateLimited

CircuitState = Literal["closed", "open", "half-open"]
Part = Literal["api", "metadata"]

# A server that names a longer time is asked again after this one all the same.
_LONGEST_HOLD_SECONDS = 3600.0
# A 429 that names no time.
_DEFAULT_HOLD_SECONDS = 1.0
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardPolicy:
    """How a server is spared.

    ``burst`` requests may go out at once and ``requests_per_second`` from then on; a request waits at most
    ``patience_seconds`` for its turn. After ``failures`` in a row the circuit opens for
    ``first_open_seconds``; each time that the one request let through then fails too, for twice as long, up
    to ``longest_open_seconds``.
    """

    requests_per_second: float = 200.0
    burst: int = 400
    patience_seconds: float = 10.0
    failures: int = 8
    first_open_seconds: float = 2.0
    longest_open_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class GuardState:
    """How a server is being spared now. ``waiting`` requests wait for their turn."""

    circuit: CircuitState
    held_seconds: float
    waiting: int


class Guard:
    """One per server; used from one event loop."""

    def __init__(
        self,
        policy: GuardPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._policy = policy or GuardPolicy()
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(self._policy.burst)
        self._filled_at = clock()
        self._held_until = 0.0
        self._waiting = 0
        # Metadata has a server of its own behind the same address: one may be away without the other.
        self._circuits: dict[Part, _Circuit] = {part: _Circuit(self._policy) for part in ("api", "metadata")}

    @property
    def state(self) -> GuardState:
        """How the server is spared at this moment; of its parts, the one in the worse state counts."""
        now = self._clock()
        states: list[CircuitState] = [circuit.state(now) for circuit in self._circuits.values()]
        worst = max(states, key=("closed", "half-open", "open").index)
        held = max(self._held_until, *(circuit.open_until for circuit in self._circuits.values()))
        return GuardState(worst, max(0.0, held - now), self._waiting)

    @asynccontextmanager
    async def asking(self, part: Part, request: str, *, may_probe: bool = True) -> AsyncIterator[None]:
        """Wrap one request: entered when it may be sent, left with what came of it.

        ``request`` tells requests apart, ``may_probe`` whether this one may be the first after an outage.
        Raises ``KfpHeldBack`` if it is not to be sent now; nothing left this machine then.
        """
        circuit = self._circuits[part]
        self._check_hold(request)
        self._check(circuit, request, may_probe)
        await self._take_turn(request)
        # Others may have met trouble meanwhile.
        self._check_hold(request)
        probes = self._check(circuit, request, may_probe)
        if probes:
            circuit.probing = True
        try:
            yield
        except KfpError as error:
            self._note(circuit, request, error)
            raise
        else:
            circuit.close()
        finally:
            if probes:
                circuit.probing = False

    def _note(self, circuit: _Circuit, request: str, error: KfpError) -> None:
        now = self._clock()
        asked = error.retry_after_seconds
        limited = isinstance(error, KfpRateLimited)
        if limited or (error.retryable and asked):
            seconds = min(_LONGEST_HOLD_SECONDS, _DEFAULT_HOLD_SECONDS if asked is None else asked)
            self._held_until = max(self._held_until, now + seconds)
            # What was saved up must not go out at once when the time is over.
            self._tokens, self._filled_at = 0.0, self._held_until
        if error.retryable and not limited:
            circuit.fail(now, request)
        else:
            # It is there: it refuses.
            circuit.close()

    def _check_hold(self, request: str) -> None:
        left = self._held_until - self._clock()
        if left > 0:
            raise _held_back(left, "as the server asked (Retry-After)", request)

    def _check(self, circuit: _Circuit, request: str, may_probe: bool) -> bool:
        """Whether the request is the one that is let through to see; raises if it is not let through."""
        now = self._clock()
        state = circuit.state(now)
        if state == "closed":
            return False
        if state == "half-open" and may_probe and not circuit.probing:
            return True
        left = max(circuit.open_until - now, _DEFAULT_HOLD_SECONDS / 2)
        told = f"after {circuit.failures} failures in a row (the circuit is {state})"
        raise _held_back(left, told, request)

    async def _take_turn(self, request: str) -> None:
        policy, now = self._policy, self._clock()
        gained = max(0.0, now - self._filled_at) * policy.requests_per_second
        self._tokens = min(float(policy.burst), self._tokens + gained)
        self._filled_at = max(now, self._filled_at)
        wait = max(0.0, 1.0 - self._tokens) / policy.requests_per_second
        if wait > policy.patience_seconds:
            told = f"more than {policy.requests_per_second:g} requests a second are wanted of it"
            raise _held_back(wait, told, request)
        self._tokens -= 1.0
        if wait > 0:
            self._waiting += 1
            try:
                await self._sleep(wait)
            finally:
                self._waiting -= 1


@dataclass
class _Circuit:
    policy: GuardPolicy
    failures: int = 0
    open_until: float = 0.0
    openings: int = 0
    probing: bool = False
    _failed: set[str] = field(default_factory=set)

    def state(self, now: float) -> CircuitState:
        if not self.openings:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def close(self) -> None:
        self.failures = self.openings = 0
        self.open_until = 0.0
        self._failed.clear()

    def fail(self, now: float, request: str) -> None:
        if "/runs/" in request and request in self._failed and not self.openings:
            # One run that the server cannot show, asked for again, does not mean that the server is away.
            return
        self._failed.add(request)
        self.failures += 1
        if self.state(now) == "open" or self.failures < self.policy.failures:
            # Those that were under way when it opened say nothing new.
            return
        seconds = self.policy.first_open_seconds * 2.0 ** min(self.openings, _MOST_DOUBLINGS)
        self.openings += 1
        self._failed.clear()
        # Jitter: the processes that met the same outage must not come back as one.
        spread = random.uniform(0.8, 1.0)  # noqa: S311
        self.open_until = now + min(seconds, self.policy.longest_open_seconds) * spread


def _held_back(seconds: float, told: str, request: str) -> KfpHeldBack:
    again = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%H:%M:%S UTC")
    return KfpHeldBack(f"not asked before {again}, {told}", request=request, retry_after_seconds=seconds)
