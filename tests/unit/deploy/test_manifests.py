"""The manifests: valid, within the restricted Pod Security Standard, and such that the bridge starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import validate

from bridge.cli import build_parser
from bridge.commands.console import Console
from bridge.commands.serving import read_settings
from bridge.service.settings_sources import load_settings
from deploy import manifests
from tests.unit.deploy.pods import Manifest, broken_rules, image_environment, of_kind, pods, read

# Of the Prometheus operator, whose schemas come with no package: what the operator asks of them at least.
CUSTOM = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"selector", "endpoints"},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {"groups"},
}
WATCH_RULES = [
    {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
]
CHANGING = {"create", "delete", "deletecollection", "patch", "update", "bind", "escalate", "impersonate", "*"}


@pytest.fixture(params=manifests.examples())
def rendered(request: pytest.FixtureRequest) -> list[Manifest]:
    """The manifests of one example, as they are committed."""
    return read(manifests.RENDERED / f"{request.param}.yaml")


def _named(rendered: list[Manifest], kind: str, name: str) -> Manifest:
    [found] = [one for one in of_kind(rendered, kind) if one["metadata"]["name"] == name]
    return found


def test_what_is_committed_was_rendered_from_the_chart_as_it_is() -> None:
    assert manifests.stale() == [], "run `make manifests`"
    committed = {path.stem for path in manifests.RENDERED.glob("*.yaml")}
    assert committed == set(manifests.examples()) == {"standalone", "multi-user-istio", "high-availability"}


@pytest.mark.parametrize("version", ["1.29.0", "1.37.0"])
def test_every_manifest_is_valid(rendered: list[Manifest], version: str) -> None:
    for one in rendered:
        wanted = CUSTOM.get((one["apiVersion"], one["kind"]))
        if wanted is None:
            validate(one, version, strict=True)
        else:
            assert wanted <= set(one["spec"]), one["kind"]


def test_every_pod_is_within_the_restricted_standard(rendered: list[Manifest]) -> None:
    found = {name: broken_rules(pod) for name, pod in pods(rendered)}
    assert set(found) == {"Deployment kfbridge", "Deployment kfbridge-worker", "Job kfbridge-migrate"}
    assert not any(found.values()), found


def test_pods_that_break_a_rule_are_found(rendered: list[Manifest]) -> None:
    _, pod = next(pods(rendered))
    spec = pod["spec"]
    spec["hostNetwork"] = True
    spec["securityContext"] = {"runAsUser": 0}
    spec["volumes"] = [{"name": "disk", "hostPath": {"path": "/"}}, {"name": "tmp", "emptyDir": {}}]
    del spec["automountServiceAccountToken"]
    spec["containers"] = [{"name": "one", "image": "kfbridge", "ports": [{"hostPort": 80}]}]
    assert broken_rules(pod) == [
        "hostNetwork is shared",
        "no seccomp profile",
        "may run as root",
        "mounts a hostPath",
        "the folder tmp may fill the node's disk",
        "gets a token of the cluster unasked",
        "one: privileges may grow",
        "one: keeps capabilities",
        "one: may write to its image",
        "one: takes a port of its node",
        "one: requests no CPU or no memory",
        "one: has no limit of memory",
        "one: the image kfbridge is of no certain version",
    ]


def test_who_serves_is_probed(rendered: list[Manifest]) -> None:
    for one in of_kind(rendered, "Deployment"):
        [container] = one["spec"]["template"]["spec"]["containers"]
        paths = {
            name: container[name]["httpGet"]["path"]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
        assert container["ports"] == [{"name": "http", "containerPort": 8700}]


def test_the_settings_are_such_that_the_bridge_starts(rendered: list[Manifest], tmp_path: Path) -> None:
    file = tmp_path / "kfbridge.toml"
    file.write_text(_named(rendered, "ConfigMap", "kfbridge")["data"]["kfbridge.toml"])
    for one in of_kind(rendered, "Deployment"):
        spec = one["spec"]["template"]["spec"]
        [container] = spec["containers"]
        settings = load_settings(_environment(container["env"]), config_file=file)
        assert settings.host == "0.0.0.0"
        assert settings.drain_seconds + settings.shutdown_seconds < spec["terminationGracePeriodSeconds"]
        # Where pods may go is said by policies and settings, not by whoever registers a webhook.
        assert not settings.may_reach_private()
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        for backend in settings.backends:
            assert backend.token_file is None or str(Path(backend.token_file).parent) in mounts
            assert backend.kubernetes.enabled
            assert str(backend.kubernetes.service_account_dir) in mounts


def test_every_command_takes_what_the_image_and_its_container_set(
    rendered: list[Manifest], tmp_path: Path
) -> None:
    file = tmp_path / "kfbridge.toml"
    file.write_text(_named(rendered, "ConfigMap", "kfbridge")["data"]["kfbridge.toml"])
    image = image_environment("service")
    assert image["KFBRIDGE_HOST"] == "0.0.0.0"
    seen = set()
    for _, pod in pods(rendered):
        for container in pod["spec"]["containers"]:
            own = {one["name"]: one.get("value", "postgresql://secret") for one in container["env"]}
            if "KFBRIDGE_CONFIG" in own:
                own["KFBRIDGE_CONFIG"] = str(file)
            program, *words = container["command"]
            args = build_parser().parse_args(words)
            settings = read_settings(args, Console(environ=image | own), words[0])
            assert (program, settings.database_url) == ("kfbridge", "postgresql://secret")
            seen.add(words[0])
    assert seen == {"serve", "migrate"}


def _environment(given: list[dict[str, Any]]) -> dict[str, str]:
    environment = {one["name"]: one["value"] for one in given if "value" in one}
    assert environment.pop("KFBRIDGE_CONFIG") == "/etc/kfbridge/kfbridge.toml"
    secrets = {one["name"] for one in given if "value" not in one}
    assert secrets == {"KFBRIDGE_DATABASE_URL", "KFBRIDGE_API_TOKEN"}
    database = "postgresql://kfbridge@postgres/kfbridge"
    return {**environment, "KFBRIDGE_DATABASE_URL": database, "KFBRIDGE_API_TOKEN": "secret"}


def test_the_token_for_kfp_is_projected_and_for_kfp_alone(rendered: list[Manifest]) -> None:
    told = tomllib.loads(_named(rendered, "ConfigMap", "kfbridge")["data"]["kfbridge.toml"])
    wants_token = any("token_file" in backend for backend in told["backends"])
    for one in of_kind(rendered, "Deployment"):
        volumes = {volume["name"]: volume for volume in one["spec"]["template"]["spec"]["volumes"]}
        assert ("kfp-token" in volumes) == wants_token
        if wants_token:
            [source] = volumes["kfp-token"]["projected"]["sources"]
            assert source["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"
            assert source["serviceAccountToken"]["expirationSeconds"] <= 3600
    [account] = of_kind(rendered, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False


def test_rights_are_the_least(rendered: list[Manifest]) -> None:
    roles = of_kind(rendered, "Role") + of_kind(rendered, "ClusterRole")
    for role in roles:
        name = role["metadata"]["name"]
        if name == "kfbridge-watch":
            assert role["rules"] == WATCH_RULES
        elif name == "kfbridge-pipelines":
            assert {group for rule in role["rules"] for group in rule["apiGroups"]} == {
                "pipelines.kubeflow.org"
            }
            verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
            assert verbs & CHANGING == {"create"}
        else:
            assert name == "kfbridge-kfbridge-token-review"
            assert role["rules"] == [
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
            ]
    bindings = of_kind(rendered, "RoleBinding") + of_kind(rendered, "ClusterRoleBinding")
    subject = {"kind": "ServiceAccount", "name": "kfbridge", "namespace": manifests.NAMESPACE}
    assert all(binding["subjects"] == [subject] for binding in bindings)

    def place(one: Manifest) -> tuple[str | None, str]:
        return one["metadata"].get("namespace"), one["metadata"]["name"]

    assert sorted(map(place, roles), key=str) == sorted(map(place, bindings), key=str)


def test_nothing_goes_in_or_out_unnamed(rendered: list[Manifest]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(rendered, "NetworkPolicy")}
    deny = policies["kfbridge-default-deny"]
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny
    assert "egress" not in deny
    # Before the others are there, so with the egress of its own.
    migrating = policies["kfbridge-migrate"]
    assert set(migrating["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in migrating
    assert all(rule["to"] for rule in migrating["egress"])
    for name, pod in pods(rendered):
        applied = migrating if name == "Job kfbridge-migrate" else deny
        other = deny if applied is migrating else migrating
        labels = pod["metadata"]["labels"]
        assert applied["podSelector"]["matchLabels"].items() <= labels.items()
        assert not other["podSelector"]["matchLabels"].items() <= labels.items()
    assert all(rule["from"] for rule in policies["kfbridge-callers"]["ingress"])
    open_ports = [
        port["port"]
        for rule in policies["kfbridge-egress"]["egress"]
        if "to" not in rule
        for port in rule["ports"]
    ]
    assert open_ports == [443, 6443], "only Kubernetes' API server has no address that the chart could know"


def test_selectors_meet_their_pods_and_no_others(rendered: list[Manifest]) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(rendered)}

    def chosen(selector: dict[str, str]) -> list[str]:
        return [name for name, own in labels.items() if selector.items() <= own.items()]

    assert chosen(_named(rendered, "Service", "kfbridge")["spec"]["selector"]) == ["Deployment kfbridge"]
    budgets = of_kind(rendered, "PodDisruptionBudget")
    assert [chosen(one["spec"]["selector"]["matchLabels"]) for one in budgets] == [
        ["Deployment kfbridge"],
        ["Deployment kfbridge-worker"],
    ]
    for one in of_kind(rendered, "Deployment"):
        assert chosen(one["spec"]["selector"]["matchLabels"]) == [f"Deployment {one['metadata']['name']}"]


def test_high_availability_has_replicas_an_autoscaler_and_a_way_in() -> None:
    rendered = read(manifests.RENDERED / "high-availability.yaml")
    [scaler] = of_kind(rendered, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "kfbridge"
    assert scaler["spec"]["minReplicas"] >= 2
    # Else each upgrade would undo what the autoscaler did.
    assert "replicas" not in _named(rendered, "Deployment", "kfbridge")["spec"]
    assert _named(rendered, "Deployment", "kfbridge-worker")["spec"]["replicas"] >= 2
    [ingress] = of_kind(rendered, "Ingress")
    assert ingress["spec"]["tls"]
    [monitor] = of_kind(rendered, "ServiceMonitor")
    service = _named(rendered, "Service", "kfbridge")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["spec"]["endpoints"]} == {
        port["name"] for port in service["spec"]["ports"]
    }
    rules = _named(rendered, "PrometheusRule", "kfbridge")["spec"]
    assert rules == yaml.safe_load((manifests.MONITORING / "alerts.yaml").read_text())
