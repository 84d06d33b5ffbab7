"""References to artifacts as XCom carries them, and reading what they refer to."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

from bridge.client.errors import InputError
from bridge.domain.uris import local_path

if TYPE_CHECKING:
    from bridge.client.sync import BridgeClient

REF_PREFIX = "bridge://artifacts/"
_MODEL_TYPE = "system.Model"
_SHOWN_KEYS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRef:
    """An artifact, by reference: small enough for XCom, and enough to read the content later.

    ``key`` is ``task.output`` as the run's reference names it; ``digest`` is a sha256 where one is known.
    """

    artifact_id: UUID
    type: str | None = None
    uri: str | None = None
    digest: str | None = None
    key: str | None = None

    @classmethod
    def from_xcom(cls, value: Any, key: str | None = None) -> ArtifactRef:
        """The artifact that an XCom value names.

        ``value`` is what a run returned (then ``key`` such as ``train.model`` chooses; without it the
        run must have one artifact, or one model), one of its ``artifacts`` entries, or
        ``bridge://artifacts/<id>``. Raises ``InputError``, which names the keys there are.
        """
        if isinstance(value, ArtifactRef):
            return value
        if isinstance(value, str):
            return cls(artifact_id=_id_of(value), key=key)
        if not isinstance(value, Mapping):
            raise InputError(f"{type(value).__name__} is no reference to an artifact")
        if "artifacts" in value:
            key = _choose(value, key)
            value = value["artifacts"][key]
        return cls(
            artifact_id=_id_of(str(value.get("ref") or value.get("id") or "")),
            type=value.get("type"),
            uri=value.get("uri"),
            digest=value.get("digest"),
            key=key,
        )

    @property
    def ref(self) -> str:
        """``bridge://artifacts/<id>``."""
        return f"{REF_PREFIX}{self.artifact_id}"

    def open(
        self,
        *,
        client: BridgeClient | None = None,
        via: Literal["auto", "store", "bridge"] = "auto",
        conn_id: str | None = None,
    ) -> IO[bytes]:
        """The content, opened for reading now and not before; close it after use.

        ``auto`` reads a file that is on this machine as it is, an object store through Airflow's
        ``ObjectStoragePath`` (inside Airflow) or fsspec, where one is installed that knows the
        scheme, and everything else through the bridge; ``store`` and ``bridge`` insist. ``conn_id`` is
        Airflow's connection to the store, without which the store's own defaults count. Without a
        ``client`` the bridge is the one that ``KFBRIDGE_URL`` and ``KFBRIDGE_TOKEN`` name.
        Raises ``InputError`` when nothing here can read it, and what the store or the bridge raises.
        """
        if via != "bridge" and self.uri is not None:
            content = _open_local(self.uri) or _open_store(self.uri, conn_id)
            if content is not None:
                return content
        if via == "store":
            raise InputError(f"nothing here can read {self.uri or self.ref}: install fsspec for its scheme")
        return self._open_through(client)

    def _open_through(self, client: BridgeClient | None) -> IO[bytes]:
        if client is not None:
            return client.open_artifact(self.artifact_id)
        from bridge.client.sync import BridgeClient

        with BridgeClient.from_environment() as own:
            return own.open_artifact(self.artifact_id)


def _id_of(text: str) -> UUID:
    try:
        return UUID(text.removeprefix(REF_PREFIX))
    except ValueError:
        raise InputError(f"{text!r} is no reference to an artifact: {REF_PREFIX}<id> is") from None


def _choose(reference: Mapping[str, Any], key: str | None) -> str:
    artifacts: Mapping[str, Mapping[str, Any]] = reference["artifacts"]
    keys = sorted(artifacts)
    if key is not None:
        if key in artifacts:
            return key
        raise InputError(f"the run {reference.get('run_id')} names no artifact {key!r}; {_there_are(keys)}")
    models = [name for name in keys if artifacts[name].get("type") == _MODEL_TYPE]
    for candidates in (keys, models):
        if len(candidates) == 1:
            return candidates[0]
    raise InputError(f"say which artifact of run {reference.get('run_id')} is meant; {_there_are(keys)}")


def _there_are(keys: list[str]) -> str:
    if not keys:
        return "there are none"
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"there are {', '.join(keys[:_SHOWN_KEYS])}{more}"


def _open_local(uri: str) -> IO[bytes] | None:
    path = local_path(uri)
    if path is None or not Path(path).is_file():
        return None
    return Path(path).open("rb")


def _open_store(uri: str, conn_id: str | None) -> IO[bytes] | None:
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file", "bridge"):
        return None
    try:
        fsspec = importlib.import_module("fsspec")
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError):
        return None
    if "airflow.sdk" in sys.modules:
        content = _open_in_airflow(uri, conn_id)
        if content is not None:
            return content
    return cast(IO[bytes], fsspec.open(uri, "rb").open())


def _open_in_airflow(uri: str, conn_id: str | None) -> IO[bytes] | None:
    """Through Airflow, whose connections know the store's credentials; ``None`` if it lacks the provider."""
    path = importlib.import_module("airflow.sdk").ObjectStoragePath(uri, conn_id=conn_id)
    try:
        _ = path.fs
    except ValueError:
        return None
    return cast(IO[bytes], path.open("rb"))
