"""What moved in Airflow between 3.1 and 3.3, and what came only then: ``docs/provider/compatibility.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from airflow.sdk import BaseXCom, conf
    from airflow.sdk.bases.decorator import determine_kwargs
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
except ImportError:  # Airflow 3.1
    from airflow.configuration import conf  # type: ignore[assignment]
    from airflow.exceptions import (  # type: ignore[no-redef]
        AirflowFailException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = [
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseXCom",
    "conf",
    "determine_kwargs",
    "keep_for_next_try",
    "kept_by_last_try",
]


def keep_for_next_try(context: Context, key: str, value: Any) -> None:
    """Keeps a value for the task's later tries; Airflow before 3.3 has no place for it."""
    store: Any = context.get("task_state_store")
    if store is not None:
        store.set(key, value)


def kept_by_last_try(context: Context, key: str) -> Any:
    """What an earlier try kept; ``None`` if nothing, and before Airflow 3.3."""
    store: Any = context.get("task_state_store")
    return None if store is None else store.get(key)
