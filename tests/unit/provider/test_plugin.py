"""The plugin: a view of the run for each task instance, where the bridge's address is known."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse

from bridge.provider.plugin import KubeflowBridgePlugin, external_views
from tests.support.airflow_version import AIRFLOW

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_view_asks_the_bridge_which_run_it_is() -> None:
    (view,) = external_views("https://bridge.example/kfp/ ")
    read = ExternalViewResponse.model_validate(view)
    assert read.destination == "task_instance"
    assert read.href == (
        "https://bridge.example/kfp/go?dag_id={DAG_ID}&dag_run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
    )
    assert read.url_route == "kubeflow-run"


@pytest.mark.parametrize("url", [None, "", "  "])
def test_without_an_address_there_is_no_view(url: str | None) -> None:
    assert external_views(url) == []


@pytest.mark.parametrize("url", ["bridge.example", "javascript:alert(1)", "ftp://bridge"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        external_views(url)


def accepted_views(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """The views and apps that Airflow takes over from a plugin."""
    manager = import_module("airflow.plugins_manager")
    if AIRFLOW < (3, 2):
        for name, value in (("plugins", [plugin]), ("external_views", None), ("react_apps", None)):
            monkeypatch.setattr(manager, name, value)
        manager.initialize_ui_plugins()
        return manager.external_views, manager.react_apps
    monkeypatch.setattr(manager, "_get_plugins", lambda: ([plugin], {}))
    manager._get_ui_plugins.cache_clear()
    views, apps = manager._get_ui_plugins()
    manager._get_ui_plugins.cache_clear()
    return views, apps


def test_airflow_accepts_the_plugin_with_its_view(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = KubeflowBridgePlugin()
    monkeypatch.setattr(plugin, "external_views", external_views("http://bridge"))
    views, apps = accepted_views(plugin, monkeypatch)
    assert [view["name"] for view in views] == ["Kubeflow run"]
    assert apps == []


def test_the_entry_point_names_it() -> None:
    points: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]
    module, _, name = points["airflow.plugins"]["kfbridge"].partition(":")
    assert getattr(import_module(module), name) is KubeflowBridgePlugin
