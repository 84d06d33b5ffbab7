"""When a recurring run is due, and what its arguments are then.

The rules are those of KFP's ScheduledWorkflow controller. Times are whole seconds since 1970, UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.local.cron import Cron, CronError, parse_cron

_PLACEHOLDER = re.compile(r"\[\[(.*?)\]\]|\{\{\$\.(.*?)\}\}")
_STRFTIME = re.compile(r"(scheduledTime|currentTime)\.strftime\('(.*)'\)")
# The end of the year 9999: times beyond it cannot be written.
_LAST_SECOND = 253402300799
_DEFAULT_FORMAT = "%Y%m%d%H%M%S"
# Go spells a format as the reference time Mon Jan 2 15:04:05 MST 2006; the longer word of two comes first.
_GO_WORDS = {
    "January": "%B",
    "Monday": "%A",
    "2006": "%Y",
    "-07:00": "+00:00",
    "Z07:00": "Z",
    "-0700": "+0000",
    "Z0700": "Z",
    "MST": "UTC",
    "Jan": "%b",
    "Mon": "%a",
    "002": "%j",
    "01": "%m",
    "02": "%d",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "06": "%y",
    "15": "%H",
    "PM": "%p",
    "pm": "{pm}",
    "_2": "%e",
    "1": "{month}",
    "2": "{day}",
    "3": "{hour}",
    "4": "{minute}",
    "5": "{second}",
}
_GO = re.compile("|".join(re.escape(word) for word in _GO_WORDS))


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts the runs: a cron expression, an interval in seconds, or neither: then there is one run."""

    cron: str = ""
    interval_seconds: int = 0
    start: int | None = None
    end: int | None = None


def next_due(trigger: Trigger, *, created: int, last: int | None, catchup: bool, now: int) -> int | None:
    """For when the next run is due, which may be past; ``None``: never again.

    ``last`` is the time for which the last run was due. Without ``catchup`` times that were missed are
    passed over, up to the latest one.
    """
    if trigger.cron:
        return _next_by_cron(trigger, created, last, catchup, now)
    if trigger.interval_seconds:
        return _next_by_interval(trigger, created, last, catchup, now)
    return created if last is None else None


def _next_by_cron(trigger: Trigger, created: int, last: int | None, catchup: bool, now: int) -> int | None:
    try:
        cron = parse_cron(trigger.cron)
    except CronError:
        # It was read when the recurring run was made; another version of this backend may know less.
        return None
    begin = last if last is not None else trigger.start if trigger.start is not None else created
    due = cron.after(max(begin, trigger.start or begin))
    if due is None or (trigger.end is not None and trigger.end < due):
        return None
    limit = now if trigger.end is None else min(now, trigger.end)
    return due if catchup else _latest(cron, due, limit)


def _latest(cron: Cron, due: int, limit: int) -> int:
    """The last time up to ``limit`` that fits, given one that does: by halves: they may be millions."""
    while due < limit:
        middle = (due + limit) // 2
        later = cron.after(middle)
        if later is not None and later <= limit:
            due = later
        else:
            limit = middle
    return due


def _next_by_interval(
    trigger: Trigger, created: int, last: int | None, catchup: bool, now: int
) -> int | None:
    begin = last if last is not None else trigger.start if trigger.start is not None else created
    if trigger.start is not None and trigger.start > begin:
        due = trigger.start
    else:
        due = begin + trigger.interval_seconds
    if due > _LAST_SECOND or (trigger.end is not None and trigger.end < due):
        return None
    if not catchup and now >= due + trigger.interval_seconds:
        return now if trigger.end is None else min(now, trigger.end)
    return due


def fill_in(value: Any, *, run_id: str, scheduled: int, now: int, index: int) -> Any:
    """An argument with the placeholders in its texts replaced, at any depth.

    ``[[RunUUID]] [[Index]] [[ScheduledTime]] [[CurrentTime]]``, the times also with a Go layout
    (``[[ScheduledTime.2006-01-02]]``) or as ``{{$.scheduledTime.strftime('%Y-%m-%d')}}``. What is no
    placeholder of these stays.
    """
    moments = {
        "Scheduled": datetime.fromtimestamp(scheduled, UTC),
        "Current": datetime.fromtimestamp(now, UTC),
    }

    def replace(found: re.Match[str]) -> str:
        word, expression = found[1], found[2]
        if expression is not None:
            asked = _STRFTIME.fullmatch(expression)
            if asked is None:
                return found[0]
            moment = moments["Scheduled" if asked[1] == "scheduledTime" else "Current"]
            return moment.strftime(asked[2].replace("%s", str(int(moment.timestamp()))))
        if word in ("RunUUID", "Index"):
            return run_id if word == "RunUUID" else str(index)
        for name, moment in moments.items():
            if word == f"{name}Time":
                return moment.strftime(_DEFAULT_FORMAT)
            if word.startswith(f"{name}Time."):
                return _go_format(moment, word.partition(".")[2])
        return found[0]

    if isinstance(value, str):
        return _PLACEHOLDER.sub(replace, value)
    if isinstance(value, list):
        return [fill_in(one, run_id=run_id, scheduled=scheduled, now=now, index=index) for one in value]
    if isinstance(value, dict):
        return {
            key: fill_in(one, run_id=run_id, scheduled=scheduled, now=now, index=index)
            for key, one in value.items()
        }
    return value


def _go_format(moment: datetime, layout: str) -> str:
    plain = {
        "{month}": str(moment.month),
        "{day}": str(moment.day),
        "{hour}": str((moment.hour - 1) % 12 + 1),
        "{minute}": str(moment.minute),
        "{second}": str(moment.second),
        "{pm}": moment.strftime("%p").lower(),
    }

    def one(found: re.Match[str]) -> str:
        said = _GO_WORDS[found[0]]
        return plain.get(said) or moment.strftime(said)

    return _GO.sub(one, layout)
