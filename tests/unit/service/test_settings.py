from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bridge.service import main
from bridge.service.access.settings import ClaimGrant, OidcSettings, SubjectGrant, TokenReviewSettings
from bridge.service.airflow_settings import AirflowSettings
from bridge.service.backend_settings import BackendSettings, ClientCredentialsSettings, ProjectSettings
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.retention_settings import RetentionSettings
from bridge.service.settings import ServiceSettings, SettingsError, is_loopback
from bridge.service.settings_sources import load_settings
from bridge.service.telemetry_settings import TelemetrySettings
from bridge.service.webhook_settings import WebhookSettings

DOCS = Path(__file__).parents[3] / "docs" / "service.md"


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8700, True)
    assert settings.backends == ()


def test_the_environment_names_one_backend() -> None:
    settings = load_settings(
        {
            "KFBRIDGE_KFP_URL": "http://kfp:8888",
            "KFBRIDGE_KFP_TOKEN": "secret",
            "KFBRIDGE_KFP_NAMESPACES": "a, b",
            "KFBRIDGE_DATABASE_URL": "postgresql://db/bridge",
            "KFBRIDGE_WORKERS": "false",
            "KFBRIDGE_TICKS": "unrelated",
        }
    )
    (backend,) = settings.backends
    assert (backend.name, backend.url, backend.namespaces) == ("default", "http://kfp:8888", ("a", "b"))
    assert backend.token is not None
    assert "secret" not in repr(settings)
    assert settings.workers is False


def test_a_file_is_overruled_by_the_environment_and_that_by_options(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(
        'port = 1000\nhost = "localhost"\nlog_level = "DEBUG"\n'
        '[[backends]]\nname = "gpu"\nurl = "http://gpu"\n'
        '[[backends]]\nname = "default"\nurl = "http://cpu"\ntick_seconds = 5\n'
    )
    environ = {"KFBRIDGE_CONFIG": str(path), "KFBRIDGE_PORT": "2000", "KFBRIDGE_KFP_TOKEN": "t"}
    settings = load_settings(environ, overrides={"log_level": "ERROR", "host": None, "kfp_url": "http://new"})
    assert (settings.port, settings.host, settings.log_level) == (2000, "localhost", "ERROR")
    gpu, default = settings.backends
    assert (gpu.url, gpu.token) == ("http://gpu", None)
    assert (default.url, default.tick_seconds) == ("http://new", 5)
    assert default.token is not None
    assert settings.backend("gpu") is gpu
    assert settings.backend("tpu") is None


@pytest.mark.parametrize(
    ("environ", "overrides", "told"),
    [
        ({"KFBRIDGE_PORT": "x"}, {}, "port"),
        ({"KFBRIDGE_KFP_URL": "kfp:8888"}, {}, "backends.0.url"),
        ({"KFBRIDGE_KFP_TOKEN": "x"}, {}, "backends.0.url"),
        ({"KFBRIDGE_DATABASE_URL": "mysql://x"}, {}, "database_url"),
        ({"KFBRIDGE_CONFIG": "/nowhere.toml"}, {}, "/nowhere.toml"),
        (
            {"KFBRIDGE_KFP_URL": "http://x", "KFBRIDGE_KFP_TOKEN": "a", "KFBRIDGE_KFP_TOKEN_FILE": "b"},
            {},
            "token or token_file",
        ),
        ({}, {"unheard_of": 1}, "unheard_of"),
    ],
)
def test_mistakes_name_the_setting(environ: dict[str, str], overrides: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ, overrides=overrides)
    assert told in str(refused.value)


def test_secrets_may_come_as_files(tmp_path: Path) -> None:
    for name, content in (
        ("url", "postgresql://b:secret@host/name\n"),
        ("token", "t0ken\n"),
        ("empty", "\n"),
    ):
        (tmp_path / name).write_text(content)
    url = {"KFBRIDGE_DATABASE_URL_FILE": str(tmp_path / "url")}
    settings = load_settings({**url, "KFBRIDGE_API_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.database_url == "postgresql://b:secret@host/name"
    assert settings.api_token is not None
    assert settings.api_token.get_secret_value() == "t0ken"
    other = load_settings(url, overrides={"database_url": "sqlite:///other.db"})
    assert other.database_url == "sqlite:///other.db"
    for environ, told in (
        ({**url, "KFBRIDGE_DATABASE_URL": "sqlite:///a"}, "give one of them"),
        ({"KFBRIDGE_API_TOKEN_FILE": str(tmp_path / "none")}, "KFBRIDGE_API_TOKEN_FILE: the file .*none"),
        ({"KFBRIDGE_API_TOKEN_FILE": str(tmp_path / "empty")}, "is empty"),
    ):
        with pytest.raises(SettingsError, match=told):
            load_settings(environ)


@pytest.mark.parametrize("content", ["port = ", "[[backends]]\nname='a'\nurl='http://a'\n" * 2])
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(content)
    with pytest.raises(SettingsError):
        load_settings({}, config_file=path)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_what_can_be_reached_from_outside(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    if not loopback:
        assert ServiceSettings(host=host, api_token="x").host == host  # type: ignore[arg-type]


PAGES: dict[type[BaseModel], str] = {
    ServiceSettings: "service.md",
    BackendSettings: "service.md",
    ClientCredentialsSettings: "service.md",
    ProjectSettings: "service.md",
    RetentionSettings: "service.md",
    WebhookSettings: "service.md",
    AirflowSettings: "service.md",
    OpenLineageSettings: "openlineage.md",
    TelemetrySettings: "observe.md",
    OidcSettings: "access.md",
    ClaimGrant: "access.md",
    TokenReviewSettings: "access.md",
    SubjectGrant: "access.md",
}


@pytest.mark.parametrize("model", PAGES)
def test_every_setting_is_documented(model: type[BaseModel]) -> None:
    page = (DOCS.parent / PAGES[model]).read_text(encoding="utf-8")
    for name, field in model.model_fields.items():
        assert field.description, name
        assert f"`{name}`" in page, name


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"KFBRIDGE_KFP_URL": "kfp:8888"}, "backends.0.url: must be an address that begins with http://"),
        ({"KFBRIDGE_PUBLIC_URL": "bridge"}, "public_url: must be an address"),
        ({"KFBRIDGE_DATABASE_URL": "bridge.db"}, "database_url: must begin with sqlite:///"),
        ({"KFBRIDGE_LOG_LEVEL": "loud"}, "log_level: must be DEBUG"),
    ],
)
def test_patterns_are_told_in_words(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ)
    assert told in str(refused.value)
    assert "pattern" not in str(refused.value)


def test_workers_do_not_start_in_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would take the log lines away from pytest.
    monkeypatch.setattr(main, "configure_logging", lambda *_, **__: None)
    environ = {
        "KFBRIDGE_DATABASE_URL": f"sqlite:///{tmp_path}/none/bridge.db",
        "KFBRIDGE_KFP_URL": "http://x",
    }
    with pytest.raises(main.StartError, match=f"{tmp_path}/none .* does not exist"):
        main.worker(load_settings(environ))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("given", "uri", "may"),
    [
        ({}, "http://store/data", True),
        ({}, "file:///data/model", True),
        ({}, "s3://bucket/key", False),
        ({}, None, False),
        ({}, "http://[half", False),
        ({"host": "0.0.0.0", "api_token": "t"}, "http://store/data", False),
        ({"host": "0.0.0.0", "api_token": "t"}, "file:///data/model", False),
        ({"content_hosts": "store, other:8080"}, "https://store:9000/data", True),
        ({"content_hosts": "store, other:8080"}, "http://user:secret@other:8080/data", True),
        ({"content_hosts": "store, other:8080"}, "http://other/data", False),
        ({"content_hosts": "store"}, "http://store.evil.example/data", False),
    ],
)
def test_where_the_bridge_may_look_for_artifacts(given: dict[str, str], uri: str | None, may: bool) -> None:
    assert ServiceSettings.model_validate(given).may_look(uri) is may


def test_no_secret_of_the_settings_is_forgotten() -> None:
    backend = {
        "url": "https://ada:bird-1@kfp",
        "ui_url": "https://bird-2@kfp",
        "headers": {"X-Gateway": "bird-3"},
        "client_credentials": {"token_url": "https://sso/t", "client_id": "me", "client_secret": "bird-4"},
    }
    settings = ServiceSettings.model_validate(
        {
            "api_token": "bird-5",
            "database_url": "postgresql://bridge:bird-6@db/bridge",
            "backends": [backend],
            "telemetry": {"endpoint": "http://otel:4318", "headers": {"X-Key": "bird-7"}},
            "webhooks": [{"url": "https://hooks.example", "secret": "bird-8"}],
            "openlineage": {"url": "http://marquez", "token": "bird-9", "headers": {"X-Key": "bird-10"}},
            "content_options": {"s3": {"key": "public", "secret": "bird-11"}},
            "airflow": {"api_url": "http://airflow", "username": "ada", "password": "bird-12"},
        }
    )
    assert sorted(filter(None, settings.secrets())) == sorted(f"bird-{number}" for number in range(1, 13))
