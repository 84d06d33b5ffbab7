"""Makes of a launch what a container engine is asked to create: user, environment, mounts, limits, words."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.local.artifacts import BUCKET_PLACES
from bridge.local.container_engine import Engine
from bridge.local.container_resources import Limits, limits
from bridge.local.launcher import Launch
from bridge.local.settings import ContainerSettings

LABEL = "io.kfbridge"
CA_TARGET = "/etc/kfbridge/ca-bundle.pem"
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PULL = {"Always": "always", "Never": "never", "IfNotPresent": "missing"}
_UNFIT_FOR_A_NAME = re.compile(r"[^a-zA-Z0-9_.-]+")
_ROOT = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a container runs as. ``option`` is the engine's ``--user``, ``None`` for the image's own;
    ``is_ours`` tells whether what it writes belongs to the user of this process."""

    option: str | None
    is_ours: bool
    is_root: bool


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of this machine that a container sees."""

    source: Path
    target: str
    read_only: bool = False

    @property
    def option(self) -> str:
        """The value of ``--mount``, whose fields are those of a CSV line."""
        fields = ["type=bind", f"source={self.source}", f"target={self.target}"]
        quoted = [_csv(field) for field in fields]
        return ",".join([*quoted, "readonly"] if self.read_only else quoted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A container to be created. ``words`` follow the image; ``pull`` is missing, always or never.

    ``own_folders`` are those of this attempt, ``shared_folders`` those it shares with other tasks; its user
    has to be able to write to all of them.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    identity: Identity
    env: Mapping[str, str]
    binds: tuple[Bind, ...]
    own_folders: tuple[Path, ...]
    shared_folders: tuple[Path, ...]
    limits: Limits
    pull: str
    network: str | None
    shared_memory_bytes: int | None
    entrypoint: str | None
    words: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def options(self) -> list[str]:
        """The options of the engine's ``create``, but for the environment."""
        words = ["--name", self.name, "--pull", "never", "--log-driver", "none", "--stop-timeout", "0"]
        for key, value in self.labels.items():
            words += ["--label", f"{key}={value}"]
        # A bind mount keeps its label on systems with SELinux, where a container could not read it then.
        words += ["--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
        if self.identity.option is not None:
            words += ["--user", self.identity.option]
            if self.identity.is_ours and not self.identity.is_root:
                # Images made for any user, as OpenShift's, let the group 0 write where their own user may.
                words += ["--group-add", "0"]
        if self.network is not None:
            words += ["--network", self.network]
        if self.shared_memory_bytes is not None:
            words += ["--shm-size", str(self.shared_memory_bytes)]
        for bind in self.binds:
            words += ["--mount", bind.option]
        words += self.limits.options
        return [*words, "--entrypoint", self.entrypoint] if self.entrypoint is not None else words


def make_plan(
    launch: Launch, settings: ContainerSettings, engine: Engine, cache_dir: Path, owner: str
) -> Plan:
    """The container for an attempt. ``owner`` marks the containers of one backend. Raises ``ValueError``
    for resources that are no quantities, ``PlaceholderError`` for a command line that is ill made."""
    names = launch.placeholders.names
    identity = _identity(launch, settings, engine)
    command = launch.placeholders.command_line(launch.container.command)
    args = launch.placeholders.command_line(launch.container.args)
    allowed = limits(launch.container.resources, engine)
    return Plan(
        name=_UNFIT_FOR_A_NAME.sub("-", f"kfbridge-{launch.work_dir.name}"),
        image=launch.container.image,
        labels={
            f"{LABEL}.owner": owner,
            f"{LABEL}.run": names.get("pipeline_job_uuid", ""),
            f"{LABEL}.task": names.get("pipeline_task_uuid", ""),
            f"{LABEL}.task-name": names.get("pipeline_task_name", ""),
            f"{LABEL}.pod": launch.work_dir.name,
        },
        identity=identity,
        env=_env(launch, settings, identity, cache_dir),
        binds=tuple(_binds(launch, settings, cache_dir).values()),
        own_folders=(launch.work_dir, *_output_folders(launch)),
        shared_folders=(
            *_workspace(launch),
            *(mount.source for mount in launch.mounts if not mount.read_only),
        ),
        limits=allowed,
        pull=_PULL.get(launch.pull_policy or "", settings.pull),
        network=settings.network,
        shared_memory_bytes=launch.shared_memory_bytes,
        entrypoint=command[0] if command else None,
        words=(*command[1:], *args),
        notes=allowed.notes,
    )


def owner_of(data_dir: Path) -> str:
    """The mark of the containers of the backend with this data directory."""
    return hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]


def _identity(launch: Launch, settings: ContainerSettings, engine: Engine) -> Identity:
    # The user 0 of a rootless engine's containers is the user who runs the engine.
    own_user, own_group = (_ROOT, _ROOT) if engine.rootless else (os.getuid(), os.getgid())
    if launch.user is not None or launch.group is not None:
        user = own_user if launch.user is None else launch.user
        group = "" if launch.group is None else f":{launch.group}"
        return Identity(f"{user}{group}", user == own_user, user == _ROOT)
    if settings.user == "image":
        return Identity(None, is_ours=False, is_root=False)
    return Identity(f"{own_user}:{own_group}", is_ours=True, is_root=own_user == _ROOT)


def _env(launch: Launch, settings: ContainerSettings, identity: Identity, cache_dir: Path) -> dict[str, str]:
    env = {
        "PYTHONUNBUFFERED": "1",
        "PIP_CACHE_DIR": str(cache_dir / "pip"),
        "UV_CACHE_DIR": str(cache_dir / "uv"),
    }
    if identity.option is not None and not identity.is_root:
        # A user that the image does not know has no home there, and pip needs one to install to.
        env["HOME"] = str(launch.work_dir / "home")
    if settings.ca_bundle is not None:
        env |= dict.fromkeys(_CA_VARIABLES, CA_TARGET)
    env |= settings.env
    env |= launch.env
    env |= {name: launch.placeholders.replace(value) for name, value in launch.container.env}
    return env


def _binds(launch: Launch, settings: ContainerSettings, cache_dir: Path) -> dict[str, Bind]:
    """What a container sees of this machine, by its place there. Paths of artifacts are the same inside and
    outside, since components have them from the ExecutorInput."""
    names, found = launch.placeholders.names, {}

    def add(source: Path, target: str | None = None, *, read_only: bool = False) -> None:
        bind = Bind(source, target or str(source), read_only)
        found[bind.target] = bind

    root = Path(names.get("pipeline_root", ""))
    if root.is_absolute() and root.is_dir():
        add(root, read_only=True)
    for uri in _uris(launch.executor_input.get("inputs", {})):
        path = Path(uri)
        if path.is_absolute() and path.exists() and not path.is_relative_to(root):
            add(path, read_only=True)
    for folder in (*_output_folders(launch), launch.work_dir, *_workspace(launch), cache_dir):
        add(folder)
    for place in _bucket_places(launch):
        add(place)
    if settings.ca_bundle is not None:
        add(settings.ca_bundle, CA_TARGET, read_only=True)
    for mount in launch.mounts:
        add(mount.source, mount.target, read_only=mount.read_only)
    return found


def _output_folders(launch: Launch) -> list[Path]:
    uris = _uris(launch.executor_input.get("outputs", {}))
    return list(dict.fromkeys(Path(uri).parent for uri in uris if uri.startswith("/")))


def _workspace(launch: Launch) -> list[Path]:
    place = Path(launch.placeholders.names.get("workspace_path", ""))
    return [place] if place.is_absolute() and place.is_dir() else []


def _bucket_places(launch: Launch) -> list[Path]:
    uris = [*_uris(launch.executor_input.get("inputs", {})), *_uris(launch.executor_input.get("outputs", {}))]
    places = (place for scheme, place in BUCKET_PLACES.items() if any(uri.startswith(scheme) for uri in uris))
    return [Path(place) for place in places if Path(place).is_dir()]


def _uris(side: Mapping[str, Any]) -> list[str]:
    lists = (side.get("artifacts") or {}).values()
    return [str(artifact.get("uri", "")) for found in lists for artifact in found.get("artifacts") or ()]


def _csv(field: str) -> str:
    if not any(character in field for character in ',"\n'):
        return field
    return '"' + field.replace('"', '""') + '"'
