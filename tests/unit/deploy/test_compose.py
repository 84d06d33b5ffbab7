"""compose.yaml and the Dockerfile as they are written; `make compose-check` really runs them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bridge.service.doctor.surroundings import needed_packages
from bridge.service.settings import ServiceSettings
from bridge.service.settings_sources import _BACKEND_VARIABLES, ENVIRONMENT_PREFIX
from deploy import compose_check
from tests.unit.docs.pages import ROOT, rows

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STAGES = re.split(r"(?m)^FROM ", compose_check.DOCKERFILE.read_text())[1:]
ONCE = {"setup", "migrate", "airflow-migrate"}
# Read by the image's entrypoint, by the DAGs of the demo, or by the provider.
ELSEWHERE = {
    "KFBRIDGE_ALLOWED_HOSTS",
    "KFBRIDGE_DATABASE_URL_FILE",
    "KFBRIDGE_API_TOKEN_FILE",
    "KFBRIDGE_DATA_URI",
    "KFBRIDGE_DATA_CONN_ID",
    "KFBRIDGE_PIPELINES_DIR",
    "KFBRIDGE_CONFIG",
    "KFBRIDGE_LOCAL_ARTIFACTS",
    "KFBRIDGE_LOCAL_ARTIFACT_OPTIONS_FILE",
}


def _stage(name: str) -> str:
    [found] = [stage for stage in STAGES if re.match(rf"\S+ AS {name}\n", stage)]
    return found


def test_only_this_machine_reaches_what_is_published() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert set(published) == {"service", "airflow-api-server"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_everything_that_goes_on_tells_its_health() -> None:
    for name, one in SERVICES.items():
        if name in ONCE:
            continue
        built = one.get("build", {}).get("target")
        told = one.get("healthcheck", {}).get("test") or (built and "HEALTHCHECK --interval" in _stage(built))
        assert told, name


def test_who_waits_for_whom_waits_for_what_it_can_be() -> None:
    for name, one in SERVICES.items():
        for other, how in one.get("depends_on", {}).items():
            ended = how["condition"] == "service_completed_successfully"
            assert ended == (other in ONCE), (name, other)


def test_no_secret_is_written_down() -> None:
    for name, one in SERVICES.items():
        for variable, value in (one.get("environment") or {}).items():
            told = re.search(r"PASSWORD|SECRET|TOKEN|FERNET|SQL_ALCHEMY|DATABASE_URL", variable)
            if told and not variable.startswith("AIRFLOW__SECRETS__"):
                assert variable.endswith(("_FILE", "_CMD")), (name, variable)
                assert "/run/kfbridge/" in value
    # What it runs may be anybody's code.
    mounted = [volume.split(":")[0] for volume in SERVICES["local"]["volumes"]]
    assert mounted == ["kfp", "local-secrets"]


def test_the_bridge_runs_with_as_few_rights_as_it_can() -> None:
    for name in ("service", "worker", "local", "migrate"):
        one = SERVICES[name]
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
    # It listens on its loopback alone; whoever shares that reaches it, and nobody else.
    assert {name for name, one in SERVICES.items() if one.get("network_mode") == "service:service"} == {
        "worker",
        "local",
    }


def test_every_variable_is_one_that_somebody_reads() -> None:
    settings = {ENVIRONMENT_PREFIX + name.upper() for name in ServiceSettings.model_fields}
    for one in SERVICES.values():
        given = {name for name in one.get("environment") or {} if name.startswith(ENVIRONMENT_PREFIX)}
        assert given <= settings | set(_BACKEND_VARIABLES) | ELSEWHERE


def test_every_image_is_of_a_certain_version() -> None:
    for name, image in compose_check.named_images().items():
        assert re.search(r":v?\d+\.?\d*\S*$", image), name
    built = {one["build"]["target"] for one in SERVICES.values() if "build" in one}
    assert built == set(compose_check.TARGETS)


@pytest.mark.parametrize("target", ["service", "worker", "local"])
def test_images_run_as_somebody_and_tell_their_health(target: str) -> None:
    stage = _stage(target)
    if target == "worker":
        assert stage.startswith("service AS worker\n")
        return
    assert stage.startswith(f"bridge AS {target}\n")
    assert "USER 10001:0" in _stage("bridge")
    assert "HEALTHCHECK" in stage
    assert "USER" not in stage


def test_the_image_of_the_service_has_all_that_settings_may_ask_for() -> None:
    settings = ServiceSettings.model_validate(
        {
            "content_stores": ("s3://a", "gs://b"),
            "telemetry": {"endpoint": "http://collector:4318"},
            "backends": [{"url": "http://kfp", "kubernetes": {"enabled": True}}],
        }
    )
    wanted = {extra for *_, extra in needed_packages(settings)}
    assert wanted == {"s3", "gcs", "telemetry", "service"}
    assert wanted <= set(re.findall(r"--extra (\w+)", _stage("service-packages").replace("\\\n", " ")))


def test_what_a_build_is_handed_stays_in_no_image() -> None:
    text = compose_check.DOCKERFILE.read_text()
    assert set(re.findall(r"^ARG (\w+)", text, re.MULTILINE)) == {
        "PYTHON_IMAGE",
        "AIRFLOW_IMAGE",
        "AIRFLOW_PACKAGES",
    }
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    assert set(re.findall(r"--mount=type=(\w+),id=(\w+)", text)) == {("secret", "ca"), ("secret", "packages")}


def test_the_page_lists_every_service() -> None:
    page = (ROOT / "docs" / "install-compose.md").read_text()
    listed = {name for cells in rows(page, "Service") for name in re.findall(r"`([\w-]+)`", cells[0])}
    assert listed == set(SERVICES)
    volumes = {name for cells in rows(page, "Service") for name in re.findall(r"`([\w-]+)`", cells[2])}
    assert volumes == set(COMPOSE["volumes"])


def test_with_celery_every_part_of_airflow_is_told_so() -> None:
    celery: dict[str, Any] = yaml.safe_load(compose_check.CELERY.read_text())["services"]
    parts = {name for name in SERVICES if name.startswith("airflow-")}
    assert set(celery) == parts | {"airflow-worker", "broker"}
    for name in parts | {"airflow-worker"}:
        assert celery[name]["environment"]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert "ports" not in celery["broker"]
    for name in ("airflow-worker", "broker"):
        assert celery[name]["healthcheck"]["test"]
