"""What is said of a task's platform configuration that has no effect here: in its log and in its state."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from bridge.spec.model import ContainerSpec

_MAX_CHARACTERS = 300

# Given to the task by every runner; what is left to say is said where it is given.
_GIVEN = frozenset(
    {
        "secretAsEnv",
        "secretAsVolume",
        "configMapAsEnv",
        "configMapAsVolume",
        "pvcMount",
        "emptyDirMounts",
        "genericEphemeralVolume",
        "fieldPathAsEnv",
        "podMetadata",
        "activeDeadlineSeconds",
    }
)
_PLACEMENT = frozenset({"nodeSelector", "nodeAffinity", "podAffinity", "tolerations"})
# What depends on the runner, by the name under which a runner says that it honours it.
_RUNNER_HONOURS = {
    "securityContext": "user",
    "enabledSharedMemory": "shared_memory",
    "imagePullPolicy": "pull_policy",
}
_WHY = {
    "securityContext": "components run as the user of the backend",
    "enabledSharedMemory": "the component shares that of this machine",
    "imagePullPolicy": "components run on this machine, without their image",
    "imagePullSecret": "no registry is logged in to",
    "initContainers": "no container runs before or beside the component",
    "podResourceClaims": "there is nothing to claim devices from",
}


def notes_of(
    asked: Mapping[str, Any], container: ContainerSpec, runner_honours: Collection[str]
) -> list[str]:
    """A sentence for everything asked for that a task does not get; ``runner_honours`` names what the
    runner sees to."""
    notes = []
    for key in sorted(asked.keys() - _GIVEN):
        if _RUNNER_HONOURS.get(key) in runner_honours:
            continue
        if key in _PLACEMENT:
            why = "there is only this machine"
        else:
            why = _WHY.get(key, "this version does not know it")
        notes.append(f"Not honoured: {key} {_shown(asked[key])}: {why}.")
    sizes = [item for item in asked.get("emptyDirMounts", ()) if item.get("sizeLimit") or item.get("medium")]
    if sizes:
        notes.append(f"Not honoured: size and medium of emptyDirMounts {_shown(sizes)}: they are folders.")
    pauses = [name for name, _ in container.env if name.startswith("ARGO_DEBUG_PAUSE")]
    if pauses:
        notes.append(f"Not honoured: set_debug_pause ({', '.join(pauses)}): only Argo Workflows can pause.")
    if container.resources and "resources" not in runner_honours:
        notes.append(
            f"Not honoured: resources {_shown(container.resources)}: the component takes what there is."
        )
    return notes


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
