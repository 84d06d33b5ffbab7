"""Uploads: which formats are read, and how the others are refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from bridge.local.packages import MAX_FILE_BYTES, read_package
from bridge.local.status import StatusError


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def tarred(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["pipeline.yaml", "PIPELINE.YML", "pipeline.json"])
def test_text_is_taken_as_it_is(name: str) -> None:
    assert read_package(name, b"a: 1") == b"a: 1"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_gives_pipeline_yaml_or_its_first_file(pack: type[bytes]) -> None:
    assert read_package("p.bin", pack(other_yaml=b"a: 1", pipeline_yaml=b"b: 2")) == b"b: 2"
    assert read_package("p.bin", pack(first_yaml=b"a: 1", second_yaml=b"b: 2")) == b"a: 1"


@pytest.mark.parametrize(("pack", "kind"), [(zipped, "zip"), (tarred, "tarball")])
def test_an_archive_without_yaml_is_refused(pack: type[bytes], kind: str) -> None:
    with pytest.raises(StatusError, match=f"Expecting a pipeline.yaml file inside the {kind}"):
        read_package("p", pack(image_png=b"\x89PNG"))
    with pytest.raises(StatusError, match=f"Empty {kind} file"):
        read_package("p", pack())


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"# PIPELINE DEFINITION\n# Name: echo\n"])
def test_other_formats_are_refused(content: bytes) -> None:
    with pytest.raises(StatusError, match="Unexpected pipeline file format"):
        read_package("wrong_format.png", content)


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04rubbish", zipped(pipeline_yaml=b"a: 1" * 100)[:-40]],
    ids=["no zip", "cut off"],
)
def test_a_broken_zip_is_refused(content: bytes) -> None:
    with pytest.raises(StatusError, match="Not a valid zip file"):
        read_package("p.zip", content)


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8brubbish", gzip.compress(b"no tar" * 200), tarred(a_yaml=b"a: 1")[:-9]],
    ids=["no gzip", "no tar", "cut off"],
)
def test_a_broken_tarball_is_refused(content: bytes) -> None:
    with pytest.raises(StatusError, match="tarball"):
        read_package("p.tar.gz", content)


def test_what_unpacks_to_too_much_is_refused() -> None:
    bomb = b"\0" * (MAX_FILE_BYTES + 1)
    for content in (zipped(pipeline_yaml=bomb), tarred(pipeline_yaml=bomb)):
        assert len(content) < MAX_FILE_BYTES // 100
        with pytest.raises(StatusError, match="File size too large"):
            read_package("p", content)
    with pytest.raises(StatusError, match="File size too large"):
        read_package("p.yaml", bomb)
