"""Which model is in production: a pointer beside the models, changed in one step."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from flights.settings import store_connection
from flights.storage import read_bytes, write_bytes

from bridge.client.refs import ArtifactRef

MODEL_KEY = "register.registered"
_CHUNK_BYTES = 1 << 20

log = logging.getLogger(__name__)


class RegistryError(RuntimeError):
    """The model that a run refers to is not there, or is not the one that the run made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was done about a run's model, and why; ``previous`` is what was in production before."""

    action: Literal["promoted", "kept"]
    reason: str
    model_uri: str
    previous: str | None


def pointer_uri(registry_uri: str, name: str) -> str:
    """The URI of the JSON file that names the model in production."""
    return f"{registry_uri.rstrip('/')}/{name}/production.json"


def read_pointer(uri: str) -> dict[str, Any] | None:
    """What is in production; ``None`` before anything was promoted."""
    content = read_bytes(uri)
    return None if content is None else dict(json.loads(content))


def act(reference: Mapping[str, Any], uri: str, now: datetime) -> Decision:
    """Promotes the model of a run whose gate passed, or keeps what is in production, and logs why.

    ``reference`` is what ``KubeflowPipelineOperator`` returned. Acting on the same run again changes
    nothing. Raises ``RegistryError`` if the run's model cannot be read or has another digest.
    """
    model = ArtifactRef.from_xcom(reference, MODEL_KEY)
    if model.uri is None:
        raise RegistryError(f"the run {reference['run_id']} names no URI for {MODEL_KEY}")
    production = read_pointer(uri)
    previous = None if production is None else str(production["model_uri"])
    passed, reason = _verdict(reference.get("gate"))
    if passed and production is not None and production["run_id"] == reference["run_id"]:
        decision = Decision(
            action="kept", reason="it is in production already", model_uri=model.uri, previous=previous
        )
    elif passed:
        digest = _verified_digest(model)
        pointer = _pointer(reference, model.uri, digest, previous, now)
        write_bytes(uri, json.dumps(pointer, indent=2, sort_keys=True).encode())
        decision = Decision(action="promoted", reason=reason, model_uri=model.uri, previous=previous)
    else:
        decision = Decision(action="kept", reason=reason, model_uri=model.uri, previous=previous)
    log.info("%s", describe(decision))
    return decision


def describe(decision: Decision) -> str:
    """The decision as one sentence."""
    if decision.action == "promoted":
        return (
            f"Promoted {decision.model_uri} in place of {decision.previous or 'nothing'}: {decision.reason}"
        )
    return f"Kept {decision.previous or 'nothing'} in production, not {decision.model_uri}: {decision.reason}"


def as_xcom(decision: Decision) -> dict[str, Any]:
    """The decision as JSON."""
    return asdict(decision)


def _verdict(gate: Mapping[str, Any] | None) -> tuple[bool, str]:
    if gate is None:
        return True, "the run has no gate"
    known = {name: value for name, value in (gate.get("numbers") or {}).items() if value is not None}
    numbers = ", ".join(f"{name} is {value:.6g}" for name, value in known.items()) or "no numbers"
    # A gate that could not be judged (None) promotes nothing.
    return gate.get("passed") is True, f"{gate['expression']}: {gate.get('reason')} ({numbers})"


def _verified_digest(model: ArtifactRef) -> str:
    digest = hashlib.sha256()
    try:
        with model.open(conn_id=store_connection()) as content:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise RegistryError(f"the model {model.uri} cannot be read: {error}") from error
    found = digest.hexdigest()
    if model.digest is not None and model.digest.removeprefix("sha256:") != found:
        raise RegistryError(f"the model {model.uri} has the digest {found}, the run made {model.digest}")
    return f"sha256:{found}"


def _pointer(
    reference: Mapping[str, Any], model_uri: str, digest: str, previous: str | None, now: datetime
) -> dict[str, Any]:
    return {
        "model_uri": model_uri,
        "digest": digest,
        "run_id": reference["run_id"],
        "kfp_run_id": reference["kfp_run_id"],
        "metrics": {
            key: value for key, value in reference.get("metrics", {}).items() if key.startswith("evaluate.")
        },
        "gate": reference.get("gate"),
        "promoted_at": now.isoformat(),
        "previous": previous,
    }
