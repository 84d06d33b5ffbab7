"""Cron expressions as KFP reads them: seconds come first, and the day of the week may be left out.

KFP parses them with robfig/cron, whose language this is: six fields (second, minute, hour, day of the month,
month, day of the week; the last may be missing), the names of months and days, ``* ? , - /``, and the
descriptors ``@yearly @monthly @weekly @daily @hourly`` and ``@every 1h30m``. Times are UTC unless the
expression begins with ``TZ=<zone>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: n for n, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: n for n, name in enumerate(_DAY_NAMES)}
# Name, least and greatest value, names of values: in the order in which an expression has the fields.
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|h|m|s)")
_MAX_CHARACTERS = 500
_MAX_INTERVAL_SECONDS = 100 * 366 * 86400
# Beyond this an expression such as the 30th of February never comes true.
_HORIZON_YEARS = 5


class CronError(ValueError):
    """The expression cannot be read; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. ``seconds_between`` is set for ``@every`` alone, which has no fields."""

    seconds: frozenset[int] = frozenset()
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    zone: str = ""
    seconds_between: int | None = None

    def after(self, epoch: int) -> int | None:
        """The first second after ``epoch`` (both since 1970, UTC) that fits; ``None``: there is none."""
        if self.seconds_between is not None:
            return epoch + self.seconds_between
        zone = ZoneInfo(self.zone) if self.zone else UTC
        try:
            start = datetime.fromtimestamp(epoch + 1, UTC).astimezone(zone)
        except (OverflowError, ValueError, OSError):
            return None
        day, last = start.date(), _years_later(start.date())
        earliest = (start.hour, start.minute, start.second)
        while day <= last:
            if self._fits(day):
                for hour, minute, second in self._times(earliest):
                    moment = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone)
                    found = int(moment.timestamp())
                    # An hour that the clocks skip does not exist: its moment reads otherwise.
                    if found > epoch and datetime.fromtimestamp(found, zone).hour == hour:
                        return found
            if day.month not in self.months:
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            else:
                day += timedelta(days=1)
            earliest = (0, 0, 0)
        return None

    def _fits(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date and by_weekday if self.any_day else by_date or by_weekday

    def _times(self, earliest: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
        for hour in sorted(h for h in self.hours if h >= earliest[0]):
            for minute in sorted(self.minutes):
                if (hour, minute) < earliest[:2]:
                    continue
                for second in sorted(self.seconds):
                    if (hour, minute, second) >= earliest:
                        yield hour, minute, second


def parse_cron(text: str) -> Cron:
    """The expression. Raises ``CronError``."""
    if len(text) > _MAX_CHARACTERS:
        raise CronError(f"an expression of more than {_MAX_CHARACTERS} characters")
    zone, text = _zone_of(text.strip())
    if text.startswith("@"):
        if text.startswith("@every "):
            return Cron(seconds_between=_interval(text.removeprefix("@every ").strip()))
        if text not in _DESCRIPTORS:
            raise CronError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) == 5:
        fields.append("*")
    if len(fields) != 6:
        raise CronError(f"expected 5 to 6 fields, found {len(fields)}: [{text}]")
    seconds, minutes, hours, days, months, weekdays = (
        _values(field, *about) for field, about in zip(fields, _FIELDS, strict=True)
    )
    # A day that is given in both ways fits if it fits either; a star gives none.
    any_day = fields[3][0] in "*?" or fields[5][0] in "*?"
    return Cron(seconds, minutes, hours, days, months, weekdays, any_day=any_day, zone=zone)


def _zone_of(text: str) -> tuple[str, str]:
    if not text.startswith("TZ="):
        return "", text
    zone, _, rest = text.removeprefix("TZ=").partition(" ")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CronError(f"unknown time zone {zone}") from error
    return zone, rest.strip()


def _interval(text: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CronError(f"failed to parse duration @every {text}")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if seconds > _MAX_INTERVAL_SECONDS:
        raise CronError(f"failed to parse duration @every {text}: longer than 100 years")
    # robfig/cron goes by whole seconds, and by one at least.
    return max(1, int(seconds))


def _values(field: str, name: str, least: int, greatest: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step_text = part.partition("/")
        first_text, dash, last_text = span.partition("-")
        step = _number(step_text, name, {}) if slash else 1
        if first_text in ("*", "?"):
            first, last = least, greatest
        else:
            first = _number(first_text, name, names)
            last = _number(last_text, name, names) if dash else greatest if slash else first
        if first < least or last > greatest or first > last or step < 1:
            raise CronError(
                f"{part!r} in the field for the {name}: values from {least} to {greatest}, in that order"
            )
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise CronError(f"failed to parse {text!r} in the field for the {name}")
    return int(text)


def _years_later(day: date) -> date:
    return date(min(day.year + _HORIZON_YEARS, date.max.year - 1), 12, 31)
