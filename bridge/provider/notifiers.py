"""A notifier that says which run failed and why, to wherever a connection points."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, Variable

from bridge.provider.links import RUN_XCOM_KEY

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

log = logging.getLogger(__name__)

CONN_ID_VARIABLE = "kfbridge_notification_conn_id"
_TIMEOUT_SECONDS = 10.0
_MAX_ERROR_CHARACTERS = 4000


class BridgeRunNotifier(BaseNotifier):
    """Posts a JSON note about a task and its run to a webhook, or logs it where none is configured.

    The webhook is an Airflow connection of any type: its host is the URL (with scheme, or the schema
    and port fields beside it), its password, if any, goes as bearer token, and the ``headers`` of its
    extra are sent along. Which connection: ``conn_id``, else the one that the Airflow Variable
    ``kfbridge_notification_conn_id`` names, else the note is only logged.

    :param message: a sentence; templated.
    :param conn_id: the connection; templated.
    """

    template_fields = ("message", "conn_id")

    def __init__(
        self,
        message: str = "{{ ti.dag_id }}.{{ ti.task_id }} of {{ ti.run_id }} failed (try {{ ti.try_number }})",
        conn_id: str | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__(context)
        self.message = message
        self.conn_id = conn_id

    def notify(self, context: Context) -> None:
        """Sends the note; raises ``httpx.HTTPError`` when the webhook does not take it."""
        note = self._note(context)
        conn_id = self.conn_id or Variable.get(CONN_ID_VARIABLE, default=None)
        if not conn_id:
            self.log.warning(
                "%s (no notification connection is configured; the Variable %s can name one) %s",
                note["message"],
                CONN_ID_VARIABLE,
                note,
            )
            return
        from airflow.sdk import BaseHook

        self._post(BaseHook.get_connection(conn_id), note)
        self.log.info("Told %s: %s", conn_id, note["message"])

    def _post(self, connection: Connection, note: dict[str, Any]) -> None:
        import httpx

        headers = {str(k): str(v) for k, v in (connection.extra_dejson.get("headers") or {}).items()}
        if connection.password:
            headers["Authorization"] = f"Bearer {connection.password}"
        httpx.post(
            _webhook(connection), json=note, headers=headers, timeout=_TIMEOUT_SECONDS
        ).raise_for_status()

    def _note(self, context: Context) -> dict[str, Any]:
        ti = context["ti"]
        error = context.get("exception")
        return {
            "message": self.message,
            "dag_id": ti.dag_id,
            "dag_run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": ti.map_index,
            "try_number": ti.try_number,
            "log_url": ti.log_url,
            "error": None if error is None else str(error)[:_MAX_ERROR_CHARACTERS],
            "run": _noted(ti),
        }


def _noted(ti: Any) -> dict[str, Any] | None:
    """What the operator noted of its run, where the note is sent from a worker."""
    from airflow.sdk.execution_time.xcom import XCom

    try:
        noted = XCom.get_value(ti_key=ti, key=RUN_XCOM_KEY)
    except Exception as error:
        # Where Airflow calls this outside of a task it may not serve XComs; the note goes out without.
        log.warning("What the operator noted of its run cannot be read: %r", error)
        return None
    return noted if isinstance(noted, dict) else None


def _webhook(connection: Connection) -> str:
    host = connection.host or ""
    if "://" in host:
        return host
    scheme = connection.schema if connection.schema in ("http", "https") else "https"
    return f"{scheme}://{host}{f':{connection.port}' if connection.port else ''}"
