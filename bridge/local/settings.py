"""The settings of the local backend, built once at the entry point and passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from bridge.local.object_store import ObjectStore, bucket_of, is_object
from bridge.local.retention import Limits

RunnerName = Literal["subprocess", "docker"]
MetadataShape = Literal["mlmd", "native"]
PullPolicy = Literal["missing", "always", "never"]
ContainerUser = Literal["host", "image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """How tasks run in containers, with the runner ``docker``.

    engine        ``docker``, ``podman``, the path of such a program, or ``auto``: the first that answers.
    network       the engine's network that containers join; ``None`` leaves it to the engine.
    pull          when an image is fetched, unless a task says so itself.
    user          who a container runs as, unless a task says so itself: the user of this process, so that
                  what it writes belongs to them, or whoever the image names.
    ca_bundle     certificate authorities (PEM) that programs in containers are told to trust; ``None``
                  leaves that to the image.
    env           variables for every container.
    cache_dir     where pip and uv in containers keep what they have downloaded, for all runs.
                  ``None`` means ``<data_dir>/container-cache``.
    """

    engine: str = "auto"
    network: str | None = None
    pull: PullPolicy = "missing"
    user: ContainerUser = "host"
    ca_bundle: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.ca_bundle is not None and not self.ca_bundle.is_file():
            raise ValueError(f"the CA bundle {self.ca_bundle} is no file")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What one local backend is told at its start.

    data_dir      everything it keeps: database, artifacts, task directories, logs, environments.
    port          TCP port on 127.0.0.1; 0 lets the system choose a free one.
    max_parallel  how many tasks run at once, over all runs together.
    runner        how a task's command is run: as a process of this machine, or in its image.
    metadata      which API serves tasks, artifacts and metrics: MLMD's, as published KFP releases have it,
                  or the native one of the coming release. What is kept is the same.
    secrets_dir   secrets and config maps that pipelines name, one file per key: ``<dir>/<name>/<key>``.
    token         when set, every request but healthz has to carry it as a Bearer token.
    allowed_hosts names under which it may be asked, in ``Host``, besides addresses and loopback names.
    environments_dir
                  where environments of components are cached; several backends may share it.
                  ``None`` means ``<data_dir>/environments``.
    keep_runs     how many runs that are over are kept; ``None``: all of them. Older ones are removed with all
                  their files.
    keep_days     how many days after their end runs are kept; ``None``: for ever.
    keep_gib      how many GiB the files of all runs may take before the oldest runs are removed; ``None``:
                  any number.
    artifacts     the URI below which artifacts go, ``s3://bucket/prefix``; ``None``: to files in
                  ``data_dir``.
    artifact_options
                  options of s3fs for that server (``endpoint_url``, ``key``, ``secret``); what they leave
                  out, AWS' own variables and files say. With them, or with ``artifacts``, components also get
                  what lies in buckets; without both, no server is asked for anything.
    grace_seconds how long open requests and ended tasks are waited for when the backend stops.
    containers    how tasks run in their images; without effect for other runners.
    """

    data_dir: Path
    port: int = 8888
    max_parallel: int = 2
    runner: RunnerName = "subprocess"
    metadata: MetadataShape = "mlmd"
    secrets_dir: Path | None = None
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    environments_dir: Path | None = None
    keep_runs: int | None = None
    keep_days: float | None = None
    keep_gib: float | None = None
    artifacts: str | None = None
    artifact_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    grace_seconds: float = 5.0
    containers: ContainerSettings = field(default_factory=ContainerSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, not {self.port}")
        if self.max_parallel < 1:
            raise ValueError(f"max_parallel must be at least 1, not {self.max_parallel}")
        if self.secrets_dir is not None and not self.secrets_dir.is_dir():
            raise ValueError(f"the secrets directory {self.secrets_dir} does not exist")
        for name in ("keep_runs", "keep_days", "keep_gib"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                # Who writes 0 may mean that there is no limit, and would lose every run.
                raise ValueError(f"{name} must be more than 0, not {limit}: leave it out to keep everything")
        if self.artifacts is not None and not (is_object(self.artifacts) and bucket_of(self.artifacts)):
            raise ValueError(f"artifacts must be s3://bucket or s3://bucket/prefix, not {self.artifacts!r}")
        if self.token is not None and not self.token.strip():
            raise ValueError("token must not be empty: leave it out to serve without one")
        if self.metadata not in get_args(MetadataShape):
            raise ValueError(f"metadata must be 'mlmd' or 'native', not {self.metadata!r}")

    @property
    def limits(self) -> Limits:
        """What is kept of runs that are over."""
        return Limits(self.keep_runs, self.keep_days, self.keep_gib)

    def make_objects(self) -> ObjectStore | None:
        """The S3 server; ``None`` if the settings name none."""
        if self.artifacts is None and not self.artifact_options:
            return None
        return ObjectStore(self.artifact_options)

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "local.db"

    @property
    def address_path(self) -> Path:
        """The JSON file that tells port, pid and url while the backend serves."""
        return self.data_dir / "local.json"
