"""Where the demo's DAGs find data, registry and pipelines. Read from the environment of the Airflow
processes, all of which need the same; everything else is an Airflow Variable, read when a task runs."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from bridge.domain.uris import local_path, normalise_uri

WINDOW_VARIABLE = "flights_window_days"
DEFAULT_WINDOW_DAYS = 30
MODEL_NAME = "flight-delay"


def data_uri() -> str:
    """The root of all data: ``KFBRIDGE_DATA_URI``, else the folder ``kfbridge-data`` in ``AIRFLOW_HOME``."""
    configured = os.environ.get("KFBRIDGE_DATA_URI")
    if configured:
        return normalise_uri(configured)
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser().absolute()
    return normalise_uri(str(home / "kfbridge-data"))


def flights_uri() -> str:
    """The dataset of flights: the folder of its daily partitions."""
    return f"{data_uri()}/flights"


def registry_uri() -> str:
    """The model registry, with a folder for each model name: ``KFBRIDGE_REGISTRY_URI``, else below the
    root."""
    configured = os.environ.get("KFBRIDGE_REGISTRY_URI")
    return normalise_uri(configured) if configured else f"{data_uri()}/models"


def registry_folder() -> str:
    """The registry as components get it: a folder that they have too. Empty if it lies in an object store,
    where KFP keeps a model with the run's other artifacts, and the registry only names it."""
    return registry_uri() if local_path(registry_uri()) else ""


def store_connection() -> str | None:
    """The Airflow connection to the object store: ``KFBRIDGE_DATA_CONN_ID``; without it the store's own
    defaults count."""
    return os.environ.get("KFBRIDGE_DATA_CONN_ID") or None


def compiled_pipeline(name: str) -> str:
    """The path of a compiled pipeline: in ``KFBRIDGE_PIPELINES_DIR``, else beside the folder of the DAGs."""
    beside = Path(__file__).resolve().parents[2] / "kfp_pipelines" / "compiled"
    folder = Path(os.environ.get("KFBRIDGE_PIPELINES_DIR") or beside)
    return str(folder / f"{name}.yaml")


def retry_delay() -> timedelta:
    """The pause before a failed retraining is tried again: five minutes, or as many seconds as
    ``KFBRIDGE_RETRY_DELAY_SECONDS`` says. Raises ``ValueError`` if that is no number."""
    return timedelta(seconds=float(os.environ.get("KFBRIDGE_RETRY_DELAY_SECONDS") or 300))
