"""What the pages of installation tell a new user to type and to write."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from bridge.service.settings import ServiceSettings
from bridge.service.settings_sources import load_settings
from deploy import compose_check, manifests
from tests.unit.deploy.pods import of_kind, read
from tests.unit.docs.pages import ROOT

ACCESS = (ROOT / "docs" / "access.md").read_text()
KUBERNETES = (ROOT / "docs" / "install-kubernetes.md").read_text()
MULTI_USER = (ROOT / "docs" / "install-multi-user-kubeflow.md").read_text()
ONE_MACHINE = (ROOT / "docs" / "install-one-machine.md").read_text()


def _block(page: str, mark: str) -> str:
    [found] = re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)\n```", page, re.DOTALL)
    return str(found)


COMMANDS = [shlex.split(line) for line in _block(KUBERNETES, "commands").splitlines()]


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_five_commands_lead_to_a_running_installation() -> None:
    assert [" ".join(words[:2]) for words in COMMANDS] == [
        "docker build",
        "docker push",
        "kubectl create",
        "kubectl create",
        "helm install",
    ]


def test_what_is_built_is_what_is_pushed_and_installed() -> None:
    build, push, _, _, install = COMMANDS
    assert (ROOT / _option(build, "--file")) == compose_check.DOCKERFILE
    assert _option(build, "--target") in compose_check.TARGETS
    image = _option(build, "--tag")
    assert push[2] == image
    version = yaml.safe_load((manifests.CHART / "Chart.yaml").read_text())["appVersion"]
    assert f"{_option(install, '--set').removeprefix('image.repository=')}:{version}" == image


def test_the_secret_has_what_the_chart_reads() -> None:
    _, _, namespace, secret, install = COMMANDS
    assert namespace[3] == _option(secret, "--namespace") == _option(install, "--namespace")
    given = {word.removeprefix("--from-literal=").split("=")[0] for word in secret if "literal" in word}
    read_keys = {
        (reference["name"], reference["key"])
        for pod in of_kind(read(manifests.RENDERED / "standalone.yaml"), "Deployment")
        for one in pod["spec"]["template"]["spec"]["containers"][0]["env"]
        if (reference := one.get("valueFrom", {}).get("secretKeyRef"))
    }
    assert read_keys == {(secret[4], key) for key in given}


@pytest.mark.parametrize("words", COMMANDS[2:4], ids=["namespace", "secret"])
def test_kubectl_takes_its_commands(words: list[str]) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here")
    done = subprocess.run(
        [*words, "--dry-run=client", "--output", "yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["metadata"]["name"] == "kfbridge"


def test_helm_takes_its_command() -> None:
    helm = manifests.find_helm()
    if helm is None:
        pytest.skip("there is no Helm here: `make helm` builds one with Go")
    words = COMMANDS[4]
    command = [helm, "template", *words[2:], "--kube-version", manifests.KUBERNETES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    images = re.findall(r"image: (\S+)", done.stdout)
    assert set(images) == {_option(COMMANDS[0], "--tag")}


def test_every_file_that_a_page_names_is_there() -> None:
    for page in (KUBERNETES, MULTI_USER, ONE_MACHINE):
        for name in re.findall(r"(?<![\w./-])((?:deploy|airflow_dags|tests)/[\w./-]+[\w])", page):
            assert (ROOT / name).exists(), name


def test_the_settings_of_one_machine_are_settings(tmp_path: Path) -> None:
    [toml] = re.findall(r"```toml\n(.*?)```", ONE_MACHINE, re.DOTALL)
    file = tmp_path / "kfbridge.toml"
    file.write_text(toml)
    settings = load_settings({}, config_file=file)
    assert settings.database_url == "sqlite:////var/lib/kfbridge/lineage.db"
    [unit] = re.findall(r"```ini\n(.*?)```", ONE_MACHINE, re.DOTALL)
    # Longer than it takes to stop, or systemd kills it meanwhile.
    assert (
        int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > settings.shutdown_seconds + settings.drain_seconds
    )


def test_values_for_an_object_store_lead_the_pods_to_it(tmp_path: Path) -> None:
    values = yaml.safe_load(_block(KUBERNETES, "store"))
    schema = json.loads((manifests.CHART / "values.schema.json").read_text())
    usual = yaml.safe_load((manifests.CHART / "values.yaml").read_text())
    jsonschema.validate({**usual, **values, "settings": usual["settings"] | values["settings"]}, schema)
    settings = load_settings({}, overrides=values["settings"])
    assert settings.may_read_store("s3://mlpipeline/v2/artifacts/model")
    environment = {one["name"]: one for one in values["extraEnv"]}
    port = urlsplit(environment["AWS_ENDPOINT_URL"]["value"]).port
    assert [one["port"] for rule in values["networkPolicy"]["egress"] for one in rule["ports"]] == [port]
    helm = manifests.find_helm()
    if helm is None:
        pytest.skip("there is no Helm here: `make helm` builds one with Go")
    given = tmp_path / "store.yaml"
    given.write_text(yaml.safe_dump(values))
    rendered = read(manifests.template(helm, given))
    for one in of_kind(rendered, "Deployment"):
        [container] = one["spec"]["template"]["spec"]["containers"]
        assert [found for found in container["env"] if found["name"] in environment] == values["extraEnv"]


def test_values_for_signing_in_are_values_and_settings() -> None:
    values = yaml.safe_load(_block(KUBERNETES, "oidc"))
    defaults = yaml.safe_load((manifests.CHART / "values.yaml").read_text())
    merged = {**defaults, **values, "settings": {**defaults["settings"], **values["settings"]}}
    jsonschema.validate(merged, json.loads((manifests.CHART / "values.schema.json").read_text()))
    given = values["settings"]["oidc"] | {"client_id": "kfbridge-dashboard"}
    settings = ServiceSettings.model_validate({**values["settings"], "oidc": given, "host": "0.0.0.0"})
    settings.check_served()
    [named] = re.findall(
        r"kubectl create secret generic (\S+) --namespace kfbridge \\\n +--from-literal=client-id", KUBERNETES
    )
    assert values["oidc"]["secretName"] == named


def test_settings_for_signing_in_are_settings(tmp_path: Path) -> None:
    [toml] = re.findall(r"\n\n((?:    .*\n|\n)*?    client_id = .*\n(?:    .*\n)*)", ACCESS)
    file = tmp_path / "kfbridge.toml"
    file.write_text(textwrap.dedent(toml))
    settings = load_settings({"KFBRIDGE_OIDC_CLIENT_SECRET": "s"}, config_file=file)
    assert settings.oidc is not None
    assert (settings.oidc.client_id, settings.oidc.shown_name) == ("kfbridge-dashboard", "login.example")
    assert settings.oidc.client_secret is not None
    assert "client_secret=SecretStr('**********')" in repr(settings)
    assert settings.secrets() == ["s"]


def test_values_for_airflow_name_what_the_provider_reads() -> None:
    values = yaml.safe_load(_block(KUBERNETES, "airflow"))
    assert values["secret"][0]["envName"] == "AIRFLOW_CONN_KFBRIDGE_DEFAULT"
    [variable] = values["env"]
    section, option = variable["name"].removeprefix("AIRFLOW__").lower().split("__")
    sources = "\n".join(path.read_text() for path in (ROOT / "bridge" / "provider").glob("*.py"))
    assert f'"{section}"' in sources
    assert f'"{option}"' in sources
    image = f"{values['images']['airflow']['repository']}:{values['images']['airflow']['tag']}"
    assert image in KUBERNETES.partition("<!-- airflow -->")[0]
