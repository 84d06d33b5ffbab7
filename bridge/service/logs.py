"""Log lines that machines can read: one line, an event, and its facts as fields (run ids among them)."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from bridge.domain.redaction import HIDDEN, is_secret_name, redact_text
from bridge.domain.tracing import current_traceparent

# A shorter one would be found in words.
_SHORTEST_SECRET = 6
# All that a terminal or a reader of lines takes for the end of one, and what changes a terminal's looks.
_BREAKS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class FieldFormatter(logging.Formatter):
    """``time level logger event key=value …``, or the same as a JSON object, without what looks like a secret
    and without the process's own ``secrets``."""

    def __init__(self, *, as_json: bool, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._as_json = as_json
        known = sorted((one for one in secrets if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(one) for one in known)) if known else None

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback follows it on lines of its own, or as a field of the JSON."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if (traceparent := current_traceparent()) is not None:
            fields["trace_id"] = traceparent.split("-")[1]
        shown = {key: self._shown(key, value) for key, value in fields.items()}
        event = self._clean(record.getMessage())
        trace = self._clean(self.formatException(record.exc_info)) if record.exc_info else None
        if self._as_json:
            line: dict[str, Any] = {"time": moment, "level": record.levelname, "logger": record.name}
            line |= {"event": event, **shown}
            return json.dumps(line | ({"trace": trace} if trace else {}), ensure_ascii=False)
        # What somebody else named must not look like a line of its own.
        parts = [moment, record.levelname, record.name, _BREAKS.sub(_escaped, event)]
        parts += [f"{key}={_quoted(value)}" for key, value in shown.items()]
        return " ".join(parts) + (f"\n{trace}" if trace else "")

    def _shown(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return HIDDEN if is_secret_name(key) else self._clean(str(value))

    def _clean(self, text: str) -> str:
        clean = redact_text(text)
        return self._known.sub(HIDDEN, clean) if self._known is not None else clean


def configure_logging(level: str, *, as_json: bool, secrets: Iterable[str] = ()) -> None:
    """Send every log line of the process to standard error, in one shape, without any of the ``secrets``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldFormatter(as_json=as_json, secrets=secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per outgoing request would drown everything else.
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _escaped(sign: re.Match[str]) -> str:
    return sign[0].encode("unicode_escape").decode()


def _quoted(value: Any) -> str:
    text = str(value)
    if text and not any(sign in text for sign in ' "=') and _BREAKS.search(text) is None:
        return text
    return _BREAKS.sub(_escaped, json.dumps(text, ensure_ascii=False))
