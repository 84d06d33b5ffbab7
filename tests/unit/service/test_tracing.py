"""What the bridge does with a run is in the trace of who asked for it; without the setting there is none."""

from __future__ import annotations

import logging
import subprocess
import sys
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bridge.client.calls import submit as submit_call
from bridge.client.models import SubmitRequest
from bridge.domain.tracing import current_traceparent, valid_traceparent
from bridge.service.logs import FieldFormatter
from bridge.service.settings_sources import load_settings
from bridge.service.tracing import Tracing, check_installed, open_tracing
from tests.unit.service.harness import ARGUMENTS, SPEC, Harness

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID = int("4bf92f3577b34da6a3ce929d0e0e4736", 16)


def traced(service: Harness) -> InMemorySpanExporter:
    """The spans that the service makes from here on."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service.context.tracing = Tracing(provider)
    return exporter


async def ran(service: Harness, **headers: str) -> str:
    """A run from its submission to its end; our id."""
    body = {"spec": SPEC, "arguments": ARGUMENTS}
    key = {"Idempotency-Key": str(uuid4())}
    answer = await service.client.post("/api/v1/runs", json=body, headers=key | headers)
    assert answer.status_code == 202, answer.text
    await service.send()
    return str((await service.ended(await service.run(answer.json()["run_id"])))["run_id"])


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_every_span_of_a_run_is_in_the_callers_trace(service: Harness) -> None:
    exporter = traced(service)
    run_id = await ran(service, traceparent=CALLER)
    spans = named(exporter)
    assert set(spans) == {"kfbridge.accept", "kfbridge.submit", "kfbridge.mirror", "kfbridge.run"}
    assert {span.context.trace_id for span in spans.values() if span.context} == {TRACE_ID}
    assert {f"{span.parent.span_id:016x}" for span in spans.values() if span.parent} == {"00f067aa0ba902b7"}
    told = spans["kfbridge.run"].attributes or {}
    assert (told["kfbridge.run_id"], told["kfbridge.state"]) == (run_id, "SUCCEEDED")
    begun, ended = spans["kfbridge.run"].start_time, spans["kfbridge.run"].end_time
    assert begun is not None
    assert ended is not None
    assert begun <= ended
    assert (await service.run(run_id))["origin"]["traceparent"] == CALLER


async def test_the_backend_is_told_the_span_that_asks_it(service: Harness) -> None:
    exporter = traced(service)
    await ran(service, traceparent=CALLER)
    submitted = named(exporter)["kfbridge.submit"].context
    assert submitted is not None
    assert service.kfp.traceparents == [f"00-{TRACE_ID:032x}-{submitted.span_id:016x}-01"]


async def test_a_trace_begins_at_the_bridge_if_nobody_brings_one(service: Harness) -> None:
    exporter = traced(service)
    await ran(service, traceparent="00-nonsense")
    spans = named(exporter)
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1
    assert spans["kfbridge.accept"].parent is None


async def test_a_failed_run_is_an_error_in_its_trace(service: Harness) -> None:
    exporter = traced(service)
    run = await service.submitted("k1")
    await service.ended(run, "FAILED")
    assert named(exporter)["kfbridge.run"].status.status_code is trace.StatusCode.ERROR


async def test_an_error_is_told_without_the_secrets_in_it(service: Harness) -> None:
    exporter = traced(service)
    answer = await service.submit("k1", backend="token=1yellowbird23456")
    assert answer.status_code == 422, answer.text
    span = named(exporter)["kfbridge.accept"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "ProblemError"
    assert "***" in (span.status.description or "")
    assert "yellowbird" not in span.to_json()


async def test_nothing_is_made_or_sent_unless_it_is_configured(service: Harness) -> None:
    run_id = await ran(service, traceparent=CALLER)
    assert service.kfp.traceparents == []
    assert (await service.run(run_id))["origin"]["traceparent"] == CALLER
    assert (await service.submit("k2")).json()["origin"]["traceparent"] is None


def test_the_client_sends_the_span_it_is_called_in() -> None:
    request = SubmitRequest(spec="name: x")
    assert "traceparent" not in submit_call(request, "k").headers
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("task"):
        sent = submit_call(request, "k").headers["traceparent"]
        assert sent == current_traceparent() == valid_traceparent(sent)


def test_a_log_line_within_a_span_names_its_trace() -> None:
    record = logging.makeLogRecord(
        {"msg": "submitted", "name": "bridge", "levelname": "INFO", "run_id": "r1"}
    )
    formatter = FieldFormatter(as_json=False)
    assert "trace_id" not in formatter.format(record)
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("task") as span:
        assert f"run_id=r1 trace_id={span.get_span_context().trace_id:032x}" in formatter.format(record)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        CALLER.upper(),
        CALLER[:-1],
        CALLER + "-more",
        "ff" + CALLER[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        CALLER + "\n",
    ],
)
def test_a_broken_header_is_ignored(text: str | None) -> None:
    assert valid_traceparent(text) is None


def test_the_environment_says_where_traces_go() -> None:
    settings = load_settings(
        {
            "KFBRIDGE_TELEMETRY_ENDPOINT": "http://collector:4318/v1/traces",
            "KFBRIDGE_TELEMETRY_SAMPLE_RATIO": "0",
        }
    )
    assert settings.telemetry is not None
    assert settings.telemetry.sample_ratio == 0
    check_installed(settings.telemetry)
    tracing = open_tracing(settings.telemetry)
    with tracing.span("kfbridge.accept", None):
        assert current_traceparent() is not None
    tracing.close()


def test_a_service_without_traces_loads_nothing_for_them() -> None:
    code = """
import sys
import bridge.service.app
from bridge.service.tracing import open_tracing
with open_tracing(None).span("x", None):
    print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    probe = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert probe.stdout == "[]\n"
