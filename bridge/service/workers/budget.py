"""How much of a backend's time the bridge takes: at most one part in twenty, whatever a list costs there.

Three consumers have shares of their own, so that none starves another: the newest ends (fast), what the
metadata store says of changes, and everything that can wait (the slow sweep, old ends, look-ups), which
also gets what the first two leave.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# No pause of the tracker is shorter than so many times what the backend was busy for it before.
DUTY_FACTOR = 20.0
# The same for new ends alone, and for the metadata watch: one part in 32, and one in 100.
FAST_FACTOR = 31.0
WATCH_FACTOR = 99.0
# Of every second the backend may be kept busy for so long, all together.
SHARE = 0.049
# So much may be saved up by a backend that was hardly asked, so that its first sweeps need not wait.
_SAVED_SECONDS = 0.25
# … or so many requests of what one costs there.
_SAVED_REQUESTS = 3.0


class Budget:
    """Seconds of one backend that may still be taken. Shared by all who sweep it in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._saved = _SAVED_SECONDS
        self._limit = _SAVED_SECONDS

    def spend(self, seconds: float) -> None:
        """So much was taken."""
        self._earn()
        self._saved -= seconds

    def allows(self, seconds: float) -> bool:
        """Whether something that can wait may take about so much now."""
        # What costs more than is ever saved up, beside the round that goes before it, would wait for ever.
        self._limit = max(_SAVED_SECONDS, self._limit, _SAVED_REQUESTS * seconds)
        self._earn()
        return self._saved >= seconds

    def _earn(self) -> None:
        now = self._clock()
        self._saved = min(self._limit, self._saved + (now - self._at) * SHARE)
        self._at = now
