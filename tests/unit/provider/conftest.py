"""These tests run where Airflow is installed (``.venv-airflow``); elsewhere the folder is left out."""

from importlib.util import find_spec

if find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.support.airflow_home import airflow_home

    airflow_home()
