"""``dsl.TaskConfig``: a task's own configuration, handed to its component for a workload that it starts.

A component names the parts it wants (``task_config_passthroughs``). A named part goes into the input of
type TASK_CONFIG and counts for the task itself only where that is said; the others count as always. The
shape of the parts is Kubernetes' own, as KFP's driver writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge.local.driver_platform import Pod
from bridge.spec.model import Component, ContainerSpec, ParameterType

_RESOURCES = (
    ("limits", "cpu", "resourceCpuLimit", "cpuLimit"),
    ("limits", "memory", "resourceMemoryLimit", "memoryLimit"),
    ("requests", "cpu", "resourceCpuRequest", "cpuRequest"),
    ("requests", "memory", "resourceMemoryRequest", "memoryRequest"),
)


def task_config_inputs(component: Component, container: ContainerSpec, pod: Pod) -> dict[str, Any]:
    """The values of the component's inputs of type TASK_CONFIG, by name."""
    names = [name for name, item in component.parameters.items() if item.type is ParameterType.TASK_CONFIG]
    if not names:
        return {}
    config = {
        key: value
        for part in component.passthroughs
        for key, value in _part(part, container, pod).items()
        if value
    }
    return dict.fromkeys(names, config)


def _part(part: str, container: ContainerSpec, pod: Pod) -> Mapping[str, Any]:
    found: Mapping[str, Any] = {}
    match part:
        case "RESOURCES":
            found = {"resources": _resources(container.resources)}
        case "ENV":
            found = {"env": _env(container, pod)}
        case "KUBERNETES_AFFINITY":
            found = {"affinity": _affinity(pod.asked)}
        case "KUBERNETES_TOLERATIONS":
            found = {"tolerations": pod.asked.get("tolerations")}
        case "KUBERNETES_NODE_SELECTOR":
            found = {"nodeSelector": pod.asked.get("nodeSelector")}
        case "KUBERNETES_VOLUMES":
            found = _volumes(pod.asked)
    return found


def without_passed_on(component: Component, container: ContainerSpec, pod: Pod) -> tuple[ContainerSpec, Pod]:
    """Container and pod without the parts that are only handed on."""
    only = {part for part, applies in component.passthroughs.items() if not applies}
    if "ENV" in only:
        container, pod = replace(container, env=()), replace(pod, env={})
    if "RESOURCES" in only:
        container = replace(container, resources={})
    if "KUBERNETES_VOLUMES" in only:
        named = ("the empty folder", "the ephemeral volume")
        pod = replace(pod, mounts=[mount for mount in pod.mounts if mount.name.startswith(named)])
    return container, pod


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, what, text, number in _RESOURCES:
        value = resources.get(text)
        if value is None and resources.get(number):
            value = f"{resources[number]:g}{'G' if what == 'memory' else ''}"
        if value:
            found.setdefault(side, {})[what] = str(value)
    accelerator = resources.get("accelerator") or {}
    kind = accelerator.get("resourceType") or accelerator.get("type")
    if kind:
        count = accelerator.get("resourceCount") or accelerator.get("count") or "1"
        found.setdefault("limits", {})[kind] = str(count)
    return found


def _env(container: ContainerSpec, pod: Pod) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in container.env]
    for prefix, reference in (("secret", "secretKeyRef"), ("configMap", "configMapKeyRef")):
        for item in pod.asked.get(f"{prefix}AsEnv", ()):
            found += [
                {
                    "name": pair["envVar"],
                    "valueFrom": {
                        reference: {"name": item[f"{prefix}Name"], "key": pair[f"{prefix}Key"]}
                        | {"optional": item["optional"]}
                    },
                }
                for pair in item["keyToEnv"]
            ]
    for item in pod.asked.get("fieldPathAsEnv", ()):
        reference_to = {"fieldRef": {"fieldPath": item["fieldPath"]}}
        found.append({"name": item["name"], "valueFrom": reference_to})
    return found


def _affinity(asked: Mapping[str, Any]) -> dict[str, Any]:
    required: list[Any] = []
    preferred: list[Any] = []
    for item in asked.get("nodeAffinity", ()):
        if "matchExpressions" not in item and "matchFields" not in item:
            inner = item.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
            required += inner.get("nodeSelectorTerms", [])
            preferred += item.get("preferredDuringSchedulingIgnoredDuringExecution") or []
            continue
        term = {key: item[key] for key in ("matchExpressions", "matchFields") if key in item}
        if "weight" in item:
            preferred.append({"weight": item["weight"], "preference": term})
        else:
            required.append(term)
    found: dict[str, Any] = {}
    if required:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": required}
    if preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return {"nodeAffinity": found} if found else {}


def _volumes(asked: Mapping[str, Any]) -> dict[str, Any]:
    volumes: list[Any] = []
    mounts: list[Any] = []

    def add(name: str, item: Mapping[str, Any], source: Mapping[str, Any]) -> None:
        volumes.append({"name": name, **source})
        mount = {"name": name, "mountPath": item.get("mountPath")}
        mounts.append(mount | ({"subPath": item["subPath"]} if item.get("subPath") else {}))

    for item in asked.get("pvcMount", ()):
        add(item["pvcName"], item, {"persistentVolumeClaim": {"claimName": item["pvcName"]}})
    for item in asked.get("secretAsVolume", ()):
        source = {"secretName": item["secretName"], "optional": item["optional"]}
        add(item["secretName"], item, {"secret": source})
    for item in asked.get("configMapAsVolume", ()):
        source = {"name": item["configMapName"], "optional": item["optional"]}
        add(item["configMapName"], item, {"configMap": source})
    return {"volumes": volumes, "volumeMounts": mounts}
