"""What the values given as inputs become: a URI in the one spelling, and a version."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from bridge.client.digests import NotWalked, directory_digest, file_digest, files_under
from bridge.client.errors import InputError
from bridge.client.inputs import resolve_input, to_message
from bridge.client.reference import build_reference
from bridge.client.refs import ArtifactRef
from bridge.domain.identity import Origin
from bridge.domain.uris import normalise_uri
from tests.unit.client.fake_bridge import make_artifact, make_run

CONTENT = b"year,month\n2013,1\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flights.csv"
    path.write_bytes(CONTENT)
    return path


def test_a_file_is_known_by_its_content(file: Path) -> None:
    for value in (str(file), file.as_uri(), file, SimpleNamespace(uri=file.as_uri())):
        (found,) = resolve_input("flights", value)
        assert (found.name, found.uri) == ("flights", file.as_uri())
        assert (found.version, found.version_kind, found.bytes) == (SHA256, "sha256", len(CONTENT))


def test_a_directory_is_known_by_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "day=05"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "part-1").write_bytes(b"one")
    (folder / "a").write_bytes(CONTENT)
    lines = [
        f"a\t{len(CONTENT)}\t{SHA256}\n",
        f"b/part-1\t3\t{hashlib.sha256(b'one').hexdigest()}\n",
    ]
    (found,) = resolve_input("flights", f"{folder}/")
    assert found.uri == normalise_uri(folder.as_uri())
    assert found.version == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert (found.version_kind, found.bytes) == ("manifest-sha256", len(CONTENT) + 3)


def test_a_directorys_version_tells_a_renamed_from_a_changed_file(tmp_path: Path) -> None:
    versions: list[str] = []
    for name, content in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        folder = tmp_path / str(len(versions))
        folder.mkdir()
        (folder / name).write_bytes(content)
        versions.append(directory_digest(folder)[0])
    assert len(set(versions)) == 3


def test_a_loop_of_links_does_not_keep_the_manifest_from_ending(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert directory_digest(tmp_path)[1] == 1
    assert files_under(tmp_path, most=1, may_read=lambda _: False) == ["a"]


def test_a_directory_that_holds_too_much_or_leads_elsewhere_is_not_walked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert sorted(files_under(tmp_path, most=2, may_read=lambda _: True)) == ["a", "b"]
    with pytest.raises(NotWalked, match="more than 1 files"):
        files_under(tmp_path, most=1, may_read=lambda _: True)
    with pytest.raises(NotWalked, match="link b leads"):
        files_under(tmp_path, most=2, may_read=lambda _: False)


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as sparse:
        sparse.truncate(64 * 1024 * 1024)
    assert file_digest(path)[1] == 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3a://Bucket/a/", "s3://Bucket/a"),
        ("HTTPS://Host:443/a", "https://host/a"),
        ("file:///nowhere/at/all", "file:///nowhere/at/all"),
        ("urn:table:flights", "urn:table:flights"),
    ],
)
def test_what_cannot_be_measured_here_has_no_version(given: str, uri: str) -> None:
    (found,) = resolve_input("x", given)
    assert (found.uri, found.version, found.version_kind, found.bytes) == (uri, None, None, None)


def test_what_is_told_is_believed() -> None:
    told = {
        "uri": "s3://b/k",
        "version": 7,
        "version_kind": "snapshot",
        "rows": 3,
        "bytes": 9,
        "producer": {"dag_id": "etl"},
    }
    (found,) = resolve_input("x", told)
    assert (found.version, found.version_kind, found.rows, found.bytes) == ("7", "snapshot", 3, 9)
    assert found.producer == Origin(dag_id="etl")
    assert to_message(found).producer is not None


def test_a_mapping_without_version_is_measured(file: Path) -> None:
    (found,) = resolve_input("x", {"uri": file.as_uri(), "rows": 1})
    assert (found.version, found.rows, found.bytes) == (SHA256, 1, len(CONTENT))


def test_a_list_keeps_its_order(file: Path) -> None:
    found = resolve_input("flights", ["s3://b/2", str(file), {"uri": "s3://b/1"}])
    assert [one.uri for one in found] == ["s3://b/2", file.as_uri(), "s3://b/1"]
    assert {one.name for one in found} == {"flights"}


def test_a_reference_carries_uri_and_digest() -> None:
    run = make_run()
    model = make_artifact(run, "train.model", digest="cd" * 32)
    data = make_artifact(run, "prepare.data", "system.Dataset")
    reference = build_reference(run, artifacts=[data, model])
    for value in (
        reference,
        reference["artifacts"]["train.model"],
        ArtifactRef.from_xcom(reference, "train.model"),
    ):
        (found,) = resolve_input("model", value)
        assert (found.uri, found.version, found.version_kind) == (model.uri, "cd" * 32, "sha256")


def test_a_bare_reference_is_looked_up() -> None:
    run = make_run()
    model = make_artifact(run, "train.model", digest="cd" * 32)

    def find(artifact_id: UUID) -> object:
        assert artifact_id == model.artifact_id
        return model

    (found,) = resolve_input("model", model.ref, find_artifact=find)  # type: ignore[arg-type]
    assert (found.uri, found.version) == (model.uri, "cd" * 32)
    with pytest.raises(InputError, match="carries no URI"):
        resolve_input("model", model.ref)


@pytest.mark.parametrize(
    "value", ["", "  ", "relative/path", 7, None, {"name": "x"}, object(), {"artifacts": {}}]
)
def test_what_names_no_data_is_refused_with_the_inputs_name(value: object) -> None:
    with pytest.raises(InputError, match="input flights: "):
        resolve_input("flights", value)


def test_a_relative_path_needs_to_be_told_where_from(file: Path) -> None:
    (found,) = resolve_input("x", "flights.csv", base=file.parent)
    assert found.uri == file.as_uri()
    (table,) = resolve_input("x", "urn:table:flights", base=file.parent)
    assert table.uri == "urn:table:flights"
    with pytest.raises(InputError, match="an empty URI"):
        resolve_input("x", "", base=file.parent)
