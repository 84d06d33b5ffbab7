"""References to artifacts, and reading what they refer to."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import pytest

from bridge.client.errors import InputError, ProblemError
from bridge.client.reference import build_reference
from bridge.client.refs import ArtifactRef
from bridge.client.sync import BridgeClient
from tests.unit.client.fake_bridge import FakeBridge, make_artifact, make_run

RUN = make_run()
MODEL = make_artifact(RUN, "train.model", digest="cd" * 32)
DATA = make_artifact(RUN, "prepare.data", "system.Dataset")
REFERENCE = build_reference(RUN, artifacts=[MODEL, DATA])


@pytest.fixture
def client(bridge: FakeBridge) -> BridgeClient:
    bridge.content[MODEL.artifact_id] = b"from the bridge"
    return BridgeClient("http://b:1", transport=bridge.transport())


def test_the_key_chooses() -> None:
    ref = ArtifactRef.from_xcom(REFERENCE, "prepare.data")
    assert (ref.artifact_id, ref.uri, ref.type) == (DATA.artifact_id, DATA.uri, "system.Dataset")
    assert ref.key == "prepare.data"


def test_without_a_key_it_is_the_one_model() -> None:
    assert ArtifactRef.from_xcom(REFERENCE).artifact_id == MODEL.artifact_id


@pytest.mark.parametrize("value", [MODEL.ref, str(MODEL.artifact_id), REFERENCE["artifacts"]["train.model"]])
def test_an_entry_or_its_ref_is_enough(value: object) -> None:
    ref = ArtifactRef.from_xcom(value)
    assert ref.artifact_id == MODEL.artifact_id
    assert ref.ref == MODEL.ref
    assert ArtifactRef.from_xcom(ref) is ref


def test_a_wrong_key_is_answered_with_the_right_ones() -> None:
    with pytest.raises(InputError, match=r"no artifact 'model'; there are prepare\.data, train\.model"):
        ArtifactRef.from_xcom(REFERENCE, "model")


def test_two_models_have_to_be_told_apart() -> None:
    other = make_artifact(RUN, "tune.model")
    with pytest.raises(InputError, match=r"say which .* train\.model, tune\.model"):
        ArtifactRef.from_xcom(build_reference(RUN, artifacts=[MODEL, other]))


@pytest.mark.parametrize("value", [7, None, "", "bridge://artifacts/x", {"artifacts": {}}, {"uri": "s3://b"}])
def test_what_is_no_reference_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        ArtifactRef.from_xcom(value)


def test_a_file_here_is_read_as_it_is(tmp_path: Path, client: BridgeClient, bridge: FakeBridge) -> None:
    path = tmp_path / "a model"
    path.write_bytes(b"weights")
    ref = ArtifactRef(artifact_id=MODEL.artifact_id, uri=path.as_uri())
    with ref.open(client=client) as content:
        assert content.read() == b"weights"
    assert bridge.requests == []


def test_what_is_not_here_comes_through_the_bridge(client: BridgeClient) -> None:
    ref = ArtifactRef(artifact_id=MODEL.artifact_id, uri="file:///nowhere/at/all")
    with ref.open(client=client) as content:
        assert content.read() == b"from the bridge"
    with pytest.raises(InputError, match="nothing here can read"):
        ref.open(client=client, via="store")


def test_the_bridge_can_be_insisted_on(tmp_path: Path, client: BridgeClient) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"weights")
    ref = ArtifactRef(artifact_id=MODEL.artifact_id, uri=path.as_uri())
    with ref.open(client=client, via="bridge") as content:
        assert content.read() == b"from the bridge"


def test_an_object_store_is_read_through_fsspec(client: BridgeClient, bridge: FakeBridge) -> None:
    import fsspec

    with fsspec.open("memory://models/m", "wb") as target:
        target.write(b"from the store")
    with ArtifactRef(artifact_id=MODEL.artifact_id, uri="memory://models/m").open(client=client) as content:
        assert content.read() == b"from the store"
    assert bridge.requests == []


def test_a_scheme_nobody_here_knows_goes_through_the_bridge(
    client: BridgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hidden in ("fsspec", None):
        if hidden:
            monkeypatch.setitem(sys.modules, hidden, None)
        ref = ArtifactRef(artifact_id=MODEL.artifact_id, uri="no-such-scheme://b/k")
        with ref.open(client=client) as content:
            assert content.read() == b"from the bridge"


def test_content_the_bridge_does_not_have_is_its_problem(client: BridgeClient) -> None:
    with pytest.raises(ProblemError, match="there is no content"):
        ArtifactRef(artifact_id=UUID(int=5)).open(client=client)
