"""Acting on the gate's verdict: what is promoted, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flights import registry

NOW = datetime(2026, 1, 2, 2, 30, tzinfo=UTC)
CONTENT = b"PK a model"


@pytest.fixture
def pointer(tmp_path: Path) -> str:
    """The URI of the pointer to the model in production."""
    return registry.pointer_uri((tmp_path / "models").as_uri(), "flight-delay")


def _reference(folder: Path, passed: bool | None = True, **changes: Any) -> dict[str, Any]:
    run_id = str(uuid4())
    model = folder / run_id / "model.skops"
    model.parent.mkdir()
    model.write_bytes(CONTENT)
    artifact = {
        "id": str(uuid4()),
        "type": "system.Model",
        "uri": model.as_uri(),
        "digest": hashlib.sha256(CONTENT).hexdigest(),
    }
    return {
        "run_id": run_id,
        "kfp_run_id": str(uuid4()),
        "metrics": {"evaluate.auc": 0.75, "validate.rows": 3},
        "gate": {
            "expression": "evaluate.auc >= last_good - 0.01",
            "passed": passed,
            "numbers": {"evaluate.auc": 0.75, "last_good": 0.7},
            "reason": "met" if passed else "not met",
        },
        "artifacts": {"register.registered": {**artifact, **changes}},
    }


def test_a_passed_gate_promotes(tmp_path: Path, pointer: str) -> None:
    reference = _reference(tmp_path)
    decision = registry.act(reference, pointer, NOW)
    assert (decision.action, decision.previous) == ("promoted", None)
    written = registry.read_pointer(pointer)
    assert written is not None
    assert written["model_uri"] == reference["artifacts"]["register.registered"]["uri"]
    assert written["digest"] == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert written["metrics"] == {"evaluate.auc": 0.75}
    assert written["promoted_at"] == NOW.isoformat()
    assert json.loads(json.dumps(registry.as_xcom(decision))) == registry.as_xcom(decision)


@pytest.mark.parametrize("passed", [False, None])
def test_a_gate_that_did_not_pass_or_could_not_be_judged_keeps(
    tmp_path: Path, pointer: str, passed: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    first = registry.act(_reference(tmp_path), pointer, NOW)
    with caplog.at_level("INFO"):
        decision = registry.act(_reference(tmp_path, passed), pointer, NOW)
    assert (decision.action, decision.previous) == ("kept", first.model_uri)
    written = registry.read_pointer(pointer)
    assert written is not None
    assert written["model_uri"] == first.model_uri
    assert f"Kept {first.model_uri} in production" in caplog.text
    assert "last_good - 0.01: not met (evaluate.auc is 0.75, last_good is 0.7)" in caplog.text


def test_nothing_good_yet_means_nothing_in_production(tmp_path: Path, pointer: str) -> None:
    assert registry.act(_reference(tmp_path, False), pointer, NOW).action == "kept"
    assert registry.read_pointer(pointer) is None


def test_a_run_without_a_gate_promotes(tmp_path: Path, pointer: str) -> None:
    decision = registry.act({**_reference(tmp_path), "gate": None}, pointer, NOW)
    assert (decision.action, decision.reason) == ("promoted", "the run has no gate")


def test_the_pointer_remembers_what_it_replaced(tmp_path: Path, pointer: str) -> None:
    first = registry.act(_reference(tmp_path), pointer, NOW)
    second = registry.act(_reference(tmp_path), pointer, NOW)
    assert second.previous == first.model_uri
    written = registry.read_pointer(pointer)
    assert written is not None
    assert (written["model_uri"], written["previous"]) == (second.model_uri, first.model_uri)


def test_acting_on_the_same_run_again_changes_nothing(tmp_path: Path, pointer: str) -> None:
    reference = _reference(tmp_path)
    registry.act(reference, pointer, NOW)
    before = registry.read_pointer(pointer)
    again = registry.act(reference, pointer, datetime(2026, 1, 3, tzinfo=UTC))
    assert (again.action, again.reason) == ("kept", "it is in production already")
    assert registry.read_pointer(pointer) == before


@pytest.mark.parametrize("digest", ["0" * 64, "sha256:" + "0" * 64])
def test_a_model_that_is_not_what_the_run_made_is_not_promoted(
    tmp_path: Path, pointer: str, digest: str
) -> None:
    with pytest.raises(registry.RegistryError, match="has the digest"):
        registry.act(_reference(tmp_path, digest=digest), pointer, NOW)
    assert registry.read_pointer(pointer) is None


def test_a_model_without_a_known_digest_is_measured(tmp_path: Path, pointer: str) -> None:
    assert registry.act(_reference(tmp_path, digest=None), pointer, NOW).action == "promoted"


def test_a_reference_without_a_uri_is_refused(tmp_path: Path, pointer: str) -> None:
    reference = _reference(tmp_path, uri=None, ref=f"bridge://artifacts/{uuid4()}")
    with pytest.raises(registry.RegistryError, match=r"names no URI for register\.registered"):
        registry.act(reference, pointer, NOW)
