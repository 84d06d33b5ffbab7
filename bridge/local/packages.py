"""Reads the pipeline out of an uploaded file: YAML, a zip, or a gzipped tar, told apart as KFP does."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib

from bridge.local.status import invalid

MAX_FILE_BYTES = 32 * 1024 * 1024
_MAX_MEMBERS = 1000


def read_package(file_name: str, content: bytes) -> bytes:
    """The YAML in an upload.

    In an archive that is ``pipeline.yaml``, or else its first file. Raises ``StatusError`` (400) for any
    other format, a broken archive, and one that unpacks to more than 32 MiB.
    """
    if len(content) > MAX_FILE_BYTES:
        raise invalid(f"File size too large. Maximum supported size: {MAX_FILE_BYTES}")
    if _is_yaml(file_name):
        return content
    if content.startswith(b"PK"):
        return _from_zip(content)
    if content.startswith(b"\x1f\x8b"):
        return _from_tarball(content)
    raise invalid("Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML")


def _is_yaml(name: str) -> bool:
    return name.lower().endswith((".yaml", ".yml", ".json"))


def _choose(names: list[str], archive: str) -> str:
    if not names:
        raise invalid(f"Error extracting pipeline from the {archive} file. Empty {archive} file")
    chosen = "pipeline.yaml" if "pipeline.yaml" in names else names[0]
    if not _is_yaml(chosen):
        raise invalid(
            f"Error extracting pipeline from the {archive} file. Expecting a pipeline.yaml file inside the "
            f"{archive}. Got: {chosen}"
        )
    return chosen


def _from_zip(content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [info.filename for info in archive.infolist()[:_MAX_MEMBERS] if not info.is_dir()]
            with archive.open(_choose(names, "zip")) as member:
                return _bounded(member.read(MAX_FILE_BYTES + 1))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise invalid(
            f"Error extracting pipeline from the zip file. Not a valid zip file: {error}"
        ) from error


def _from_tarball(content: bytes) -> bytes:
    try:
        # A tar has to be read through to be listed, so it is unpacked once, under the limit.
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as unzipped:
            plain = _bounded(unzipped.read(MAX_FILE_BYTES + 1))
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            members: dict[str, tarfile.TarInfo] = {}
            for member in archive:
                if len(members) >= _MAX_MEMBERS:
                    break
                if member.isfile():
                    members[member.name] = member
            file = archive.extractfile(members[_choose(list(members), "tarball")])
            assert file is not None, "a regular file can be read"
            return file.read()
    except (tarfile.TarError, OSError, zlib.error, EOFError) as error:
        raise invalid(
            f"Error extracting pipeline from the tarball file. Not a valid tarball file: {error}"
        ) from error


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_FILE_BYTES:
        raise invalid(f"File size too large. Maximum supported size: {MAX_FILE_BYTES}")
    return content
