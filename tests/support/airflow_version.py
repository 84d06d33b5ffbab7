"""Which Airflow the provider is tested with, and what moved: ``docs/provider/compatibility.md``."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pytest

from deploy.laptop.processes import wait_for

try:
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferralError, TaskDeferred

__all__ = [
    "AIRFLOW",
    "TaskDeferralError",
    "TaskDeferred",
    "dag_serialization",
    "forget_dag_after",
    "needs",
    "runtime_providers",
    "served_api",
    "through_airflow",
]

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])


def needs(major: int, minor: int, what: str) -> pytest.MarkDecorator:
    """Leaves a test out before that Airflow, which has no ``what``."""
    since = f"{major}.{minor}"
    return pytest.mark.skipif((major, minor) > AIRFLOW, reason=f"Airflow before {since} has no {what}")


def runtime_providers() -> Any:
    """Airflow's manager of what tasks see of providers."""
    if AIRFLOW < (3, 2):
        from airflow.providers_manager import ProvidersManager

        return ProvidersManager()
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    return ProvidersManagerTaskRuntime()


def through_airflow(value: Any) -> Any:
    """A value as it comes back from where Airflow stores a trigger's arguments."""
    if AIRFLOW < (3, 2):
        from airflow.serialization.serde import deserialize, serialize
    else:
        from airflow.sdk.serde import deserialize, serialize

    return deserialize(serialize(value))


def dag_serialization() -> Any:
    """The class that turns DAGs into what Airflow stores of them."""
    module = import_module("airflow.serialization.serialized_objects")
    return module.SerializedDAG if AIRFLOW < (3, 2) else module.DagSerialization


def served_api() -> Any:
    """An API that tasks of ``dag.test()`` can talk to, once it serves."""
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI

    api: Any = InProcessExecutionAPI()
    assert api.transport is not None
    wait_for(lambda: hasattr(api.app.state, "svcs_registry"), seconds=60, what="Airflow's API to start")
    return api


def forget_dag_after(stack: ExitStack, dag_id: str) -> None:
    """Has the DAG deleted at the end: Airflow 3.1 may run the next one of that id with this one's tasks."""
    if AIRFLOW < (3, 2):
        stack.callback(import_module("airflow.api.common.delete_dag").delete_dag, dag_id)
