"""Where objects of buckets lie while a component works on them: a folder of the attempt's own.

As KFP's launcher does, inputs are brought there before the component starts and outputs are taken from there
when it has succeeded. To the component the folder is the bucket mounted: ``/s3/bucket/key``.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bridge.domain.lineage import FILELESS_TYPES
from bridge.local.artifacts import BUCKET_PLACES, mounted_path
from bridge.local.mounts import Mount
from bridge.local.object_store import SCHEMES, NothingThereError, ObjectStore, ObjectStoreError, is_object
from bridge.local.recording import StoredArtifact

_PLACES = tuple(BUCKET_PLACES[f"{scheme}://"] for scheme in SCHEMES)


@dataclass(frozen=True, slots=True)
class Staging:
    """The folder of one attempt, and the server that it stands for. Below the URI ``own`` lies what tasks
    made, who may have written nothing."""

    folder: Path
    objects: ObjectStore
    own: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event, compare=False)

    @property
    def mounts(self) -> list[Mount]:
        """What makes a component find the folder where it looks; the folders are there afterwards."""
        found = []
        for place in _PLACES:
            source = self.folder / place.strip("/")
            source.mkdir(parents=True, exist_ok=True)
            found.append(
                Mount(source=source, target=place.rstrip("/"), name=f"the bucket {place}", quiet=True)
            )
        return found

    def place(self, uri: str) -> Path | None:
        """Where the object of a URI lies here; ``None`` if it is no object's.

        Raises ``ObjectStoreError`` for a URI that leads out of the folder.
        """
        if not is_object(uri):
            return None
        path = PurePosixPath(mounted_path(uri))
        if ".." in path.parts or "\0" in uri:
            raise ObjectStoreError(f"{uri} would lie outside of its bucket's folder: write it without '..'.")
        return self.folder.joinpath(*path.parts[1:])

    def uri(self, place: str) -> str:
        """The URI of what a component put into the folder and calls by its path; of anything else its own."""
        if not place.startswith("/"):
            return place
        for scheme in SCHEMES:
            mounted = BUCKET_PLACES[f"{scheme}://"]
            for start in (f"{self.folder}{mounted}", mounted):
                if place.startswith(start):
                    return f"{scheme}://{place.removeprefix(start)}"
        return place

    def bring(self, artifacts: Mapping[str, Sequence[StoredArtifact]]) -> str | None:
        """Brings all inputs that are objects; a line for the log, if there are any.

        Raises ``ObjectStoreError``, and ``OSError`` where there is no room for them.
        """
        began, count, size = time.monotonic(), 0, 0
        brought: list[Path] = []
        for artifact in (artifact for found in artifacts.values() for artifact in found):
            place = self.place(artifact.uri)
            # That a folder is there says nothing: another input, or what the task gives, may lie in it.
            if place is None or any(place.is_relative_to(one) for one in brought):
                continue
            try:
                size += self.objects.bring(artifact.uri, place, self._stop)
                count += 1
                brought.append(place)
            except NothingThereError:
                if not self._may_be_without_content(artifact):
                    raise
        return f"Brought here: {_told(count, size, began)}." if count else None

    def take(self, artifacts: Iterable[StoredArtifact]) -> str | None:
        """Takes all outputs that are objects and were written here; a line for the log, if there are any.

        Raises ``ObjectStoreError``.
        """
        began, count, size = time.monotonic(), 0, 0
        for artifact in artifacts:
            place = self.place(artifact.uri)
            if place is not None and place.exists():
                if not place.parent.resolve().is_relative_to(self.folder.resolve()):
                    raise ObjectStoreError(
                        f"{artifact.uri} lies behind a link that leads elsewhere: copy it."
                    )
                size += self.objects.take(place, artifact.uri, self._stop)
                count += 1
        return f"Taken to the bucket: {_told(count, size, began)}." if count else None

    def _may_be_without_content(self, artifact: StoredArtifact) -> bool:
        return artifact.schema_title in FILELESS_TYPES or (
            self.own is not None and artifact.uri.startswith(f"{self.own}/")
        )

    def stop(self) -> None:
        """Ends what is still on its way."""
        self._stop.set()

    def clear(self) -> None:
        """Removes the folder: what is worth keeping is in the bucket."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _told(count: int, size: int, began: float) -> str:
    things = f"{count} artifact{'' if count == 1 else 's'}"
    return f"{things}, {size / 1e6:.1f} MB in {time.monotonic() - began:.1f} s"
