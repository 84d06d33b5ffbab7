"""Callers who come with a service account's token: the cluster says whose it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from hashlib import sha256

import anyio.to_thread
from anyio import CapacityLimiter

from bridge.domain.access import Principal, grants_of, merged
from bridge.kube.access import Access, KubeApi
from bridge.kube.errors import KubeError
from bridge.kube.reviews import ReviewedUser, review_token
from bridge.service.access.cache import Recent
from bridge.service.access.settings import TokenReviewSettings
from bridge.service.problems import ProblemError

log = logging.getLogger(__name__)

KIND = "kubernetes"
_MOST_KEPT = 4096
# A burst of unknown tokens must not become a burst at the cluster.
_AT_ONCE = 4
_RETRY_SECONDS = 5.0


class TokenReviews:
    """Asks a cluster; what it said counts for ``keep_seconds``, of tokens it does not know, too."""

    def __init__(
        self,
        settings: TokenReviewSettings,
        api: KubeApi | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._api = api or KubeApi(
            Access(
                kubeconfig=settings.kubeconfig,
                context=settings.context,
                service_account_dir=settings.service_account_dir,
                timeout_seconds=settings.timeout_seconds,
            )
        )
        self._limiter = CapacityLimiter(_AT_ONCE)
        # By digest: a memory of tokens would be worth stealing.
        self._known: Recent[bytes, ReviewedUser | None] = Recent(settings.keep_seconds, _MOST_KEPT, clock)

    async def principal_of(self, given: str) -> Principal | None:
        """Whose token that is; ``None`` for one that the cluster does not know or that is for others."""
        if given.count(".") != 2:
            return None
        key = sha256(given.encode()).digest()
        known = self._known.get(key)
        if known is None:
            known = (await self._ask(given),)
            self._known.keep(key, known[0])
        return self._principal(known[0]) if known[0] is not None else None

    async def _ask(self, given: str) -> ReviewedUser | None:
        audiences = self._settings.audiences
        try:
            return await anyio.to_thread.run_sync(
                review_token, self._api, given, audiences, limiter=self._limiter
            )
        except KubeError as error:
            log.error("a token cannot be reviewed", extra={"error": str(error)})
            raise ProblemError(
                "identity-unavailable",
                "the cluster that knows whose the token is cannot be asked now",
                retry_after_seconds=_RETRY_SECONDS,
            ) from error

    def _principal(self, user: ReviewedUser) -> Principal:
        granted = [
            grants_of(one.role, one.projects)
            for one in self._settings.grants
            if one.user == user.name or (one.group is not None and one.group in user.groups)
        ]
        return Principal(name=user.name, kind=KIND, grants=merged(*granted))
