"""The one header by which a trace goes from one system to the next: W3C's ``traceparent``."""

from __future__ import annotations

import re
import sys

TRACEPARENT = "traceparent"
_SHAPE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def valid_traceparent(text: str | None) -> str | None:
    """The header's value if it is one, else ``None``: a broken one is to be ignored (W3C Trace Context)."""
    return text if text and _SHAPE.fullmatch(text) else None


def current_traceparent() -> str | None:
    """The span that the caller is in, as a header; ``None`` if there is none.

    Nothing is imported for it: who has a span has loaded OpenTelemetry.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
