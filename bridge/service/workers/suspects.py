"""Tells trouble that is a record's own from trouble that everybody has, and counts it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from bridge.kfp_api.errors import KfpBadAnswer

_REMEMBERED = 1000


@dataclass(slots=True)
class _Suspect:
    failures: int
    successes_before: int


class Suspects:
    """What failed lately in one worker of one backend, in this process's memory; bounded."""

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._successes = 0
        self._failed: OrderedDict[Hashable, _Suspect] = OrderedDict()

    def failed(self, subject: Hashable) -> int:
        """Note a failure; how many there were in a row."""
        suspect = self._failed.setdefault(subject, _Suspect(0, self._successes))
        suspect.failures += 1
        self._failed.move_to_end(subject)
        while len(self._failed) > self._limit:
            self._failed.popitem(last=False)
        return suspect.failures

    def suspect(self, subject: Hashable) -> None:
        """Note that it did not work, without counting it: perhaps nothing does."""
        self._failed.setdefault(subject, _Suspect(0, self._successes))

    def worked(self, subject: Hashable) -> None:
        """Note that the work was done."""
        self._successes += 1
        self._failed.pop(subject, None)

    def forget(self, subject: Hashable) -> None:
        """It is set aside; should it come back, its failures are counted anew."""
        self._failed.pop(subject, None)

    def alone(self, subject: Hashable) -> bool:
        """Whether the work was done for others since it first failed here."""
        suspect = self._failed.get(subject)
        return suspect is not None and self._successes > suspect.successes_before


def cannot_be_read(error: Exception) -> bool:
    """Whether a whole answer came that makes no sense, which asking again rarely changes."""
    return isinstance(error, KfpBadAnswer) and not error.cut
