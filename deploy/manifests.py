"""Renders the Helm chart into the plain manifests of ``deploy/kubernetes``.

    python -m deploy.manifests render    writes them, with Helm
    python -m deploy.manifests check     tells what is stale; 1 if anything is

Helm is taken from ``KFBRIDGE_HELM``, from ``.cache/helm`` (where ``make helm`` puts it) or from the PATH.
What was rendered bears the digest of the chart that it was rendered from, so that a chart which was changed
without rendering it again is noticed without Helm too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "kfbridge"
RENDERED = ROOT / "deploy" / "kubernetes"
MONITORING = ROOT / "deploy" / "grafana"
NAMESPACE = "kfbridge"
KUBERNETES = "1.37.0"
# What the chart carries of the monitoring, since Helm reads no file outside of a chart.
CARRIED = ("alerts.yaml", "dashboard.json")
_DIGEST = "# Chart: sha256:"


def examples() -> list[str]:
    """The set-ups that the chart documents, by name; each has its values and its manifests."""
    return sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))


def chart_digest() -> str:
    """A digest of everything that manifests are rendered from."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        digest.update(path.relative_to(CHART).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def rendered_digest(name: str) -> str | None:
    """The digest of the chart that an example was rendered from; ``None`` if it was not."""
    path = RENDERED / f"{name}.yaml"
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.removeprefix(_DIGEST) for line in lines if line.startswith(_DIGEST)), None)


def find_helm() -> str | None:
    """Helm's program, if there is one."""
    named = os.environ.get("KFBRIDGE_HELM")
    cached = ROOT / ".cache" / "helm" / "helm"
    return named or (str(cached) if cached.is_file() else shutil.which("helm"))


def template(helm: str, *values: Path | str) -> str:
    """What Helm makes of the chart with files of values. Raises ``CalledProcessError`` if it refuses."""
    options = [word for one in values for word in ("--values", str(one))]
    # A Helm that Go built takes a cluster to be of 1.20 unless it is told.
    cluster = ["--namespace", NAMESPACE, "--kube-version", KUBERNETES]
    command = [helm, "template", "kfbridge", str(CHART), *cluster, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def manifests(helm: str, name: str) -> str:
    """The manifests of one example, as they are committed."""
    head = (
        f"# Rendered from deploy/helm/kfbridge with its examples/{name}.yaml: `make manifests`.\n"
        f"# For the namespace {NAMESPACE}. The Secret `kfbridge` is yours (docs/install-kubernetes.md).\n"
        f"{_DIGEST}{chart_digest()}\n"
    )
    return head + template(helm, CHART / "examples" / f"{name}.yaml")


def carry_monitoring() -> None:
    """Copy alerts and dashboard into the chart."""
    for name in CARRIED:
        shutil.copyfile(MONITORING / name, CHART / "files" / name)


def stale() -> list[str]:
    """What does not fit what it was made from, in words."""
    carried = [
        f"deploy/helm/kfbridge/files/{name} is not deploy/grafana/{name}"
        for name in CARRIED
        if (CHART / "files" / name).read_bytes() != (MONITORING / name).read_bytes()
    ]
    digest = chart_digest()
    return carried + [
        f"deploy/kubernetes/{name}.yaml was not rendered from the chart as it is"
        for name in examples()
        if rendered_digest(name) != digest
    ]


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; its exit code."""
    if list(arguments) == ["check"]:
        for line in stale():
            print(f"{line}: make manifests", file=sys.stderr)
        return 1 if stale() else 0
    if list(arguments) != ["render"]:
        print(__doc__, file=sys.stderr)
        return 2
    helm = find_helm()
    if helm is None:
        print(
            "there is no Helm: `make helm` builds one with Go, or name it in KFBRIDGE_HELM", file=sys.stderr
        )
        return 1
    carry_monitoring()
    RENDERED.mkdir(exist_ok=True)
    for name in examples():
        (RENDERED / f"{name}.yaml").write_text(manifests(helm, name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
