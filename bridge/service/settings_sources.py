"""Where the settings come from: read once, at the entry point.

Sources, the later one winning: defaults, the TOML file named by ``KFBRIDGE_CONFIG`` (or ``--config``),
``KFBRIDGE_…`` environment variables, what the command line gave. Secrets may come as files, as containers are
handed them: ``KFBRIDGE_API_TOKEN_FILE`` names one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bridge.service.airflow_settings import AirflowSettings
from bridge.service.openlineage_settings import OpenLineageSettings
from bridge.service.retention_settings import RetentionSettings
from bridge.service.settings import ServiceSettings, SettingsError
from bridge.service.telemetry_settings import TelemetrySettings

ENVIRONMENT_PREFIX = "KFBRIDGE_"
# What a setting with a pattern must look like, in words.
_PATTERNS_IN_WORDS = {
    "database_url": "must begin with sqlite:/// (a file) or postgresql://",
    "log_level": "must be DEBUG, INFO, WARNING or ERROR",
}
_IN_THE_FILE_ALONE = (
    *("admission", "backends", "projects", "openlineage", "content_options", "retention", "webhooks"),
    *("oidc", "telemetry", "token_review", "airflow"),
)
_FROM_FILES = ("database_url", "api_token")
_OIDC_VARIABLES = {f"KFBRIDGE_OIDC_{name.upper()}": name for name in ("client_id", "client_secret")}
_URL_IN_WORDS = "must be an address that begins with http:// or https://"
_BACKEND_VARIABLES = {
    "KFBRIDGE_KFP_URL": "url",
    "KFBRIDGE_KFP_METADATA_URL": "metadata_url",
    "KFBRIDGE_KFP_METADATA": "metadata",
    "KFBRIDGE_KFP_UI_URL": "ui_url",
    "KFBRIDGE_KFP_TOKEN": "token",
    "KFBRIDGE_KFP_TOKEN_FILE": "token_file",
    "KFBRIDGE_KFP_NAMESPACES": "namespaces",
    "KFBRIDGE_KFP_CA_FILE": "ca_file",
    "KFBRIDGE_KFP_TIMEOUT_SECONDS": "timeout_seconds",
    "KFBRIDGE_KFP_TICK_SECONDS": "tick_seconds",
    "KFBRIDGE_KFP_MAX_ACTIVE_RUNS": "max_active_runs",
    "KFBRIDGE_KFP_REQUESTS_PER_SECOND": "requests_per_second",
    "KFBRIDGE_KFP_REQUEST_BURST": "request_burst",
    "KFBRIDGE_KFP_ORPHAN_GRACE_SECONDS": "orphan_grace_seconds",
    "KFBRIDGE_KFP_AGENT_BACKOFF_SECONDS": "agent_backoff_seconds",
    "KFBRIDGE_KFP_IMPORT_DAYS": "import_days",
    "KFBRIDGE_KFP_IMPORT_RUNS": "import_runs",
}
_OPENLINEAGE_VARIABLES = {
    f"KFBRIDGE_OPENLINEAGE_{name.upper()}": name
    for name in OpenLineageSettings.model_fields
    if name != "headers"
}
_TELEMETRY_VARIABLES = {
    f"KFBRIDGE_TELEMETRY_{name.upper()}": name for name in TelemetrySettings.model_fields if name != "headers"
}
_AIRFLOW_VARIABLES = {f"KFBRIDGE_AIRFLOW_{name.upper()}": name for name in AirflowSettings.model_fields}
_RETENTION_VARIABLES = {f"KFBRIDGE_RETENTION_{name.upper()}": name for name in RetentionSettings.model_fields}


def load_settings(
    environ: Mapping[str, str], *, config_file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> ServiceSettings:
    """The settings from file, environment and overrides (``None`` values there count as not given).

    ``overrides`` takes the settings' names and ``kfp_url``, shorthand for one backend's address.
    Raises ``SettingsError`` with one line per mistake.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    path = config_file or (Path(text) if (text := environ.get("KFBRIDGE_CONFIG")) else None)
    values = _from_file(path) if path else {}
    backend = _named_in(environ, _BACKEND_VARIABLES)
    if consumer := _named_in(environ, _OPENLINEAGE_VARIABLES):
        values["openlineage"] = {**values.get("openlineage", {}), **consumer}
    if telemetry := _named_in(environ, _TELEMETRY_VARIABLES):
        values["telemetry"] = {**values.get("telemetry", {}), **telemetry}
    if airflow := _named_in(environ, _AIRFLOW_VARIABLES):
        values["airflow"] = {**values.get("airflow", {}), **airflow}
    if retention := _named_in(environ, _RETENTION_VARIABLES):
        values["retention"] = {**values.get("retention", {}), **retention}
    if client := _oidc_in(environ):
        values["oidc"] = {**values.get("oidc", {}), **client}
    if "kfp_url" in given:
        backend["url"] = given.pop("kfp_url")
    if backend:
        values["backends"] = _with_backend(values.get("backends", []), backend)
    values |= _from_environment(environ) | given
    try:
        return ServiceSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the configuration file {path} is no TOML: {error}") from error
    return content


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {
        ENVIRONMENT_PREFIX + name.upper(): name
        for name in ServiceSettings.model_fields
        if name not in _IN_THE_FILE_ALONE
    }
    given = {name: environ[variable] for variable, name in known.items() if environ.get(variable)}
    for name in _FROM_FILES:
        if (text := _from_named_file(environ, ENVIRONMENT_PREFIX + name.upper())) is not None:
            given[name] = text
    return given


def _from_named_file(environ: Mapping[str, str], variable: str) -> str | None:
    """What the file holds that ``<variable>_FILE`` names; ``None`` if it names none."""
    named = f"{variable}_FILE"
    if not (file := environ.get(named)):
        return None
    if environ.get(variable):
        raise SettingsError(f"{variable} and {named}: give one of them")
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{named}: the file {file} cannot be read: {error}") from error
    if not text:
        raise SettingsError(f"{named}: the file {file} is empty")
    return text


def _oidc_in(environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment says of the client: its secret is handed to containers so."""
    told = {name: text for name, text in _named_in(environ, _OIDC_VARIABLES).items() if text}
    secret = _from_named_file(environ, "KFBRIDGE_OIDC_CLIENT_SECRET")
    return told if secret is None else {**told, "client_secret": secret}


def _named_in(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, Any]:
    return {name: environ[variable] for variable, name in variables.items() if variable in environ}


def _with_backend(listed: list[dict[str, Any]], backend: dict[str, Any]) -> list[dict[str, Any]]:
    """The environment speaks of the backend called ``default``, or else of the first one."""
    if not listed:
        return [backend]
    index = next((i for i, item in enumerate(listed) if item.get("name", "default") == "default"), 0)
    return [item | backend if i == index else item for i, item in enumerate(listed)]


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        text = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "string_pattern_mismatch":
            text = _PATTERNS_IN_WORDS.get(place, _URL_IN_WORDS)
        lines.append(f"{place}: {text}" if place else text)
    return "\n".join(lines)
