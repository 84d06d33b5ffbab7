"""The settings of the watch, and that docs/kubernetes-watch.md tells what is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bridge.domain.causes import CauseKind
from bridge.service.cluster import open_cluster
from bridge.service.kube_settings import KubernetesSettings
from bridge.service.settings import SettingsError
from bridge.service.settings_sources import load_settings
from tests.support.fake_kubernetes import MINIMAL_ROLE

PAGE = (Path(__file__).parents[3] / "docs" / "kubernetes-watch.md").read_text(encoding="utf-8")


def test_every_setting_is_documented() -> None:
    for name, field in KubernetesSettings.model_fields.items():
        assert field.description, name
        assert f"\n| `{name}` |" in PAGE, name


def test_every_kind_of_cause_is_documented() -> None:
    for kind in CauseKind:
        assert f"\n| `{kind.value}` |" in PAGE


def test_the_role_on_the_page_is_all_that_the_tests_cluster_allows() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    role = yaml.safe_load(text)
    granted = {
        (verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert granted == MINIMAL_ROLE


@pytest.mark.parametrize(
    ("named", "of_backend", "watched"),
    [
        ((), ("",), ("kubeflow",)),
        ((), ("team-a", "team-b"), ("team-a", "team-b")),
        (("ml", "ml"), ("team-a",), ("ml",)),
        (("*",), ("team-a",), (None,)),
        (("ml", "*"), ("",), (None,)),
    ],
)
def test_which_namespaces_are_watched(
    named: tuple[str, ...], of_backend: tuple[str, ...], watched: tuple[str | None, ...]
) -> None:
    assert KubernetesSettings(namespaces=named).watched(of_backend) == watched


def test_a_table_of_the_file_switches_it_on(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(
        '[[backends]]\nname = "a"\nurl = "http://a"\n'
        '[backends.kubernetes]\nenabled = true\ncontext = "prod"\n'
        '[[backends]]\nname = "b"\nurl = "http://b"\n'
    )
    watched, plain = load_settings({}, config_file=path).backends
    assert (watched.kubernetes.enabled, watched.kubernetes.context) == (True, "prod")
    cluster = open_cluster(watched.kubernetes, watched.namespaces)
    assert cluster is not None
    assert (cluster.namespaces, cluster.healthy, cluster.facts()["state"]) == (("kubeflow",), False, "idle")
    assert open_cluster(plain.kubernetes, plain.namespaces) is None
    path.write_text('[[backends]]\nurl = "http://a"\n[backends.kubernetes]\nenabeld = true\n')
    with pytest.raises(SettingsError, match=r"kubernetes\.enabeld"):
        load_settings({}, config_file=path)
