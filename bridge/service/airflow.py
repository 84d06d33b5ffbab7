"""Airflow's API, as far as the bridge asks it: a run's task is cleared, so that Airflow asks again."""

from __future__ import annotations

import ssl
from functools import partial
from math import inf
from typing import Any
from urllib.parse import quote

import httpx

from bridge.domain.identity import Origin
from bridge.kfp_api.auth import Bearer, GivenToken, TokenSource, checked_token
from bridge.kfp_api.errors import KfpAuthError, KfpError, KfpUnreachable
from bridge.service.airflow_settings import AirflowSettings
from bridge.service.problems import ProblemError

# A task instance in another state goes on, or is about to.
_OVER = frozenset({"failed", "upstream_failed", "success", "skipped", "removed"})
_MOST_TOLD = 300
_AGAIN_SECONDS = 10.0


class Airflow:
    """Clears task instances of one Airflow. Use it as an ``async with`` block."""

    def __init__(
        self, settings: AirflowSettings, url: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._deployment = settings.deployment
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            timeout=settings.timeout_seconds,
            verify=_trusted(settings),
            # Asked for by its address alone, as the settings name it.
            trust_env=False,
            transport=transport,
        )
        self._bearer = _bearer_of(settings, self._client)

    async def __aenter__(self) -> Airflow:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def knows(self, origin: Origin) -> bool:
        """Whether the origin is a task instance of this Airflow."""
        if origin.scheduler != "airflow" or not origin.is_task_instance:
            return False
        return self._deployment is None or origin.deployment == self._deployment

    async def clear(self, origin: Origin) -> list[str]:
        """Clear the task instance and what comes after it in its DagRun; the names of all that was cleared.

        Raises ``ProblemError``: ``not-clearable`` while Airflow is at it, ``scheduler-refused`` and
        ``scheduler-unavailable``.
        """
        dag, dag_run, task = origin.dag_id or "", origin.dag_run_id or "", origin.task_id or ""
        if not all(one.strip(".") for one in (dag, dag_run, task)):
            # As a part of an address dots alone would name another place.
            raise ProblemError("not-clearable", "the run's origin names no task of Airflow")
        mapped = origin.map_index >= 0
        place = f"/dags/{_part(dag)}/dagRuns/{_part(dag_run)}/taskInstances/{_part(task)}"
        found = await self._ask("GET", f"{place}/{origin.map_index}" if mapped else place)
        state = found.get("state")
        if state not in _OVER:
            told = f"its state there is {state or 'none yet'}"
            raise ProblemError("not-clearable", f"Airflow is not done with task {task} of {dag}: {told}")
        body = {
            "dry_run": False,
            "only_failed": False,
            "reset_dag_runs": True,
            "include_downstream": True,
            "dag_run_id": dag_run,
            "task_ids": [[task, origin.map_index] if mapped else task],
        }
        cleared = await self._ask("POST", f"/dags/{_part(dag)}/clearTaskInstances", body)
        return [_named(one) for one in cleared.get("task_instances") or []]

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One answer of the API; once more with another token after a 401."""
        try:
            token = await self._bearer.current()
            answer = await self._send(method, path, body, token)
            if answer.status_code == httpx.codes.UNAUTHORIZED and await self._bearer.renewed(token):
                answer = await self._send(method, path, body, await self._bearer.current())
        except KfpAuthError as error:
            raise ProblemError("scheduler-refused", f"Airflow: {error.message}") from error
        except (KfpError, httpx.HTTPError) as error:
            told = f"Airflow does not answer: {type(error).__name__}: {error}"
            raise ProblemError(
                "scheduler-unavailable", told[:_MOST_TOLD], retry_after_seconds=_AGAIN_SECONDS
            ) from error
        if answer.is_success:
            return _object(answer)
        told = f"Airflow answered {answer.status_code}: {_reason(answer)}"
        if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise ProblemError("scheduler-unavailable", told, retry_after_seconds=_AGAIN_SECONDS)
        raise ProblemError("scheduler-refused", told)

    async def _send(self, method: str, path: str, body: Any, token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self._client.request(method, f"/api/v2{path}", json=body, headers=headers)


async def _asked(client: httpx.AsyncClient, settings: AirflowSettings) -> tuple[str, float]:
    """The token that Airflow gives a user, without one that of an Airflow where everybody is an admin; good
    until it is refused."""
    username = settings.username
    if username is None:
        answer = await client.get("/auth/token")
    else:
        given = {"username": username, "password": _password(settings)}
        answer = await client.post("/auth/token", json=given)
    if answer.is_server_error:
        raise KfpUnreachable(f"it answered {answer.status_code} when asked for a token", sent=False)
    token = _object(answer).get("access_token")
    if not answer.is_success or not isinstance(token, str):
        who = username or "nobody in particular (the settings name no user)"
        raise KfpAuthError(f"it gives no token to {who}: {answer.status_code} {_reason(answer)}")
    return checked_token(token, "what Airflow gave"), inf


def _bearer_of(settings: AirflowSettings, client: httpx.AsyncClient) -> Bearer:
    if settings.token is not None:
        return TokenSource.from_value(settings.token.get_secret_value())
    if settings.token_file is not None:
        return TokenSource.from_file(settings.token_file)
    return GivenToken(partial(_asked, client, settings))


def _password(settings: AirflowSettings) -> str:
    """The password as it is now. Raises ``KfpAuthError``."""
    if settings.password is not None:
        return settings.password.get_secret_value()
    assert settings.password_file is not None, "a user has the one or the other"
    try:
        return settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KfpAuthError(f"the password file {settings.password_file} cannot be read: {error}") from error


def _trusted(settings: AirflowSettings) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=str(settings.ca_file)) if settings.ca_file else True


def _part(name: str) -> str:
    return quote(name, safe="")


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _reason(answer: httpx.Response) -> str:
    """What Airflow said; the beginning of a page if it was no API that answered."""
    detail = _object(answer).get("detail")
    return " ".join(str(detail or answer.text or "nothing more").split())[:_MOST_TOLD]


def _named(instance: Any) -> str:
    task, index = instance.get("task_id"), instance.get("map_index", -1)
    return f"{task}[{index}]" if isinstance(index, int) and index >= 0 else str(task)
