"""Times as the store keeps them and as KFP's JSON writes them."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

NEVER = "1970-01-01T00:00:00Z"


def now_seconds() -> int:
    """The whole second it is: what KFP stores for runs, pipelines and experiments."""
    return int(time.time())


def now_milliseconds() -> int:
    """The millisecond it is: what MLMD stores."""
    return int(time.time() * 1000)


def rfc3339(seconds: float) -> str:
    """A time in seconds since the epoch as protojson writes it: UTC, a fraction only where there is one."""
    moment = datetime.fromtimestamp(seconds, UTC)
    precision = "microseconds" if moment.microsecond else "seconds"
    # Not strftime, which writes the year 1 as one digit.
    return f"{moment.replace(tzinfo=None).isoformat(timespec=precision)}Z"


def parse_rfc3339(text: str) -> int:
    """The whole second of a time as protojson writes it. Raises ``ValueError``.

    A blank in place of ``T`` and a time without an offset, which is taken as UTC, are let pass.
    """
    moment = datetime.fromisoformat(text)
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
