"""Spans of what the bridge does with a run, in the trace of the task that asked for it.

Without ``[telemetry]`` in the settings nothing is loaded, made or sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bridge.domain.lineage import Run
from bridge.domain.redaction import redact_text
from bridge.domain.states import RuntimeState
from bridge.domain.tracing import TRACEPARENT, current_traceparent
from bridge.kfp_api.http import carrying
from bridge.service.telemetry_settings import TelemetrySettings
from bridge.service.versions import package_version

if TYPE_CHECKING:
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

Attributes = Mapping[str, Any]
_NAME = "kfbridge"
_NEEDED = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter")


class TelemetryMissing(Exception):
    """The settings ask for traces, and what sends them is not installed."""


class Tracing:
    """Makes spans with a provider; without one does nothing at all."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_NAME, package_version()) if provider else None

    @contextmanager
    def span(
        self, name: str, traceparent: str | None, attributes: Attributes | None = None
    ) -> Iterator[None]:
        """A span for the length of the block, below the one that the header names; what the block asks KFP
        carries it on."""
        if self._tracer is None:
            yield
            return
        with (
            self._tracer.start_as_current_span(
                name,
                context=_context_of(traceparent),
                attributes=dict(attributes or {}),
                # It would tell the error's text and all that led to it as they are, whatever stands in them.
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            carrying(current_traceparent()),
        ):
            try:
                yield
            except Exception as error:
                _tell(span, error)
                raise

    def of_run(self, name: str, run: Run) -> Any:
        """As ``span``, for work on a run."""
        return self.span(name, run.origin.traceparent, _facts(run))

    def followed(self, run: Run) -> None:
        """A span of the run itself, from when it was sent to its end, told afterwards."""
        if self._tracer is None or run.finished_at is None:
            return
        begin = min(run.submitted_at or run.started_at or run.created_at, run.finished_at)
        from opentelemetry.trace import StatusCode

        span = self._tracer.start_span(
            "kfbridge.run",
            context=_context_of(run.origin.traceparent),
            attributes={**_facts(run), "kfbridge.state": run.state.value, "kfbridge.good": run.is_good},
            start_time=_nanoseconds(begin),
        )
        if run.state is RuntimeState.FAILED:
            span.set_status(StatusCode.ERROR, run.error.message if run.error else None)
        span.end(_nanoseconds(run.finished_at))

    def close(self) -> None:
        """Send what is left. Blocks."""
        if self._provider is not None:
            self._provider.shutdown()


def check_installed(settings: TelemetrySettings | None) -> None:
    """Raise ``TelemetryMissing`` if the settings ask for traces and cannot have them."""
    if settings is not None and any(find_spec(module) is None for module in _NEEDED):
        raise TelemetryMissing("the settings ask for traces, which needs airflow-kfp-bridge[telemetry]")


def open_tracing(settings: TelemetrySettings | None) -> Tracing:
    """What the settings ask for. Raises ``TelemetryMissing`` if it is not installed."""
    if settings is None:
        return Tracing()
    check_installed(settings)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create({"service.name": settings.service_name, "service.version": package_version()})
    provider = TracerProvider(
        resource=resource,
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=settings.endpoint,
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        timeout=settings.timeout_seconds,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _context_of(traceparent: str | None) -> TraceContext | None:
    """The context of a header; ``None``, the span that is current, without one."""
    if traceparent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent})


def _tell(span: Span, error: Exception) -> None:
    from opentelemetry.trace import StatusCode

    kind = type(error).__name__
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, redact_text(f"{kind}: {error}"))


def _facts(run: Run) -> dict[str, str]:
    told = {
        "kfbridge.run_id": str(run.run_id),
        "kfbridge.kfp_run_id": str(run.kfp_run_id),
        "kfbridge.backend": run.backend,
        "kfbridge.project": run.project,
        "kfbridge.pipeline": run.pipeline.name,
        "airflow.dag_id": run.origin.dag_id,
        "airflow.dag_run_id": run.origin.dag_run_id,
        "airflow.task_id": run.origin.task_id,
    }
    return {name: value for name, value in told.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
