"""The chart by Helm's own program, where there is one (`make helm`), and its schema of values in any case."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy import manifests
from tests.unit.deploy.pods import broken_rules, of_kind, pods, read

VALUES: dict[str, Any] = yaml.safe_load((manifests.CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((manifests.CHART / "values.schema.json").read_text())
WRONG = [
    ({"image": {"repository": "kfbridge/service", "digest": "sha256:short"}}, "digest"),
    ({"settings": {"backends": []}}, "backends"),
    ({"settings": {"backends": [{"url": "ml-pipeline-ui"}]}}, "url"),
    ({"settings": {"backends": [{"url": "http://kfp"}], "api_token": "in the open"}}, "in the open"),
    ({"service": {"replicas": 0}}, "replicas"),
    ({"worker": {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 1}}}}, "limits"),
    ({"kfpToken": {"expirationSeconds": 60}}, "expirationSeconds"),
    ({"replicaCount": 2}, "replicaCount"),
]


@pytest.fixture
def helm() -> str:
    program = manifests.find_helm()
    if program is None:
        pytest.skip("there is no Helm here: `make helm` builds one with Go")
    return program


def test_the_schema_knows_every_value() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)
    for name in manifests.examples():
        given = yaml.safe_load((manifests.CHART / "examples" / f"{name}.yaml").read_text())
        jsonschema.validate(given, SCHEMA)


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_the_schema_refuses(values: dict[str, Any], said: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=said):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize("name", manifests.examples())
def test_helm_renders_what_is_committed(helm: str, name: str) -> None:
    assert manifests.manifests(helm, name) == (manifests.RENDERED / f"{name}.yaml").read_text()


def test_helm_finds_nothing_to_say(helm: str) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", "--kube-version", manifests.KUBERNETES, str(manifests.CHART)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rendered_with(helm: str, tmp_path: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    given = tmp_path / "given.yaml"
    given.write_text(yaml.safe_dump(values))
    return read(manifests.template(helm, given))


def hosts_of(rendered: list[dict[str, Any]]) -> set[str]:
    [container] = dict(pods(rendered))["Deployment kfbridge"]["spec"]["containers"]
    [found] = [one["value"] for one in container["env"] if one["name"] == "KFBRIDGE_ALLOWED_HOSTS"]
    return set(found.split(","))


def test_the_host_of_the_ingress_is_one_of_the_bridges_names(helm: str, tmp_path: Path) -> None:
    on = rendered_with(helm, tmp_path, {"ingress": {"enabled": True, "host": "kfp.example.org"}})
    off = rendered_with(helm, tmp_path, {"ingress": {"host": "kfp.example.org"}})
    assert hosts_of(on) - hosts_of(off) == {"kfp.example.org"}
    assert "kfbridge.kfbridge.svc" in hosts_of(off)


def test_who_reviews_tokens_by_its_settings_has_the_right_to(helm: str, tmp_path: Path) -> None:
    values = {"settings": {"token_review": {"audiences": ["kfbridge"]}}, "watch": {"enabled": False}}
    rendered = rendered_with(helm, tmp_path, values)
    [role] = of_kind(rendered, "ClusterRole")
    assert role["rules"][0]["resources"] == ["tokenreviews"]
    [binding] = of_kind(rendered, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    names = {one["name"] for _, pod in pods(rendered) for one in pod["spec"].get("volumes", [])}
    assert "kubernetes-token" in names


def test_helm_refuses_what_the_schema_does(helm: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({"replicaCount": 2}))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        manifests.template(helm, wrong)
    assert "replicaCount" in refused.value.stderr


def test_every_switch_of_the_chart_holds_its_pods_to_the_rules(helm: str, tmp_path: Path) -> None:
    some = tmp_path / "values.yaml"
    values = {
        "image": {"repository": "registry.example.org/kfbridge", "digest": "sha256:" + "0" * 64},
        "watch": {"enabled": True, "namespaces": ["*"]},
        "kfpToken": {"enabled": True, "namespaces": ["team-a"]},
        "tokenReview": {"enabled": True},
        "oidc": {"secretName": "kfbridge-oidc"},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "migration": {"enabled": False},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/authorities/ca.pem"}],
        "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
        "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True}],
    }
    some.write_text(yaml.safe_dump(values))
    rendered = read(manifests.template(helm, some))
    found = {name: broken_rules(pod) for name, pod in pods(rendered)}
    assert found == {"Deployment kfbridge": [], "Deployment kfbridge-worker": []}
    assert {one["kind"] for one in rendered}.isdisjoint({"NetworkPolicy", "PodDisruptionBudget", "Job"})
    assert len(of_kind(rendered, "ClusterRole")) == 2
    for _, pod in pods(rendered):
        [container] = pod["spec"]["containers"]
        assert container["image"].endswith("kfbridge@sha256:" + "0" * 64)
        assert {"name": "SSL_CERT_FILE", "value": "/etc/authorities/ca.pem"} in container["env"]
        secret = {"name": "kfbridge-oidc", "key": "client-secret", "optional": True}
        told = {"name": "KFBRIDGE_OIDC_CLIENT_SECRET", "valueFrom": {"secretKeyRef": secret}}
        assert told in container["env"]
