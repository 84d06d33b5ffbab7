"""What a pipeline's Kubernetes document asks for a task, as far as this machine can give it.

Pod labels and annotations exist only to be read back through the downward API (``fieldPathAsEnv``), so
that is honoured. Everything else is said in the task's log, never silently left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.spec.model import ContainerSpec

# Where a pod runs and when it is given up makes no difference to what it computes.
_WITHOUT_EFFECT = frozenset(
    {
        "podMetadata",
        "fieldPathAsEnv",
        "imagePullPolicy",
        "imagePullSecret",
        "nodeSelector",
        "nodeAffinity",
        "podAffinity",
        "tolerations",
    }
)
_KEYED = re.compile(r"metadata\.(annotations|labels)\['([^']*)'\]")


def downward_env(platform: Mapping[str, Any], pod_name: str) -> dict[str, str]:
    """The variables that take their value from the pod's own fields; what a pod here lacks is empty, as
    Kubernetes gives it."""
    metadata = platform.get("podMetadata") or {}
    found: dict[str, str] = {}
    for item in platform.get("fieldPathAsEnv") or ():
        path = str(item.get("fieldPath", ""))
        keyed = _KEYED.fullmatch(path)
        if keyed:
            value = (metadata.get(keyed.group(1)) or {}).get(keyed.group(2), "")
        else:
            value = pod_name if path == "metadata.name" else ""
        found[str(item.get("name", ""))] = str(value)
    return {name: value for name, value in found.items() if name}


def notes(platform: Mapping[str, Any], container: ContainerSpec) -> list[str]:
    """Lines for the task's log about what it asks for and does not get here."""
    missing = sorted(platform.keys() - _WITHOUT_EFFECT)
    lines = [f"Not honoured by the local backend: {name}." for name in missing]
    ignored = sorted(platform.keys() & (_WITHOUT_EFFECT - {"podMetadata", "fieldPathAsEnv"}))
    lines += [f"Without effect on this machine: {name}." for name in ignored]
    if container.resources:
        lines.append(f"Without effect on this machine: resources {', '.join(sorted(container.resources))}.")
    return lines
