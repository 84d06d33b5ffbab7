"""These tests run where Airflow is installed (``.venv-airflow``), and are left out elsewhere.

The DAG folder goes on ``sys.path``, as Airflow puts it there.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

DAGS_FOLDER = Path(__file__).parents[3] / "airflow_dags"

if find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.support.airflow_home import airflow_home

    airflow_home()
    sys.path.append(str(DAGS_FOLDER))
