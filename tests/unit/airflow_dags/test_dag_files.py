"""Every DAG file is parsed by a real Airflow, quickly, and says what the documentation says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.unit.airflow_dags.conftest import DAGS_FOLDER

PARSE = Path(__file__).with_name("parse_dags.py")


def _parse(**extra_env: str) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | extra_env
    done = subprocess.run(
        # -I leaves out the current folder: only what Airflow itself puts on sys.path is there.
        [sys.executable, "-I", str(PARSE), str(DAGS_FOLDER)],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    """What the DAG processor finds in the folder."""
    return _parse()


def test_every_file_parses_without_error_and_in_time(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    files = {path.name for path in DAGS_FOLDER.glob("*.py") if path.name != "__init__.py"}
    assert {Path(name).name for name in parsed["seconds"]} == files
    assert max(parsed["seconds"].values()) < 5


def test_the_dags_are_there_and_can_be_serialized(parsed: dict[str, Any]) -> None:
    names = {"flights_etl", "delay_model_retraining", "hello_kubeflow", "failing_example"}
    names |= {"model_report", "hello_taskflow", "hello_if_changed", "on_any_model"}
    names |= {"approved_deployment", "flights_as_tasks", "run_history"}
    assert set(parsed["dags"]) == set(parsed["serialized"]) == names


def test_file_names_shadow_no_package() -> None:
    names = {path.stem for path in DAGS_FOLDER.iterdir() if path.suffix == ".py" or path.is_dir()}
    for name in sorted(name for name in names if name.isidentifier() and not name.startswith("__")):
        spec = find_spec(name)
        assert spec is not None
        assert str(spec.origin).startswith(str(DAGS_FOLDER)), f"{name} is also {spec.origin}"


def test_the_etl_is_daily_and_tells_of_its_dataset(parsed: dict[str, Any]) -> None:
    etl = parsed["dags"]["flights_etl"]
    assert (etl["schedule"], etl["catchup"], etl["max_active_runs"]) == ("EventsTimetable", False, 4)
    assert etl["tasks"]["load_day"]["outlets"] == ["flights"]


def test_retraining_is_nightly_and_by_new_data_one_at_a_time(parsed: dict[str, Any]) -> None:
    dag = parsed["dags"]["delay_model_retraining"]
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("AssetOrTimeSchedule", False, 1)
    tasks = dag["tasks"]
    assert tasks["retrain"]["upstream"] == ["pick_window"]
    assert tasks["act_on_gate"]["upstream"] == ["retrain"]
    assert tasks["retrain"]["outlets"] == ["flight_delay_model"]
    assert tasks["retrain"]["gate"] == "evaluate.auc >= last_good - 0.01"
    for task in tasks.values():
        assert (task["retries"], task["retry_delay_seconds"]) == (2, 300)
        assert task["failure_callbacks"] == ["BridgeRunNotifier"]


def test_the_pipelines_tasks_are_airflow_tasks(parsed: dict[str, Any]) -> None:
    dag = parsed["dags"]["flights_as_tasks"]
    assert dag["schedule"] == "NullTimetable"
    upstream = {name.removeprefix("training."): task["upstream"] for name, task in dag["tasks"].items()}
    assert upstream == {
        "pick_window": [],
        "submit": ["pick_window"],
        "for-loop-1": ["training.submit"],
        "validate": ["training.for-loop-1"],
        "features": ["training.validate"],
        "train": ["training.features"],
        "evaluate": ["training.features", "training.train"],
        "register": ["training.evaluate", "training.train"],
        "tasks_done": ["training.register"],
        "finish": ["training.submit", "training.tasks_done"],
        "tell": ["training.finish"],
    }


def test_the_retry_delay_and_the_pipelines_folder_are_settings(tmp_path: Path) -> None:
    found = _parse(KFBRIDGE_RETRY_DELAY_SECONDS="2", KFBRIDGE_PIPELINES_DIR=str(tmp_path))
    assert len(found["errors"]) == 6
    assert all("there is no pipeline file" in error for error in found["errors"].values())
    compiled = DAGS_FOLDER.parent / "kfp_pipelines" / "compiled"
    found = _parse(KFBRIDGE_RETRY_DELAY_SECONDS="2", KFBRIDGE_PIPELINES_DIR=str(compiled))
    task = found["dags"]["delay_model_retraining"]["tasks"]["retrain"]
    assert task["retry_delay_seconds"] == 2
