"""One spelling for one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.uris import local_path, normalise_uri


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("/data/flights/", "file:///data/flights"),
        ("file:/data/flights", "file:///data/flights"),
        ("file://localhost/data/a b", "file:///data/a%20b"),
        ("file:///data//x/../flights/./p", "file:///data/flights/p"),
        ("FILE:///Data", "file:///Data"),
        ("s3a://Bucket/key/", "s3://Bucket/key"),
        ("s3n://b/k", "s3://b/k"),
        ("minio://b/k", "s3://b/k"),
        ("gcs://b/k", "gs://b/k"),
        ("s3://b/a//c/../d", "s3://b/a//c/../d"),
        ("s3://key:secret@b/k", "s3://b/k"),
        ("https://user:pw@Example.COM:443/a/%7Eb", "https://example.com/a/~b"),
        ("http://example.com:8080/a?version=3#x", "http://example.com:8080/a?version=3#x"),
        ("postgresql://u:p@db:5432/warehouse/table", "postgresql://db/warehouse/table"),
        ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        ("urn:dataset:flights", "urn:dataset:flights"),
        ("oci://Registry/Model", "oci://registry/Model"),
    ],
)
def test_spellings(written: str, normal: str) -> None:
    assert normalise_uri(written) == normal


@pytest.mark.parametrize("bad", ["", "   ", "flights/2013", "./x"])
def test_what_names_no_place_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="URI"):
        normalise_uri(bad)


_paths = st.lists(st.sampled_from(["a", "b c", "é", "x=1", "%41", "..", ".", ""]), min_size=1).map("/".join)


@given(st.sampled_from(["/", "file:///", "s3://b/", "https://h/"]), _paths)
def test_normalising_twice_changes_nothing(prefix: str, path: str) -> None:
    once = normalise_uri(prefix + path)
    assert normalise_uri(once) == once


@given(_paths)
def test_a_local_path_comes_back(path: str) -> None:
    normal = normalise_uri("/root-of-data/" + path.replace("%", ""))
    assert local_path(normal) is not None
    assert normalise_uri(str(local_path(normal))) == normal


def test_only_file_uris_have_a_local_path() -> None:
    assert local_path("s3://b/k") is None
    assert local_path("file:///a%20b") == "/a b"
