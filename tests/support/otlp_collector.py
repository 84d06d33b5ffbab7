"""A collector of traces on a free port: takes OTLP over HTTP, as any collector does, and keeps the spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """A span as it came; ids are hex, ``parent_id`` is empty for the first of a trace."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class OtlpCollector:
    """``url`` is where spans are posted, path included."""

    url: str
    receiver: WebhookReceiver

    def spans(self) -> list[CollectedSpan]:
        """What came until now."""
        return [span for headers, body in list(self.receiver.messages) for span in _spans(headers, body)]

    def of_trace(self, trace_id: str) -> dict[str, CollectedSpan]:
        """The spans of a trace by name."""
        return {span.name: span for span in self.spans() if span.trace_id == trace_id}


@contextmanager
def otlp_collector() -> Iterator[OtlpCollector]:
    """A collector that answers until the end of the block."""
    with webhook_receiver() as receiver:
        receiver.status = 200
        place = urlsplit(receiver.url)
        yield OtlpCollector(f"http://{place.netloc}/v1/traces", receiver)


def _spans(headers: dict[str, str], body: bytes) -> Iterator[CollectedSpan]:
    named = {name.lower(): value for name, value in headers.items()}
    assert named["content-type"] == "application/x-protobuf"
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        told = {one.key: one.value.string_value for one in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield CollectedSpan(
                service=told.get("service.name", ""),
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                failed=span.status.code == Status.STATUS_CODE_ERROR,
                attributes={one.key: one.value.string_value for one in span.attributes},
            )
