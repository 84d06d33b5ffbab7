"""The data a submission names: each input becomes a URI in the one spelling, and a version.

The version of a file on this machine is the sha256 of its content, read in pieces; of a directory the
sha256 of its manifest: one line ``<path>\\t<bytes>\\t<sha256>`` per file, sorted by path. What cannot be
told stays ``None``; it is never guessed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from bridge.client.digests import directory_digest, file_digest
from bridge.client.errors import InputError
from bridge.client.models import ArtifactModel, InputModel
from bridge.client.refs import REF_PREFIX, ArtifactRef
from bridge.domain.identity import Origin
from bridge.domain.lineage import InputVersion
from bridge.domain.uris import local_path, normalise_uri

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
FindArtifact = Callable[[UUID], ArtifactModel]


def resolve_input(
    name: str, value: Any, *, find_artifact: FindArtifact | None = None, base: Path | None = None
) -> list[InputVersion]:
    """The versions of data that one input of a submission names, in the order given.

    ``value`` is a URI, a path, an ``ArtifactRef``, an entry of an XCom reference's ``artifacts``, a
    whole XCom reference that holds one artifact or one model, an object with a ``uri`` such as an
    Airflow ``Asset``, a mapping with ``uri`` and optionally ``version``, ``version_kind``, ``rows``,
    ``bytes`` and ``producer``, or a list of these. ``find_artifact`` looks up what a bare
    ``bridge://artifacts/<id>`` is; relative paths are taken from ``base`` and refused without it.
    Raises ``InputError``.
    """
    if isinstance(value, list | tuple):
        found: list[InputVersion] = []
        for item in value:
            found += resolve_input(name, item, find_artifact=find_artifact, base=base)
        return found
    try:
        return [_resolve_one(name, value, find_artifact, base)]
    except ValueError as error:
        raise InputError(f"input {name}: {error}") from error


def to_message(version: InputVersion) -> InputModel:
    """The same as a part of ``SubmitRequest.inputs``."""
    return InputModel.model_validate(version, from_attributes=True)


def _resolve_one(name: str, value: Any, find: FindArtifact | None, base: Path | None) -> InputVersion:
    if isinstance(value, str) and value.startswith(REF_PREFIX):
        value = ArtifactRef.from_xcom(value)
    if isinstance(value, Mapping) and ("ref" in value or "artifacts" in value):
        value = ArtifactRef.from_xcom(value)
    if isinstance(value, ArtifactRef):
        return _artifact_version(name, value, find)
    if isinstance(value, Mapping):
        return _given_version(name, value, base)
    uri = value if isinstance(value, str | os.PathLike) else getattr(value, "uri", None)
    if not isinstance(uri, str | os.PathLike):
        raise InputError(f"{type(value).__name__} names no data: give a URI, a path, an asset or a reference")
    return _measured(name, _one_spelling(os.fspath(uri), base))


def _artifact_version(name: str, ref: ArtifactRef, find: FindArtifact | None) -> InputVersion:
    if ref.uri is None:
        if find is None:
            raise InputError(f"{ref.ref} carries no URI; hand over the reference's entry instead")
        artifact = find(ref.artifact_id)
        ref = ArtifactRef(artifact_id=ref.artifact_id, uri=artifact.uri, digest=artifact.digest)
    if ref.uri is None:
        raise InputError(f"{ref.ref} has no URI to hand over")
    uri = normalise_uri(ref.uri)
    if ref.digest is None:
        return _measured(name, uri)
    return InputVersion(name=name, uri=uri, version=ref.digest, version_kind="sha256")


def _given_version(name: str, value: Mapping[str, Any], base: Path | None) -> InputVersion:
    if not isinstance(value.get("uri"), str):
        raise InputError("a mapping needs a uri; it may have version, version_kind, rows, bytes, producer")
    uri = _one_spelling(value["uri"], base)
    producer = value.get("producer")
    told = InputVersion(
        name=name,
        uri=uri,
        version=None if value.get("version") is None else str(value["version"]),
        version_kind=value.get("version_kind"),
        rows=value.get("rows"),
        bytes=value.get("bytes"),
        producer=Origin(**producer) if isinstance(producer, Mapping) else producer,
    )
    if told.version is not None:
        return told
    found = _measured(name, uri)
    size = found.bytes if told.bytes is None else told.bytes
    return replace(told, version=found.version, version_kind=found.version_kind, bytes=size)


def _one_spelling(text: str, base: Path | None) -> str:
    is_relative = text.strip() and not _SCHEME.match(text) and not Path(text).is_absolute()
    if base is not None and is_relative:
        text = str(base.absolute() / text)
    return normalise_uri(text)


def _measured(name: str, uri: str) -> InputVersion:
    where = local_path(uri)
    path = None if where is None else Path(where)
    if path is None or not path.exists():
        return InputVersion(name=name, uri=uri)
    if path.is_file():
        digest, size = file_digest(path)
        return InputVersion(name=name, uri=uri, version=digest, version_kind="sha256", bytes=size)
    digest, size = directory_digest(path)
    return InputVersion(name=name, uri=uri, version=digest, version_kind="manifest-sha256", bytes=size)
