"""The plugin that shows a run's page in Airflow's view of the task instance."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from bridge.provider.compat import conf

# Airflow fills these in; all four are what its views know.
_PLACEHOLDERS = "dag_id={DAG_ID}&dag_run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
_NAME = "Kubeflow run"


def external_views(url: str | None) -> list[dict[str, Any]]:
    """The views for a bridge at ``url``, as browsers reach it; none without one.

    Raises ``ValueError`` for what is no ``http`` or ``https`` address.
    """
    address = (url or "").strip().rstrip("/")
    if not address:
        return []
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"[kfbridge] public_url is {url!r}; it has to be an http or https address")
    return [
        {
            "name": _NAME,
            "href": f"{address}/go?{_PLACEHOLDERS}",
            "destination": "task_instance",
            "url_route": "kubeflow-run",
        }
    ]


class KubeflowBridgePlugin(AirflowPlugin):
    """Adds the tab **Kubeflow run** to each task instance, if ``[kfbridge] public_url`` names the bridge.

    Airflow's own environment variable for it is ``AIRFLOW__KFBRIDGE__PUBLIC_URL``.
    """

    name = "kfbridge"
    external_views = external_views(conf.get("kfbridge", "public_url", fallback=None))
