"""Links from an Airflow task to its run's page at the bridge and in the KFP UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

# What the operator notes as soon as the run is accepted; survives the deferral, not the next try.
RUN_XCOM_KEY = "kfbridge_run"


def noted_link(ti_key: TaskInstanceKey, which: str) -> str:
    """The link noted for a task instance; empty while there is none, which hides the button."""
    from airflow.sdk.execution_time.xcom import XCom

    noted = XCom.get_value(ti_key=ti_key, key=RUN_XCOM_KEY)
    urls = noted.get("urls") if isinstance(noted, dict) else None
    return str((urls or {}).get(which) or "")


@attrs.define()
class BridgeRunLink(BaseOperatorLink):
    """The run's page at the bridge."""

    @property
    def name(self) -> str:
        """The button's name."""
        return "Bridge run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page's address, or an empty text."""
        return noted_link(ti_key, "bridge")


@attrs.define()
class KfpRunLink(BaseOperatorLink):
    """The run's page in the KFP UI, where the backend has one."""

    @property
    def name(self) -> str:
        """The button's name."""
        return "KFP run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page's address, or an empty text."""
        return noted_link(ti_key, "kfp")
