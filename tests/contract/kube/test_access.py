"""Where the cluster is and as whom: kubeconfig, its contexts, and the pod's own service account."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bridge.kube.access import Access, KubeApi
from bridge.kube.errors import KubeConfigError, KubeError, KubeForbidden, KubeNotFound, KubeUnauthorized
from bridge.kube.reviews import ReviewedUser, review_token
from bridge.kube.workflows import workflows_path
from tests.support.fake_kubernetes import FakeKubernetes, serve_kubernetes

LIST = workflows_path("kubeflow")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return paths


def test_in_a_pod_the_service_account_is_used(
    certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_kubernetes(certificate=certificate) as cluster:
        host, port = cluster.url.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        (tmp_path / "ca.crt").write_bytes(certificate[0].read_bytes())
        (tmp_path / "token").write_text("first")
        cluster.tokens = {"first"}
        api = KubeApi(Access(service_account_dir=tmp_path, timeout_seconds=5))
        assert api.get(LIST, {})["items"] == []
        # Kubernetes rotates the file; the old token is refused some time later.
        (tmp_path / "token").write_text("second")
        cluster.tokens = {"second"}
        assert api.get(LIST, {})["items"] == []
        assert [one.token for one in cluster.asked] == ["first", "first", "second"]
        api.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with serve_kubernetes(certificate=certificate) as cluster:
        api = KubeApi(Access(kubeconfig=cluster.write_kubeconfig(tmp_path / "config"), timeout_seconds=5))
        with pytest.raises(KubeError, match="certificate"):
            api.get(LIST, {})
        assert cluster.asked == []


def test_a_context_of_the_kubeconfig_can_be_chosen(cluster: FakeKubernetes, tmp_path: Path) -> None:
    config = cluster.write_kubeconfig(tmp_path / "config", token="t")
    assert KubeApi(Access(kubeconfig=config, context="other")).get(LIST, {})["items"] == []
    with pytest.raises(KubeConfigError, match="nowhere"):
        KubeApi(Access(kubeconfig=config, context="nowhere")).get(LIST, {})


@pytest.mark.parametrize("how", ["no-folder", "no-kubeconfig", "no-yaml"])
def test_without_a_configuration_it_is_said_what_was_looked_for(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "broken").write_text("clusters: [")
    access = {
        "no-folder": Access(service_account_dir=tmp_path / "none"),
        "no-kubeconfig": Access(kubeconfig=tmp_path / "none"),
        "no-yaml": Access(kubeconfig=tmp_path / "broken"),
    }[how]
    with pytest.raises(KubeConfigError, match=str(tmp_path)):
        KubeApi(access).get(LIST, {})


def test_refusals_are_told_apart(cluster: FakeKubernetes, api: KubeApi) -> None:
    with pytest.raises(KubeForbidden, match="secrets"):
        api.get("/api/v1/namespaces/kubeflow/secrets", {})
    with pytest.raises(KubeNotFound):
        api.get_text("/api/v1/namespaces/kubeflow/pods/none/log", {})
    cluster.tokens = {"x"}
    with pytest.raises(KubeUnauthorized, match="Unauthorized"):
        api.get(LIST, {})


def test_nobody_answering_is_an_error_like_any_other(tmp_path: Path) -> None:
    with serve_kubernetes() as cluster:
        config = cluster.write_kubeconfig(tmp_path / "config")
    with pytest.raises(KubeError) as refused:
        KubeApi(Access(kubeconfig=config, timeout_seconds=1)).get(LIST, {})
    assert refused.value.status is None


def test_a_token_is_reviewed_with_our_own_token(tmp_path: Path) -> None:
    with serve_kubernetes() as cluster:
        cluster.tokens = {"ours"}
        cluster.reviewed["theirs"] = {"username": "system:serviceaccount:a:b", "groups": ["g"]}
        api = KubeApi(Access(kubeconfig=cluster.write_kubeconfig(tmp_path / "config", token="ours")))
        with pytest.raises(KubeForbidden):
            review_token(api, "theirs", ["kfbridge"])
        cluster.allowed |= {("create", "tokenreviews")}
        user = ReviewedUser(name="system:serviceaccount:a:b", groups=("g",))
        assert review_token(api, "theirs", ["kfbridge"]) == user
        assert review_token(api, "unknown", ["kfbridge"]) is None
