"""Real DAGs through ``dag.test()`` against a bridge in memory on a loopback port; needs ``.venv-airflow``."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_bridge import FakeBridge

PIPELINES = Path(__file__).parents[2] / "support" / "pipelines"
# Airflow's own way to read .airflowignore.
IGNORED = "ignore:GitWildMatchPattern:DeprecationWarning"
EXAMPLES = Path(__file__).parents[3] / "airflow_dags"

if find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.support.airflow_home import airflow_home

    airflow_home()


@dataclass
class Ran:
    """A DagRun that ``dag.test()`` brought to its end."""

    dag_run: Any
    dag: Any = None

    @property
    def state(self) -> str:
        return str(self.dag_run.state)

    def task(self, task_id: str, map_index: int = -1) -> Any:
        """The task instance."""
        found = {(ti.task_id, ti.map_index): ti for ti in self.dag_run.get_task_instances()}
        return found[task_id, map_index]

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """What the task pushed, ``None`` if nothing."""
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(
                key=key,
                run_id=self.dag_run.run_id,
                dag_ids=self.dag_run.dag_id,
                task_ids=task_id,
                map_indexes=map_index,
            )
            row = session.scalars(query).first()
            return None if row is None else XComModel.deserialize_value(row)

    def clear_and_run(self, *task_ids: str) -> None:
        """Clears tasks as the UI does, and brings the DagRun to its end again as ``dag.test()`` does."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import clear_task_instances
        from airflow.sdk.definitions.dag import _run_task
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState, TaskInstanceState

        from tests.support.airflow_version import dag_serialization

        stored = dag_serialization()
        with create_session() as session:
            dag_run = session.get(DagRun, self.dag_run.id)
            assert dag_run is not None
            dag_run.dag = stored.from_dict(stored.to_dict(self.dag))
            chosen = [ti for ti in dag_run.get_task_instances(session=session) if ti.task_id in task_ids]
            clear_task_instances(chosen, session, dag_run_state=DagRunState.RUNNING)
            session.commit()
            while dag_run.state == DagRunState.RUNNING:
                session.expire_all()
                schedulable, _ = dag_run.update_state(session=session)
                for ti in schedulable:
                    ti.try_number += 1
                    ti.state = TaskInstanceState.SCHEDULED
                session.commit()
                for ti in schedulable:
                    _run_task(ti=ti, task=self.dag.task_dict[ti.task_id], run_triggerer=True)
            self.dag_run = dag_run

    def asset_events(self, uri: str) -> list[dict[str, Any]]:
        """The ``extra`` of each event that this DagRun's tasks emitted for the asset."""
        from airflow.models.asset import AssetEvent, AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        query = (
            select(AssetEvent)
            .join(AssetModel, AssetEvent.asset_id == AssetModel.id)
            .where(AssetModel.uri == uri, AssetEvent.source_run_id == self.dag_run.run_id)
        )
        with create_session() as session:
            return [dict(event.extra) for event in session.scalars(query)]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBridge]:
    """A bridge on loopback, and Airflow's default connection to it."""
    bridge = FakeBridge(token="let-me-in")
    with bridge.serving() as url:
        connection = {
            "conn_type": "kfbridge",
            "host": url,
            "password": "let-me-in",
            "extra": {"project": "flights", "deployment": "test-airflow"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_KFBRIDGE_DEFAULT", json.dumps(connection))
        yield bridge


@pytest.fixture(autouse=True)
def triggers_fire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """``dag.test()`` has no scheduler that a trigger could be too fast for."""
    from bridge.provider import triggers

    monkeypatch.setattr(triggers, "shortest_deferral_seconds", lambda: 0.0)


@pytest.fixture(autouse=True)
def tasks_have_an_api_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.3 ``dag.test()`` starts an API of its own for each task, and does not wait for it."""
    from tests.support.airflow_version import AIRFLOW, served_api

    if AIRFLOW < (3, 3):
        # One for each test: it keeps the DAGs that it has seen by their names.
        monkeypatch.setattr("airflow.sdk.execution_time.supervisor.in_process_api_server", cache(served_api))


@pytest.fixture
def run_dag(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """Writes a DAG file, imports it and runs its DAG with ``dag.test()``.

    The file holds ``dag``; it sees ``PIPELINES``, the folder of compiled test pipelines, beside it.
    """
    from tests.support.airflow_home import migrated_home
    from tests.support.airflow_version import forget_dag_after

    folder = migrated_home() / "dags" / f"case_{abs(hash(request.node.nodeid))}"
    folder.mkdir(parents=True)
    shutil.copytree(PIPELINES, folder / "pipelines")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)

        def run(source: str, **options: Any) -> Ran:
            module = _import(folder, source)
            stack.callback(sys.modules.pop, module.__name__, None)
            forget_dag_after(stack, module.dag.dag_id)
            return Ran(module.dag.test(**options), module.dag)

        yield run


@pytest.fixture
def load_example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Loads a DAG of a file of ``airflow_dags/`` as the DAG processor does."""
    from tests.support.airflow_home import migrated_home
    from tests.support.airflow_version import AIRFLOW

    if AIRFLOW < (3, 2):
        pytest.skip("the example DAGs import what Airflow 3.1 has elsewhere")
    migrated_home()
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(EXAMPLES)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    # As Airflow does: the DAGs import their neighbours from the folder.
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)

    def load(file: str, dag_id: str) -> Any:
        from airflow.dag_processing.dagbag import BundleDagBag

        bag = BundleDagBag(EXAMPLES / file, bundle_path=EXAMPLES, bundle_name="dags-folder")
        assert bag.import_errors == {}
        return bag.dags[dag_id]

    yield load
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "flights":
            del sys.modules[name]


@pytest.fixture
def run_example(load_example: Callable[[str, str], Any]) -> Callable[..., Ran]:
    """Runs the DAG of a file of ``airflow_dags/`` with ``dag.test()``."""

    def run(file: str, dag_id: str, **options: Any) -> Ran:
        return Ran(load_example(file, dag_id).test(**options))

    return run


@pytest.fixture
def parse_dag(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Writes a DAG file and imports it; returns its ``dag``."""
    from tests.support.airflow_home import airflow_home

    folder = airflow_home() / "dags" / f"parsed_{abs(hash(request.node.nodeid))}"
    folder.mkdir(parents=True)
    shutil.copytree(PIPELINES, folder / "pipelines")
    yield lambda source: _import(folder, source).dag
    shutil.rmtree(folder)


def _import(folder: Path, source: str) -> Any:
    name = f"{folder.name}_{len(list(folder.glob('*.py')))}"
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
