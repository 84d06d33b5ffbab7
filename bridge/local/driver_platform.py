"""What a pipeline's Kubernetes document asks for a task, with the names it takes from parameters resolved.

The message is ``KubernetesExecutorConfig`` of kfp-kubernetes 2.17, the rules are those of KFP's driver: a
name that resolves to null leaves its entry out; ``…Json`` forms come before the plain ones.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.local.claims import ClaimError
from bridge.local.driver_finish import Leaf
from bridge.local.driver_inputs import InputError, resolve_parameter
from bridge.local.driver_platform_notes import notes_of
from bridge.local.driver_scope import RunContext
from bridge.local.mounts import Mount
from bridge.local.secrets import SecretMissing
from bridge.spec.errors import SpecError
from bridge.spec.model import ContainerSpec
from bridge.spec.node import Node, Problems
from bridge.spec.parse import parse_parameter_input
from bridge.spec.values import as_text


class PlatformError(Exception):
    """A task cannot have what it must have. The message says what to do; another attempt changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What a task's container is given besides its image.

    ``asked`` is the task's platform configuration with all names resolved, for the record; ``notes`` are
    sentences about what of it has no effect here; ``timeout_seconds`` counts from the attempt's start.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    user: int | None = None
    group: int | None = None
    shared_memory_bytes: int | None = None
    pull_policy: str | None = None
    timeout_seconds: float | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def resolve_pod(context: RunContext, leaf: Leaf, container: ContainerSpec, work_dir: Path) -> Pod:
    """The pod of one attempt, whose folder is ``work_dir``. Raises ``PlatformError``."""
    try:
        return _Reader(context, leaf, work_dir).read(container)
    except (SecretMissing, ClaimError, InputError) as error:
        raise PlatformError(str(error)) from error
    except SpecError as error:
        raise PlatformError(f"The platform configuration of {leaf.task.name} is unsound: {error}") from error


def claim_names(context: RunContext, leaf: Leaf) -> list[str]:
    """The claims a task mounts: its result may depend on them. Raises ``PlatformError``."""
    try:
        return [name for name, _ in _Reader(context, leaf, context.run_dir).claims()]
    except (ClaimError, InputError, SpecError) as error:
        raise PlatformError(str(error)) from error


class _Reader:
    """Reads one configuration, collecting what it gives and what has to be recorded."""

    def __init__(self, context: RunContext, leaf: Leaf, work_dir: Path) -> None:
        self._context = context
        self._scope = leaf.scope
        self._task = leaf.task
        self._task_id = context.task_id(leaf.path)
        self._problems = Problems()
        config = context.run.pipeline.platform_config(leaf.component.executor or "")
        self._node = Node(config, "", self._problems)
        self._work_dir = work_dir
        self._env: dict[str, str] = {}
        self._mounts: list[Mount] = []
        self._asked: dict[str, Any] = {}

    def read(self, container: ContainerSpec) -> Pod:
        self._read_secrets("secret", "secret", "secretKey")
        self._read_secrets("config map", "configMap", "configMapKey")
        for name, item in self.claims():
            place = self._context.claims.find(name, item.text("subPath") or "")
            self._mount(place, item, f"the volume claim {name}")
            self._ask("pvcMount", {"pvcName": name, **_plain(item, "mountPath", "subPath")})
        for key, word in (
            ("emptyDirMounts", "the empty folder"),
            ("genericEphemeralVolume", "the ephemeral volume"),
        ):
            self._read_scratch(key, word)
        self._read_fields()
        self._read_placement()
        security = self._node.mapping("securityContext")
        for key in self._node.value.keys() - self._asked.keys() - _READ_APART:
            self._asked[key] = self._node.value[key]
        timeout = self._whole(self._node, "activeDeadlineSeconds")
        user, group = self._whole(security, "runAsUser"), self._whole(security, "runAsGroup")
        if self._problems.sentences:
            raise SpecError(self._problems.sentences)
        return Pod(
            env=self._env,
            mounts=self._mounts,
            user=user,
            group=group,
            shared_memory_bytes=self._shared_memory(),
            pull_policy=self._node.text("imagePullPolicy"),
            timeout_seconds=float(timeout) if timeout and timeout > 0 else None,
            asked=self._asked,
            notes=notes_of(self._asked, container, self._context.honours),
        )

    def claims(self) -> list[tuple[str, Node]]:
        """The mounted claims by name. Unlike other names, theirs must not be null."""
        found = []
        for item in self._node.elements("pvcMount"):
            # The fields before kfp-kubernetes 1.5 are the parameter's own, one level up.
            spec = item.raw("pvcNameParameter") or {
                key: item.raw(key)
                for key in ("taskOutputParameter", "componentInputParameter")
                if item.has(key)
            }
            name = self._resolve(spec) if spec else item.text("constant")
            if not name:
                raise InputError(f"{self._task.name} mounts a volume claim whose name has no value.")
            found.append((as_text(name), item))
        return found

    def _read_secrets(self, word: str, prefix: str, key_field: str) -> None:
        for item in self._node.elements(f"{prefix}AsEnv"):
            name, optional = self._name(item, prefix), item.flag("optional")
            if name is None:
                continue
            told = []
            for pair in item.elements("keyToEnv"):
                key, variable = pair.required_text(key_field), pair.required_text("envVar")
                told.append({key_field: key, "envVar": variable})
                try:
                    self._env[variable] = self._context.secrets.value(word, name, key)
                except SecretMissing:
                    if not optional:
                        raise
            self._ask(f"{prefix}AsEnv", {f"{prefix}Name": name, "keyToEnv": told, "optional": optional})
        for item in self._node.elements(f"{prefix}AsVolume"):
            name, optional = self._name(item, prefix), item.flag("optional")
            if name is None:
                continue
            try:
                place = self._context.secrets.folder_of(word, name)
                self._mount(place, item, f"the {word} {name}", read_only=True)
            except SecretMissing:
                if not optional:
                    raise
            volume = {f"{prefix}Name": name, "optional": optional, **_plain(item, "mountPath")}
            self._ask(f"{prefix}AsVolume", volume)

    def _read_scratch(self, key: str, word: str) -> None:
        for number, item in enumerate(self._node.elements(key)):
            place = self._work_dir / "volumes" / f"{key}-{number}"
            place.mkdir(parents=True, exist_ok=True)
            self._mount(place, item, f"{word} {item.text('volumeName') or number}")
            self._ask(key, item.value)

    def _read_fields(self) -> None:
        metadata = self._node.mapping("podMetadata")
        for item in self._node.elements("fieldPathAsEnv"):
            path = item.required_text("fieldPath")
            self._env[item.required_text("name")] = self._field(path, metadata)

    def _field(self, path: str, metadata: Node) -> str:
        for kind in ("annotations", "labels"):
            prefix, suffix = f"metadata.{kind}['", "']"
            if path.startswith(prefix) and path.endswith(suffix):
                key = path.removeprefix(prefix).removesuffix(suffix)
                return as_text(metadata.mapping(kind).raw(key, ""))
        # What a pod here lacks is empty, as Kubernetes gives it for a missing label.
        return {
            "metadata.name": self._work_dir.name,
            "metadata.uid": str(self._task_id),
            "spec.nodeName": socket.gethostname(),
            "status.hostIP": "127.0.0.1",
            "status.podIP": "127.0.0.1",
        }.get(path, "")

    def _read_placement(self) -> None:
        """Where the pod may run, which is only recorded; entries that resolve to null are left out."""
        selector = self._node.mapping("nodeSelector")
        if selector.has("nodeSelectorJson"):
            labels = self._resolve(selector.mapping("nodeSelectorJson").value)
        else:
            labels = selector.raw("labels")
        if labels:
            self._asked["nodeSelector"] = labels
        for key, json_key in (("tolerations", "tolerationJson"), ("nodeAffinity", "nodeAffinityJson")):
            for item in self._node.elements(key):
                value = self._resolve(item.mapping(json_key).value) if item.has(json_key) else item.value
                for entry in value if isinstance(value, list) else [value]:
                    if entry:
                        self._ask(key, entry)
        for item in self._node.elements("imagePullSecret"):
            name = self._name(item, "secret")
            if name is not None:
                self._ask("imagePullSecret", name)

    def _name(self, item: Node, prefix: str) -> str | None:
        """The name of a secret or config map; ``None`` if it resolves to null, which leaves the entry out."""
        key = f"{prefix}NameParameter"
        if not item.has(key):
            return item.required_text(f"{prefix}Name")
        name = self._resolve(item.mapping(key).value)
        return None if name is None else as_text(name)

    def _resolve(self, spec: Mapping[str, Any]) -> Any:
        return resolve_parameter(self._context, self._scope, self._task, parse_parameter_input(spec))

    def _mount(self, place: Path, item: Node, name: str, *, read_only: bool = False) -> None:
        target = item.required_text("mountPath")
        if not target.startswith("/"):
            item.wrong(f"the mount path {target!r} is not absolute.")
            return
        target = "/" + target.strip("/")
        self._mounts.append(Mount(source=place, target=target, name=name, read_only=read_only))

    def _ask(self, key: str, entry: Any) -> None:
        self._asked.setdefault(key, []).append(entry)

    def _shared_memory(self) -> int | None:
        size = self._node.mapping("enabledSharedMemory").text("size")
        match = _QUANTITY.fullmatch(size) if size else None
        return int(float(match[1]) * _UNITS[match[2]]) if match else None

    def _whole(self, node: Node, key: str) -> int | None:
        # 64-bit integers are text in protojson.
        value = node.raw(key)
        if value is None:
            return None
        try:
            return int(value)
        except (TypeError, ValueError):
            node.wrong(f"{key} is no whole number: {value!r}.")
            return None


_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?|)")
_UNITS = {"": 1, **{f"{unit}i": 1024**n for n, unit in enumerate("KMGT", 1)}} | {
    unit: 1000**n for n, unit in enumerate("KMGT", 1)
}
_READ_APART = frozenset(
    {
        "secretAsEnv",
        "secretAsVolume",
        "configMapAsEnv",
        "configMapAsVolume",
        "pvcMount",
        "nodeSelector",
        "tolerations",
        "nodeAffinity",
        "imagePullSecret",
    }
)


def _plain(item: Node, *keys: str) -> dict[str, Any]:
    return {key: item.raw(key) for key in keys if item.has(key)}
