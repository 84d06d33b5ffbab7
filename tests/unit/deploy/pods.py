"""What rendered manifests are held to: Kubernetes' restricted Pod Security Standard, and rules of ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy import compose_check

Manifest = dict[str, Any]
# What a pod may mount under the restricted standard.
ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_POD_OWNERS = ("Deployment", "Job")


def read(text: str | Path) -> list[Manifest]:
    """The manifests of a file or text."""
    content = text.read_text() if isinstance(text, Path) else text
    return [one for one in yaml.safe_load_all(content) if one]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [one for one in manifests if one["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod template with the name of its owner."""
    for one in manifests:
        if one["kind"] in _POD_OWNERS:
            yield f"{one['kind']} {one['metadata']['name']}", one["spec"]["template"]


def image_environment(target: str) -> dict[str, str]:
    """What the image of that target sets in the environment of its containers."""
    stages = re.split(r"(?m)^FROM ", compose_check.DOCKERFILE.read_text())[1:]
    [(base, stage)] = [
        (found[1], stage) for stage in stages if (found := re.match(rf"(\S+) AS {target}\n", stage))
    ]
    of_base = image_environment(base) if not base.startswith("$") else {}
    lines = re.findall(r"(?m)^ENV (.*)$", stage.replace("\\\n", " "))
    return of_base | dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def broken_rules(pod: Mapping[str, Any]) -> list[str]:
    """What the restricted Pod Security Standard of Kubernetes (its profile of v1.37) would refuse of a pod's
    spec, and what this project asks beyond it."""
    spec = pod["spec"]
    security = spec.get("securityContext", {})
    broken = [f"{name} is shared" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        broken.append("no seccomp profile")
    if security.get("runAsNonRoot") is not True or security.get("runAsUser") == 0:
        broken.append("may run as root")
    if security.get("sysctls"):
        broken.append("sets sysctls")
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        broken += [f"mounts a {kind}" for kind in sorted(kinds - ALLOWED_VOLUMES)]
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            broken.append(f"the folder {volume['name']} may fill the node's disk")
    if spec.get("automountServiceAccountToken") is not False:
        broken.append("gets a token of the cluster unasked")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        broken += [f"{container['name']}: {what}" for what in _broken_of_container(container)]
    return broken


def _broken_of_container(container: Mapping[str, Any]) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "privileges may grow"
    if security.get("privileged"):
        yield "is privileged"
    capabilities = security.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"]:
        yield "keeps capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if security.get("procMount", "Default") != "Default":
        yield "unmasks /proc"
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield "runs as root"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of its node"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= set(resources.get("requests", {})):
        yield "requests no CPU or no memory"
    if "memory" not in resources.get("limits", {}):
        yield "has no limit of memory"
    image = container["image"]
    if "@sha256:" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest")):
        yield f"the image {image} is of no certain version"
