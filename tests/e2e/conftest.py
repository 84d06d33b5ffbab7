"""One real Airflow with bridge and backend for all scenarios: starting it takes longer than most of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.laptop.stack import ROOT, Stack
from tests.e2e.scene import Scene
from tests.support.otlp_collector import OtlpCollector, otlp_collector
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

__all__ = ["postgres_server"]

DAGS = Path(__file__).parent / "dags"
# What of the examples runs here too, beside the scenarios' own DAGs.
EXAMPLES = ROOT / "airflow_dags"
EXAMPLE_FILES = ("approved_deployment.py",)
EXAMPLE_PACKAGE = "flights"
# A scenario that counts slots has a pool of its own: other scenarios may be at work. In the backfill's, who
# waits deferred counts too, so that so many of its runs begin and no more.
BACKFILL_POOL, BACKFILL_SLOTS = "e2e_backfill", 8
POOLS = (
    {"name": "e2e_alone", "slots": 8},
    {"name": "e2e_mapped", "slots": 8},
    {"name": BACKFILL_POOL, "slots": BACKFILL_SLOTS, "include_deferred": True},
)


class MakeScene:
    """Makes scenes; ``release()`` lets all of their pipelines end, so that none holds up what comes next."""

    def __init__(self, stack: Stack, folder: Path, name: str) -> None:
        self._stack = stack
        self._folder = folder
        self._name = re.sub(r"\W+", "-", name.removeprefix("test_"))[:80]
        self._made: list[Scene] = []

    def __call__(self, dag_id: str, *, live_at_most: int = 1) -> Scene:
        dag_run_id = f"{self._name}-{len(self._made) + 1}"
        found = Scene(self._stack, self._folder, dag_id, dag_run_id, live_at_most)
        self._made.append(found)
        return found

    def release(self) -> None:
        for found in self._made:
            found.release()


@pytest.fixture(scope="session")
def lineage_consumer() -> Iterator[WebhookReceiver]:
    """Who is told of lineage by Airflow and by the bridge."""
    with webhook_receiver() as consumer:
        consumer.status = 201
        yield consumer


@pytest.fixture(scope="session")
def trace_collector() -> Iterator[OtlpCollector]:
    """Who gets the traces of Airflow and of the bridge."""
    with otlp_collector() as collector:
        yield collector


@pytest.fixture(scope="session")
def scenario_stack(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    lineage_consumer: WebhookReceiver,
    trace_collector: OtlpCollector,
) -> Iterator[Stack]:
    """The whole laptop on free ports with the DAGs of the scenarios, both databases in PostgreSQL: on a busy
    machine Airflow's own would be locked for so long with SQLite that it answers some requests with 500."""
    home = tmp_path_factory.mktemp("scenarios")
    dags = shutil.copytree(DAGS, home / "dags")
    for name in EXAMPLE_FILES:
        shutil.copy(EXAMPLES / name, dags)
    shutil.copytree(EXAMPLES / EXAMPLE_PACKAGE, dags / EXAMPLE_PACKAGE)
    airflow_database = postgres_server.url(postgres_server.create_database())
    airflow_database = airflow_database.replace("postgresql:", "postgresql+psycopg:")
    environment = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_database,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": airflow_database,
        "KFBRIDGE_PIPELINES_DIR": str(ROOT / "kfp_pipelines" / "compiled"),
        # How long after its last heartbeat a triggerer is given up; the defaults are 5 and 30.
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
        # How often deferrals are looked for whose time is up; the default is 15.
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "3",
        "AIRFLOW__CORE__PARALLELISM": "8",
        # A task that Airflow's own API keeps waiting for longer than this is failed; the default is 5.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        # The files do not change, and parsing them takes the time of those who wait.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": trace_collector.url,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_SERVICE_NAME": "airflow",
    }
    options = ["--max-parallel", "8"]
    stack = Stack(
        home,
        database_url=postgres_server.url(postgres_server.create_database()),
        dags_folder=dags,
        airflow_env=environment,
        service_env={
            "KFBRIDGE_OPENLINEAGE_URL": lineage_consumer.url,
            "KFBRIDGE_TELEMETRY_ENDPOINT": trace_collector.url,
        },
        local_options=options,
    )
    transports = {
        "bridge": {"type": "http", "url": stack.bridge_url, "endpoint": "api/v1/lineage"},
        "consumer": {"type": "http", "url": lineage_consumer.url, "endpoint": "events"},
    }
    transport = {"type": "composite", "transports": transports}
    stack.airflow.env |= {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "e2e/laptop",
        # Each event costs a process: only the DAG that is about them has them.
        "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
    }
    with stack:
        for pool in POOLS:
            stack.airflow.post("/pools", pool)
        yield stack


@pytest.fixture
def scene(scenario_stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeScene]:
    """Scenes of one test."""
    made = MakeScene(scenario_stack, tmp_path, request.node.name)
    yield made
    made.release()


@pytest.fixture(scope="module")
def shared_scene(
    scenario_stack: Stack, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[MakeScene]:
    """Scenes that go on at the same time for several tests of a module."""
    name = request.node.path.stem
    made = MakeScene(scenario_stack, tmp_path_factory.mktemp(name), name)
    yield made
    made.release()
