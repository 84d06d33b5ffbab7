"""Whether a number of a run is worse than usual, and how long a pipeline usually takes. Pure.

The rule: a run is compared with the good runs before it. Usual is their median; how far they spread is
1.4826 times the median of their distances from it (the MAD, scaled to a standard deviation), which one
outlier does not move. Worse than the median by more than three spreads is a regression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

DEFAULT_WINDOW = 10
MAX_WINDOW = 50
MIN_GOOD = 3
FACTOR = 3.0
_MAD_TO_DEVIATION = 1.4826
# Numbers that never move have no spread, and the last digit of one must not be a regression.
_LEAST_SPREAD = 0.005
_LEAST_SPREAD_OF_SECONDS = 0.1
_LEAST_SECONDS = 5.0
_LOWER_IS_BETTER = re.compile(
    r"(^|[_\-. ])(loss|error|err|rmse|mse|mae|mape|perplexity|latency|seconds|duration|queued|time|cost|"
    r"fpr|fnr|drift|psi|bias|wer|cer|brier)([_\-. \d]|$)|(loss|error|rmse)$",
    re.IGNORECASE,
)


class Better(StrEnum):
    """Which way a number gets better."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianRule:
    """Compares with the median of the last ``window`` good runs; ``least_spread`` is the smallest spread as
    a part of the median, and ``least`` the smallest as it is."""

    better: Better
    window: int = DEFAULT_WINDOW
    factor: float = FACTOR
    least_spread: float = _LEAST_SPREAD
    least: float = 0.0

    def expression(self, name: str) -> str:
        """The rule as gates are written."""
        if self.better is Better.HIGHER:
            return f"{name} >= median - {self.factor:g} * spread"
        return f"{name} <= median + {self.factor:g} * spread"

    @property
    def text(self) -> str:
        """The rule in words."""
        worse = "below" if self.better is Better.HIGHER else "above"
        least = f", at least {self.least:g}" if self.least else ""
        return (
            f"worse if {worse} the median of the last {self.window} good runs by more than {self.factor:g} "
            f"spreads; a spread is 1.4826 × the median distance from it, at least {self.least_spread:.1%} of "
            f"it{least}; with fewer than {MIN_GOOD} good runs before it a run is not judged"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A run's number, ``None`` if it has none, and whether later runs are compared with it."""

    value: float | None
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the rule says of a number. ``regression`` is ``None`` where there is nothing to say, and
    ``reason`` then tells why."""

    median: float | None = None
    low: float | None = None
    high: float | None = None
    regression: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """How long runs usually take, in seconds; beyond ``limit`` a run takes unusually long."""

    runs: int
    median: float
    spread: float
    limit: float


def rule_for(name: str, better: Better | None = None, window: int = DEFAULT_WINDOW) -> MedianRule:
    """The rule for a number by its name; which way it gets better is told by it unless given."""
    direction = better or (Better.LOWER if _LOWER_IS_BETTER.search(name) else Better.HIGHER)
    if is_seconds(name):
        return MedianRule(
            better=direction, window=window, least_spread=_LEAST_SPREAD_OF_SECONDS, least=_LEAST_SECONDS
        )
    return MedianRule(better=direction, window=window)


def is_seconds(name: str) -> bool:
    """Whether the name stands for how long runs took or queued, not for a metric, whose name has a dot."""
    return name in ("duration", "queued")


def mark(samples: Sequence[Sample], before: Iterable[float], rule: MedianRule) -> list[Mark]:
    """What the rule says of each of the samples, the oldest first; ``before`` are the numbers of good runs
    before the first of them, the oldest first."""
    good = list(before)[-rule.window :]
    marks = []
    for sample in samples:
        marks.append(_judge(sample.value, good, rule))
        if sample.good and sample.value is not None:
            good = [*good, sample.value][-rule.window :]
    return marks


def _judge(value: float | None, good: Sequence[float], rule: MedianRule) -> Mark:
    if len(good) < MIN_GOOD:
        few = f"{len(good)} good runs before it" if good else "no good run before it"
        return Mark(reason=few if value is not None else "no value")
    middle, spread = center(good)
    margin = rule.factor * max(spread, rule.least_spread * abs(middle), rule.least)
    low, high = middle - margin, middle + margin
    if value is None:
        return Mark(median=middle, low=low, high=high, reason="no value")
    worse = value < low if rule.better is Better.HIGHER else value > high
    return Mark(median=middle, low=low, high=high, regression=worse)


def center(values: Sequence[float]) -> tuple[float, float]:
    """The median and the robust spread. Raises ``statistics.StatisticsError`` for no values."""
    middle = median(values)
    return middle, _MAD_TO_DEVIATION * median(abs(value - middle) for value in values)


def usual_seconds(values: Sequence[float]) -> Usual | None:
    """How long runs usually take, from how long good ones took; ``None`` if those are too few.

    Unusual is more than three spreads above the median, and never less than half of it or a minute.
    """
    if len(values) < MIN_GOOD:
        return None
    middle, spread = center(values)
    limit = middle + max(FACTOR * spread, 0.5 * middle, 60.0)
    return Usual(runs=len(values), median=middle, spread=spread, limit=limit)
