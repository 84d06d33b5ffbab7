"""How many requests a caller may send, and may have wait: counted in the memory of the process."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.domain.access import Principal
from bridge.service.access.places import session_cookies
from bridge.service.problems import ProblemError, problem_response

_MOST_CALLERS = 10_000
_PROBES = ("/livez", "/readyz")
_UNAUTHORIZED = 401
_OPEN_RETRY_SECONDS = 5.0
_NOTED = "rate_of"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Buckets:
    """One bucket for each caller, those that were used last; one that was forgotten is full again."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __contains__(self, caller: str) -> bool:
        return caller in self._buckets

    def take(self, caller: str) -> float:
        """Take a token; 0, or after how many seconds there is one."""
        bucket, now = self._bucket(caller), self._clock()
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_second)
        bucket.filled_at = now
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return 0.0
        return (1.0 - bucket.tokens) / self._per_second

    def _bucket(self, caller: str) -> _Bucket:
        found = self._buckets.get(caller)
        if found is None:
            found = self._buckets[caller] = _Bucket(self._burst, self._clock())
            if len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        return found


class RateLimit:
    """Refuse with 429 what a caller sends beyond its rate, and what would wait beside too many of its own.

    A caller is who its credential was found to belong to, however that is written; until it was let in, and
    without one, it is its address: whoever tries out made-up tokens does not get a bucket for each.
    """

    def __init__(self, app: ASGIApp, buckets: Buckets, most_open: int) -> None:
        self._app = app
        self._buckets = buckets
        self._most_open = most_open
        self._open: Counter[str] = Counter()
        self._callers: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, if its caller has a token left and not too many that wait."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        credential = _credential_of(scope)
        known = self._callers.get(credential) if credential is not None else None
        caller = known or _address_of(scope)
        refusal = self._refusal(caller)
        if refusal is not None:
            await problem_response(refusal)(scope, receive, send)
            return

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != _UNAUTHORIZED:
                self._remember(credential, scope.get("state", {}).get(_NOTED))
            await send(message)

        self._open[caller] += 1
        try:
            await self._app(scope, receive, send if known else watched_send)
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _refusal(self, caller: str) -> ProblemError | None:
        seconds = self._buckets.take(caller)
        if seconds > 0:
            told = "this caller sends more requests than it may (caller_requests_per_second)"
        elif self._open[caller] >= self._most_open:
            told = "too many requests of this caller wait for their answers (caller_open_requests)"
            seconds = _OPEN_RETRY_SECONDS
        else:
            return None
        return ProblemError("too-many-requests", told, retry_after_seconds=seconds)

    def _remember(self, credential: str | None, caller: str | None) -> None:
        if credential is None or caller is None:
            return
        self._callers[credential] = caller
        if len(self._callers) > _MOST_CALLERS:
            self._callers.popitem(last=False)


def note_caller(request: HTTPConnection, principal: Principal) -> None:
    """Tell whom the request's credential belongs to; nobody's is counted by its address."""
    if principal.name:
        setattr(request.state, _NOTED, f"{principal.kind} {principal.token_id or principal.name}")


def _credential_of(scope: Scope) -> str | None:
    presented = b"".join(
        session_cookies(value) if name == b"cookie" else value
        for name, value in scope["headers"]
        if name in (b"authorization", b"cookie")
    )
    return hashlib.sha256(presented).hexdigest() if presented else None


def _address_of(scope: Scope) -> str:
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return f"address {host}"
    # Who has one address of IPv6 has all of its network.
    wide = address.version == 6
    return f"address {ipaddress.ip_network((address, 64), strict=False) if wide else address}"
