"""One real Airflow with bridge and backend for all scenarios: starting it takes longer than most of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.laptop.stack import Stack
from tests.e2e.scene import Scene

DAGS = Path(__file__).parent / "dags"

MakeScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def scenario_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole laptop on free ports, with SQLite and the DAGs of the scenarios."""
    environment = {
        # How long after its last heartbeat a killed triggerer is given up; the default is 30.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    }
    home = tmp_path_factory.mktemp("scenarios")
    stack = Stack(home, dags_folder=DAGS, airflow_env=environment)
    transport = {"type": "http", "url": stack.bridge_url, "endpoint": "api/v1/lineage"}
    stack.airflow.env |= {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "e2e/laptop",
        # Each event costs a process: only the DAG that is about them has them.
        "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
    }
    with stack:
        yield stack


@pytest.fixture
def scene(scenario_stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeScene]:
    """Makes scenes; at the end of the test their pipelines are released, so that none holds up the next."""
    made: list[Scene] = []

    def make(dag_id: str, *, live_at_most: int = 1) -> Scene:
        name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))
        dag_run_id = f"{name[:80]}-{len(made) + 1}"
        found = Scene(scenario_stack, tmp_path, dag_id, dag_run_id, live_at_most)
        made.append(found)
        return found

    yield make
    for found in made:
        found.release()
