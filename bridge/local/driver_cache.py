"""Fingerprints of tasks: two tasks with the same one would give the same, so one can stand for the other."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bridge.domain.lineage import FILELESS_TYPES
from bridge.local.artifacts import is_missing, to_place
from bridge.local.driver_finish import Leaf
from bridge.local.driver_scope import RunContext
from bridge.local.object_store import ObjectStore, is_object
from bridge.local.recording import CachedTask, StoredArtifact
from bridge.spec.documents import canonical_json
from bridge.spec.model import ContainerSpec

# Beyond this many files a folder's own time stamp has to do.
_MAX_FILES = 10_000


def fingerprint(context: RunContext, leaf: Leaf, container: ContainerSpec, claims: Sequence[str] = ()) -> str:
    """The sha256 (hex) over the pipeline's name, what runs, what it gets and what it declares to give.

    ``claims`` names the volume claims that it mounts.

    Unlike KFP's it also sees the size and time of local input files and the ETags of objects, so that data
    that was written anew under the same URI is not answered from the cache. A task's own ``cacheKey``
    replaces all that, within the pipeline. Raises ``ObjectStoreError``.
    """
    component, inputs = leaf.component, leaf.inputs
    if leaf.task.cache_key:
        content: Any = [context.model.name, "key", leaf.task.cache_key]
    else:
        content = [
            context.model.name,
            container.image,
            container.command,
            container.args,
            container.env,
            inputs.parameters,
            {
                name: [_seen(artifact, context.objects) for artifact in found]
                for name, found in inputs.artifacts.items()
            },
            {name: kind.value for name, kind in component.output_parameters.items()},
            {name: slot.schema_title for name, slot in component.output_artifacts.items()},
            sorted(set(claims)),
        ]
    return hashlib.sha256(canonical_json(content)).hexdigest()


async def find_cached(context: RunContext, mark: str) -> CachedTask | None:
    """A task whose result can be taken instead: found by the store, its files and objects still there.

    Raises ``ObjectStoreError``.
    """
    cached = await context.recorder.find_cached(mark)
    if cached is None:
        return None
    artifacts = [artifact for found in cached.result.artifacts.values() for artifact in found]
    gone = await asyncio.to_thread(_are_gone, artifacts, context.objects)
    return None if gone else cached


def _are_gone(artifacts: Sequence[StoredArtifact], objects: ObjectStore | None) -> bool:
    # Metrics and the like need no file, so only what is meant to have content is looked for.
    uris = [artifact.uri for artifact in artifacts if artifact.schema_title not in FILELESS_TYPES]
    return any(
        objects.stamp(uri) is None if objects is not None and is_object(uri) else is_missing(uri)
        for uri in uris
    )


def _seen(artifact: StoredArtifact, objects: ObjectStore | None) -> list[Any]:
    return [artifact.uri, artifact.schema_title, artifact.metadata, _stamp(artifact.uri, objects)]


def _stamp(uri: str, objects: ObjectStore | None) -> Any:
    if objects is not None and is_object(uri):
        return objects.stamp(uri)
    place = to_place(uri)
    path = Path(place)
    if not place.startswith("/") or not path.exists():
        return None
    if path.is_file():
        return _file_stamp(path)
    files = sorted(islice((item for item in path.rglob("*") if item.is_file()), _MAX_FILES))
    return [[str(item.relative_to(path)), *_file_stamp(item)] for item in files]


def _file_stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
