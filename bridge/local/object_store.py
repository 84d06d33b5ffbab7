"""Objects on an S3 server: brought to where a component finds them, and what it gives taken there.

Everything here waits for the server: call it in threads. Credentials and the server's address are options of
s3fs, or what AWS' own variables and files say.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from bridge.domain.redaction import redact_text, without_credentials

OPTIONS_VARIABLE = "KFBRIDGE_LOCAL_ARTIFACT_OPTIONS"
SCHEMES = ("s3", "minio")
PIECE_BYTES = 1024 * 1024
# Beyond this many objects below a URI, their number and sizes tell nothing new at a price.
_MOST_STAMPED = 10_000
_STAMPS = ("ETag", "VersionId", "LastModified", "size")


class ObjectStoreError(Exception):
    """An S3 server does not give or take something; the message says what happened and what to do."""


class NothingThereError(ObjectStoreError):
    """There is no object at a URI, and none below it."""


def is_object(uri: str) -> bool:
    """Whether a URI names an object of an S3 server, or objects."""
    return urlsplit(uri).scheme in SCHEMES


class ObjectStore:
    """One S3 server. ``options`` are those of s3fs: ``endpoint_url``, ``key``, ``secret`` …"""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {"use_listings_cache": False, **options}
        self._lock = threading.Lock()
        self._made: Any = None

    def check(self, root: str) -> None:
        """Raises ``ObjectStoreError`` unless the server answers and has the root's bucket for us."""
        with self._told(root):
            self._system.call_s3("list_objects_v2", Bucket=bucket_of(root), MaxKeys=1)

    def bring(self, uri: str, target: Path, stop: threading.Event | None = None) -> int:
        """The object at a URI as a file, or those below it as a folder; how many bytes. ``stop`` ends it
        soon after it is set.

        Raises ``ObjectStoreError`` and, where there is no room for it, ``OSError``.
        """
        with self._told(uri):
            path = _path(uri)
            found = self._system.info(path)
            objects = {path: found} if found["type"] == "file" else self._below(path)
            pairs = {key: _inside(target, key[len(path) :]) for key in objects}
            for place in pairs.values():
                place.parent.mkdir(parents=True, exist_ok=True)
            places = [str(place) for place in pairs.values()]
            self._system.get(list(pairs), places, callback=_until(stop))
            return sum(int(one["size"]) for one in objects.values())

    def take(self, source: Path, uri: str, stop: threading.Event | None = None) -> int:
        """Puts a file, or each file of a folder, at a URI; how many bytes. ``stop`` as for ``bring``.

        Raises ``ObjectStoreError``, also for a link: what it leads to may be of this machine and not of who
        made the link.
        """
        files = {
            file: f"{_path(uri)}/{file.relative_to(source).as_posix()}".removesuffix("/.")
            for file in _files_of(source)
        }
        with self._told(uri):
            if files:
                sources = [str(file) for file in files]
                self._system.put(sources, list(files.values()), callback=_until(stop))
        return sum(file.stat().st_size for file in files)

    def remove(self, uri: str) -> None:
        """Removes what is at a URI and below it, if anything is. Raises ``ObjectStoreError``."""
        with self._told(uri):
            path = _path(uri)
            # One by one: what removes all that is below takes a name for a pattern.
            for key in {path, *self._below(path)}:
                if self._system.exists(key):
                    self._system.rm_file(key)

    def stamp(self, uri: str) -> Any:
        """What changes when the content does, as JSON; ``None`` if there is none. Raises
        ``ObjectStoreError``."""
        try:
            with self._told(uri):
                found = self._system.info(_path(uri))
                objects = {"": found} if found["type"] == "file" else self._below(_path(uri))
        except NothingThereError:
            return None
        chosen = sorted(objects.items())[:_MOST_STAMPED]
        return [[key, *(str(one[name]) for name in _STAMPS if name in one)] for key, one in chosen]

    def size(self, uri: str) -> int:
        """The bytes of the object at a URI. Raises ``NothingThereError`` also for what is a folder, and
        ``ObjectStoreError``."""
        with self._told(uri):
            found = self._system.info(_path(uri))
        if found["type"] != "file":
            raise NothingThereError(f"{uri} is a folder: ask for an object in it.")
        return int(found["size"])

    def read(self, uri: str, start: int, end: int) -> bytes:
        """So much of an object. Raises ``ObjectStoreError``."""
        with self._told(uri):
            return bytes(self._system.cat_file(_path(uri), start=start, end=end))

    def _below(self, path: str) -> dict[str, Any]:
        found = self._system.find(path, detail=True)
        return {key: one for key, one in found.items() if one["type"] == "file" and not key.endswith("/")}

    @property
    def _system(self) -> Any:
        with self._lock:
            if self._made is None:
                import fsspec

                self._made = fsspec.filesystem("s3", **self._options)
            return self._made

    @contextmanager
    def _told(self, uri: str) -> Iterator[None]:
        """Every error of the server's in words that help."""
        try:
            yield
        except ObjectStoreError:
            raise
        except ImportError as error:
            raise ObjectStoreError(
                f"{uri}: this installation cannot speak S3: install airflow-kfp-bridge[local,s3]."
            ) from error
        except OSError as error:
            if _is_this_machines(error):
                raise
            if isinstance(error, FileNotFoundError):
                raise self._missing(uri) from error
            told = _refused if isinstance(error, PermissionError) else _failed
            raise ObjectStoreError(told(uri, error)) from error
        except Exception as error:
            # botocore's own errors have a base of their own, and aiohttp's too.
            raise ObjectStoreError(self._away(uri, error)) from error

    def _missing(self, uri: str) -> ObjectStoreError:
        bucket = bucket_of(uri)
        try:
            self._system.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)
        except FileNotFoundError:
            return ObjectStoreError(
                f"{uri}: there is no bucket {bucket} on {self._where}: create it, or name another one."
            )
        except Exception as error:
            return ObjectStoreError(_failed(uri, error))
        return NothingThereError(f"There is nothing at {uri} on {self._where}.")

    def _away(self, uri: str, error: Exception) -> str:
        name = type(error).__name__
        if "Credential" in name or "Profile" in name or "Token" in name:
            return _refused(uri, error)
        said = redact_text(f"{name}: {error}")[:300]
        return (
            f"{uri}: {self._where} does not answer ({said}): see that it runs and that endpoint_url in "
            f"{OPTIONS_VARIABLE}, or AWS_ENDPOINT_URL, leads to it."
        )

    @property
    def _where(self) -> str:
        named = self._options.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL")
        return f"the S3 server {without_credentials(named)}" if named else "Amazon S3"


def _until(stop: threading.Event | None) -> Any:
    """What fsspec tells of each piece that it has moved: it goes no further once the event is set."""
    from fsspec.callbacks import Callback

    class Until(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if stop is not None and stop.is_set():
                raise ObjectStoreError("The task was ended while its artifacts were on their way.")

        def branched(self, path_1: str, path_2: str, **kwargs: Any) -> Any:
            return self

    return Until()


def _files_of(source: Path) -> Iterator[Path]:
    below = (Path(folder) / name for folder, folders, names in os.walk(source) for name in (*folders, *names))
    for place in (source, *below):
        if place.is_symlink():
            raise ObjectStoreError(
                f"{place.name} is a link to {place.readlink()}, which cannot be put into a bucket: copy what "
                "it leads to."
            )
        if place.is_file():
            yield place


def bucket_of(uri: str) -> str:
    """The bucket that a URI names."""
    return urlsplit(uri).netloc


def _path(uri: str) -> str:
    """The bucket and key of a URI, byte for byte: keys are no URL paths, and not escaped like those."""
    return uri.partition("://")[2].rstrip("/")


def _inside(target: Path, rest: str) -> Path:
    """The place of an object below a folder. Raises ``ObjectStoreError`` for a key that leads out of it."""
    parts = PurePosixPath(rest.lstrip("/")).parts
    if ".." in parts or "\0" in rest:
        raise ObjectStoreError(f"The object {rest.lstrip('/')!r} would be written outside of its folder.")
    return target.joinpath(*parts)


def _refused(uri: str, error: Exception) -> str:
    cause = error.__cause__ or error
    code = getattr(cause, "response", {}).get("Error", {}).get("Code") or type(cause).__name__
    said = redact_text(str(error))[:300].rstrip(".")
    return (
        f"{uri}: the S3 server refuses ({code}): {said}. See that the credentials are right and may use the "
        f"bucket {bucket_of(uri)}: key and secret in {OPTIONS_VARIABLE}, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY."
    )


def _failed(uri: str, error: Exception) -> str:
    return f"{uri}: the S3 server failed: {redact_text(str(error))[:300]}."


def _is_this_machines(error: OSError) -> bool:
    """Whether a file here is the trouble, and not the server."""
    if getattr(error.__cause__, "response", None) is not None:
        return False
    return error.filename is not None or error.errno in (errno.ENOSPC, errno.EDQUOT)
