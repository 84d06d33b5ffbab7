"""For tasks downstream of the operator: what its XCom refers to."""

from __future__ import annotations

from typing import IO, Any

from bridge.client.refs import ArtifactRef
from bridge.provider.hooks import DEFAULT_CONN_ID, KubeflowBridgeHook

__all__ = ["ArtifactRef", "gate_passed", "open_artifact"]


def open_artifact(
    reference: Any, key: str | None = None, *, kfbridge_conn_id: str = DEFAULT_CONN_ID
) -> IO[bytes]:
    """The content of an artifact that an XCom of the operator names, opened for reading.

    ``key`` is ``task.output`` such as ``train.model``; it may be left out where the run has one artifact,
    or one model. Read where it lies if that can be reached from here, else through the bridge.
    """
    with KubeflowBridgeHook(kfbridge_conn_id).get_conn() as client:
        return ArtifactRef.from_xcom(reference, key).open(client=client)


def gate_passed(reference: Any) -> bool:
    """Whether the run that an XCom of the operator names had no gate, or one that passed."""
    gate = reference.get("gate")
    return gate is None or gate.get("passed") is True
