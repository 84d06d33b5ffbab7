"""The provider's entry point, and what importing the provider may need."""

import json
import subprocess
import sys
from importlib import import_module, resources
from importlib.metadata import requires, version
from pathlib import Path

import jsonschema
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge.provider.info import get_provider_info
from tests.support.airflow_version import needs, runtime_providers

BLOCKED = ("fastapi", "sqlmodel", "sqlalchemy", "kfp", "google", "uvicorn", "alembic")


def _schema() -> dict:
    return json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())


def test_info_is_valid_by_airflows_schema() -> None:
    jsonschema.validate(get_provider_info(), _schema())


@needs(3, 2, "form fields in a provider's description")
def test_airflow_finds_the_connection_type_with_its_form() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert "airflow-kfp-bridge" in manager.providers
    hook = runtime_providers().hooks["kfbridge"]
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("Kubeflow Bridge", "kfbridge_conn_id")
    behaviour = manager.field_behaviours["kfbridge"]
    assert behaviour["relabeling"] == {"host": "URL", "password": "Token"}
    fields = {name for name in manager.connection_form_widgets if "kfbridge" in name}
    assert fields == {f"extra__kfbridge__{name}" for name in ("project", "backend", "deployment", "verify")}
    assert "bridge.provider.notifiers.BridgeRunNotifier" in manager.notification


def test_every_class_that_the_info_names_exists() -> None:
    info = get_provider_info()
    names = [*info["extra-links"], *info["notifications"]]
    names += [decorator["class-name"] for decorator in info["task-decorators"]]
    names += [connection["hook-class-name"] for connection in info["connection-types"]]
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute)


def test_the_info_names_the_module_of_every_public_class() -> None:
    from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, BaseOperatorLink, BaseSensorOperator
    from airflow.triggers.base import BaseTrigger

    info = get_provider_info()
    by_base = {BaseSensorOperator: "sensors", BaseOperator: "operators", BaseTrigger: "triggers"}
    by_base |= {BaseHook: "hooks", BaseNotifier: "notifications", BaseOperatorLink: "extra-links"}
    folder = Path(import_module("bridge.provider").__file__).parent
    seen = set()
    for path in folder.glob("[a-z]*.py"):
        module = import_module(f"bridge.provider.{path.stem}")
        for name, found in vars(module).items():
            if not isinstance(found, type) or found.__module__ != module.__name__ or name.startswith("_"):
                continue
            kind = next((kind for base, kind in by_base.items() if issubclass(found, base)), None)
            if kind is None:
                continue
            seen.add(kind)
            listed = info[kind]
            if kind in ("notifications", "extra-links"):
                assert f"{module.__name__}.{name}" in listed
            else:
                assert any(module.__name__ in entry["python-modules"] for entry in listed), (kind, name)
    assert seen == set(by_base.values())


def test_info_imports_nothing() -> None:
    code = (
        "import sys, bridge.provider.info as i; i.get_provider_info();"
        "print([m for m in sys.modules if m.split('.')[0] in ('airflow', 'httpx', 'pydantic', 'yaml')])"
    )
    assert _python(code) == "[]"


def test_every_module_imports_without_the_services_packages() -> None:
    folder = Path(import_module("bridge.provider").__file__).parent
    modules = sorted(f"bridge.provider.{path.stem}" for path in folder.glob("[a-z]*.py"))
    assert "bridge.provider.operators" in modules
    code = f"""
import importlib, sys
# What Airflow itself loads is Airflow's business: it comes first.
import airflow.sdk, airflow.triggers.base, airflow.sdk.execution_time.task_runner
for name in {BLOCKED!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
print("imported")
"""
    assert _python(code) == "imported"


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_airflow_knows_the_providers_own_settings() -> None:
    from airflow.providers_manager import ProvidersManager

    settings = dict(ProvidersManager().provider_configs)["airflow-kfp-bridge"]
    assert set(settings["kfbridge"]["options"]) == {"public_url"}


def test_airflow_finds_the_decorator() -> None:
    from airflow.sdk import task

    from bridge.provider.decorators import kubeflow_pipeline_task

    assert "kubeflow_pipeline" in runtime_providers().taskflow_decorators
    assert task.kubeflow_pipeline is kubeflow_pipeline_task


def test_nothing_is_installed_beside_airflow_but_four_packages() -> None:
    needed = [Requirement(text) for text in requires("airflow-kfp-bridge") or ()]
    base = {canonicalize_name(one.name) for one in needed if one.marker is None}
    assert base == {"httpx", "pydantic", "pyyaml", "tenacity"}
    airflow, ahead = set[str](), ["apache-airflow-core"]
    while ahead:
        for one in [Requirement(text) for text in requires(ahead.pop()) or ()]:
            name = canonicalize_name(one.name)
            if name not in airflow and (one.marker is None or one.marker.evaluate({"extra": ""})):
                airflow.add(name)
                ahead.append(name)
    assert base <= airflow
    assert [str(one) for one in needed if one.marker is None and version(one.name) not in one.specifier] == []
