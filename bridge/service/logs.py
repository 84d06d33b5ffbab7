"""Log lines that machines can read: one line, an event, and its facts as fields (run ids among them)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class FieldFormatter(logging.Formatter):
    """``time level logger event key=value …``, or the same as a JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback follows it on lines of its own, or as a field of the JSON."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if self._as_json:
            line: dict[str, Any] = {"time": moment, "level": record.levelname, "logger": record.name}
            line |= {"event": record.getMessage(), **{key: _plain(value) for key, value in fields.items()}}
            return json.dumps(line | ({"trace": trace} if trace else {}), ensure_ascii=False)
        parts = [moment, record.levelname, record.name, record.getMessage()]
        parts += [f"{key}={_quoted(value)}" for key, value in fields.items()]
        return " ".join(parts) + (f"\n{trace}" if trace else "")


def configure_logging(level: str, *, as_json: bool) -> None:
    """Send every log line of the process to standard error, in one shape."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldFormatter(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per outgoing request would drown everything else.
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text
