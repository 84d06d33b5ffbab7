"""How long to wait before the next try after so many failures in a row."""

from __future__ import annotations

import random

_LONGEST_DOUBLING = 20


def backoff_seconds(failures: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Exponential with jitter: about ``first`` after one failure, doubling up to ``longest``."""
    base = min(longest, first * 2.0 ** min(max(0, failures - 1), _LONGEST_DOUBLING))
    # Jitter: what failed together must not come back together.
    return base * random.uniform(0.75, 1.25)  # noqa: S311
