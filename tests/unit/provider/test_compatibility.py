"""What an earlier Airflow lacks: each gap of ``docs/provider/compatibility.md`` is there as told."""

from __future__ import annotations

from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger

from bridge.provider.compat import keep_for_next_try, kept_by_last_try
from bridge.provider.events import KubeflowEventTrigger
from bridge.provider.origin import build_origin
from tests.support.airflow_version import AIRFLOW
from tests.unit.provider.support import a_context

SINCE_3_3 = AIRFLOW >= (3, 3)


class Store:
    """What Airflow keeps for a task instance from try to try."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = value


def test_triggers_hear_of_kills() -> None:
    assert hasattr(BaseTrigger, "on_kill") == SINCE_3_3


def test_watchers_share_a_stream() -> None:
    assert hasattr(BaseEventTrigger, "shared_stream_key") == SINCE_3_3


async def test_airflow_keeps_what_was_seen_last() -> None:
    trigger = KubeflowEventTrigger()
    assert hasattr(trigger, "asset_state_store") == SINCE_3_3
    await trigger._note_position(7)
    assert await trigger._position() is None


def test_a_task_keeps_something_for_its_next_try() -> None:
    context = a_context()
    keep_for_next_try(context, "seen", 1)
    assert kept_by_last_try(context, "seen") is None
    context["task_state_store"] = Store()
    keep_for_next_try(context, "seen", 2)
    assert kept_by_last_try(context, "seen") == 2
    known = resolve_name("airflow.sdk.definitions.context.Context").__annotations__
    assert ("task_state_store" in known) == SINCE_3_3


def test_the_origin_names_the_partition_key() -> None:
    context = a_context()
    context["dag_run"] = SimpleNamespace(**{**vars(context["dag_run"]), "partition_key": "2013-01-05"})
    assert build_origin(context, deployment=None).partition_key == "2013-01-05"
    del context["dag_run"].partition_key
    assert build_origin(context, deployment=None).partition_key is None
