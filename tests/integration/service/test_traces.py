"""One trace from a scheduler's task through the API and the workers, processes of their own, to KFP, as a
collector gets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from bridge.client.models import OriginModel, SubmitRequest
from bridge.client.sync import BridgeClient
from tests.integration.service.calls import wait_until
from tests.support.bridge_service import start_service
from tests.support.fake_kfp import FakeKfp
from tests.support.otlp_collector import OtlpCollector, otlp_collector
from tests.support.served_kfp import serve_kfp
from tests.unit.service.harness import ARGUMENTS, SPEC

HEADER, SECRET = "x-api-key", "collector-key-0123456789"


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    with otlp_collector() as made:
        yield made


def _settings(tmp_path: Path, collector: OtlpCollector, service: str) -> dict[str, str]:
    file = tmp_path / f"{service}.toml"
    headers = f'headers = {{ "{HEADER}" = "{SECRET}" }}'
    file.write_text(f'[telemetry]\nendpoint = "{collector.url}"\nservice_name = "{service}"\n{headers}\n')
    return {"KFBRIDGE_CONFIG": str(file)}


def test_a_trace_goes_from_the_task_through_service_and_worker_to_kfp(
    tmp_path: Path, postgres_url: str, collector: OtlpCollector
) -> None:
    kfp = FakeKfp()
    provider = TracerProvider(resource=Resource({"service.name": "airflow"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=collector.url)))
    with ExitStack() as stack:
        kfp_url = stack.enter_context(serve_kfp(kfp))

        def start(name: str, workers: str) -> str:
            env = {"KFBRIDGE_WORKERS": workers, **_settings(tmp_path, collector, name)}
            return stack.enter_context(
                start_service(tmp_path / name, kfp_url, database_url=postgres_url, env=env)
            ).url

        url = start("api", "0")
        start("worker", "1")
        with (
            provider.get_tracer("test").start_as_current_span("worker.train"),
            BridgeClient(url) as client,
        ):
            origin = OriginModel(dag_id="d", dag_run_id="r", task_id="t")
            made = client.submit(
                SubmitRequest(spec=SPEC, arguments=ARGUMENTS, origin=origin), idempotency_key="k"
            )
        with httpx.Client(base_url=url, timeout=30) as http:
            told = {"run_id": str(made.run_id), "version": made.version}
            active = wait_until(http, told, phase="ACTIVE")
            kfp.finish(active["kfp_run_id"], "FAILED", error="out of memory")
            wait_until(http, active, over=True)
    provider.shutdown()

    (task,) = [span for span in collector.spans() if span.name == "worker.train"]
    found = collector.of_trace(task.trace_id)
    assert {name: span.service for name, span in found.items()} == {
        "worker.train": "airflow",
        "kfbridge.accept": "api",
        "kfbridge.submit": "worker",
        "kfbridge.run": "worker",
        "kfbridge.mirror": "worker",
    }
    ours = [span for name, span in found.items() if name != "worker.train"]
    assert {span.parent_id for span in ours} == {task.span_id}
    (carried,) = kfp.traceparents
    assert carried.split("-")[1:3] == [task.trace_id, found["kfbridge.submit"].span_id]
    run = found["kfbridge.run"]
    assert run.failed
    assert run.attributes["kfbridge.run_id"] == str(made.run_id)
    assert run.attributes["airflow.dag_run_id"] == "r"
    sent = [{name.lower(): value for name, value in one.items()} for one, _ in collector.receiver.messages]
    assert {headers.get(HEADER) for headers in sent} == {None, SECRET}
    for name in ("api", "worker"):
        assert SECRET not in (tmp_path / name / "service.log").read_text()
