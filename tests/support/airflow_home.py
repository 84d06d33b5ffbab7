"""A private Airflow for tests: its home in a temporary folder, set before Airflow is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path


@cache
def airflow_home() -> Path:
    """The home, made once per process and removed at its end; environment variables point at it."""
    home = Path(tempfile.mkdtemp(prefix="kfbridge-airflow-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    dags = home / "dags"
    dags.mkdir()
    os.environ.update(
        {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Tests give their DAGs the same id; Airflow 3.1 takes a DAG over once in 30 s otherwise.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__API__BASE_URL": "http://airflow.example",
            # Before 3.3 the API that ``dag.test()`` runs in its own process has no secret of its own.
            "AIRFLOW__API_AUTH__JWT_SECRET": "of-the-tests-" * 5,
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        }
    )
    return home


@cache
def migrated_home() -> Path:
    """The home with a migrated metadata database, ready for ``dag.test()``."""
    home = airflow_home()
    with warnings.catch_warnings():
        # Airflow's API server warns of its own dependencies (httpx2, svcs) when it is imported.
        warnings.simplefilter("ignore")
        import_module("airflow.api_fastapi.execution_api.app")
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise RuntimeError(f"airflow db migrate failed:\n{done.stdout}\n{done.stderr}")
    return home
