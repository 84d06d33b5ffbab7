"""The scripts that images run at their start, and once for all of compose.yaml."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from bridge.local.object_store import bucket_of
from bridge.local.settings import LocalSettings
from bridge.service.settings_sources import load_settings
from deploy import compose_check

FOLDER = compose_check.DOCKERFILE.parent


def _run(script: str, words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(FOLDER / script), *words],
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_secrets_come_from_files_and_settings_stay(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("with 'quotes' and $(words)\n")
    env = {"KFBRIDGE_API_TOKEN_FILE": str(secret), "KFBRIDGE_KFP_TOKEN_FILE": "/a/setting", "OTHER": "1"}
    done = _run("entrypoint", ["env"], env)
    assert done.returncode == 0, done.stderr
    told = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert told["KFBRIDGE_API_TOKEN"] == "with 'quotes' and $(words)"
    assert "KFBRIDGE_API_TOKEN_FILE" not in told
    assert told["KFBRIDGE_KFP_TOKEN_FILE"] == "/a/setting"


def test_a_secret_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = _run("entrypoint", ["env"], {"KFBRIDGE_API_TOKEN_FILE": str(tmp_path / "none")})
    assert done.returncode != 0
    assert "none" in done.stderr
    assert done.stdout == ""


def test_a_build_that_is_handed_nothing_runs_its_command_as_it_is() -> None:
    done = _run("with-secrets", ["sh", "-c", "echo ${SSL_CERT_FILE:-none}; exit 3"], {})
    assert (done.returncode, done.stdout) == (3, "none\n")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with folders of this test; they belong to somebody else only where root runs it."""
    spec = importlib.util.spec_from_file_location("compose_setup", FOLDER / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr(module, "SECRETS", secrets)
    (tmp_path / "local").mkdir()
    monkeypatch.setattr(module, "LOCAL_SECRETS", tmp_path / "local")
    monkeypatch.setattr(module, "FOLDERS", ())
    return module


def test_the_first_start_makes_secrets_and_later_ones_keep_them(setup: ModuleType) -> None:
    def contents() -> dict[str, str]:
        return {
            path.name: path.read_text()
            for folder in (setup.SECRETS, setup.LOCAL_SECRETS)
            for path in folder.iterdir()
        }

    setup.main()
    first = contents()
    setup.main()
    assert contents() == first
    made = [first[name] for name in setup.NAMES]
    assert len(set(made)) == len(made)
    assert all(len(secret) == 48 for secret in made)
    assert len(base64.urlsafe_b64decode(first["fernet-key"])) == 32
    assert first["kfbridge-password"] in first["kfbridge-database-url"]
    connections = json.loads(first["connections.json"])
    assert connections["kfbridge_default"]["password"] == first["api-token"]
    assert connections["lake"]["extra"]["endpoint_url"].endswith(":7070")


def test_secrets_and_folders_are_those_that_compose_names(setup: ModuleType) -> None:
    setup.main()
    text = "\n".join(
        path.read_text() for path in (compose_check.ROOT / "compose.yaml", FOLDER / "make-databases.sh")
    )
    made = {path.name for path in setup.SECRETS.iterdir()}
    named = {name for name in made if f"/run/kfbridge/{name}" in text}
    assert made - named == {"kfbridge-password", "airflow-password"}
    assert '"/run/kfbridge/$name-password"' in text


def test_artifacts_go_to_a_bucket_that_is_made_and_passed_through(setup: ModuleType, tmp_path: Path) -> None:
    setup.main()
    [given] = setup.LOCAL_SECRETS.iterdir()
    options = json.loads(given.read_text())
    compose = yaml.safe_load((compose_check.ROOT / "compose.yaml").read_text())["services"]
    told = compose["local"]["environment"]
    assert told["KFBRIDGE_LOCAL_ARTIFACT_OPTIONS_FILE"] == f"/run/local/{given.name}"
    local = LocalSettings(
        data_dir=tmp_path, artifacts=told["KFBRIDGE_LOCAL_ARTIFACTS"], artifact_options=options
    )
    passed_on = compose["service"]["environment"]["KFBRIDGE_CONTENT_STORES"]
    service = load_settings(
        {"KFBRIDGE_CONTENT_STORES": passed_on}, config_file=setup.SECRETS / "service.toml"
    )
    assert service.may_read_store(f"{local.artifacts}/flight-delay/model")
    assert service.content_options["s3"].items() <= options.items()
    assert (
        json.loads((setup.SECRETS / "connections.json").read_text())["lake"]["password"] == options["secret"]
    )
    named = (local.artifacts, *service.content_stores, compose_check.ARTIFACTS)
    data = compose["airflow-scheduler"]["environment"]["KFBRIDGE_DATA_URI"]
    assert {bucket_of(str(uri)) for uri in (*named, data)} == set(setup.BUCKETS)
