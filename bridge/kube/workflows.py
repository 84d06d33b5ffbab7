"""Argo Workflows on the wire: what is kept of one, pages of a list, lines of a watch.

Only metadata is asked for: a Workflow's manifest with the state of all its nodes can be a megabyte, and
would come with every change of every node. Argo repeats the phase in a label, and KFP says in another
that it has stored the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from bridge.kube.errors import KubeError, KubeGone

RUN_LABEL = "pipeline/runid"
PHASE_LABEL = "workflows.argoproj.io/phase"
COMPLETED_LABEL = "workflows.argoproj.io/completed"
STORED_LABEL = "pipeline/persistedFinalState"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
METADATA_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
# etcd keeps no object above 1.5 MB; what is longer than this is no event.
MAX_LINE_BYTES = 8 * 1024 * 1024
_FINISHED = frozenset({"Succeeded", "Failed", "Error"})


def workflows_path(namespace: str | None) -> str:
    """The path of the Workflows of a namespace, or of the whole cluster."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/argoproj.io/v1alpha1{where}/workflows"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a Workflow. ``stored`` says that KFP's own row has its end."""

    kfp_run_id: UUID
    phase: str
    finished_at: datetime | None
    finished: bool
    stored: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a list or a watch: its name in the cluster, and what is kept; ``None`` for one that
    carries no run id we could know."""

    key: str
    resource_version: str
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and its object."""

    type: str
    item: Item


class UnreadableLine(ValueError):
    """A line of a watch that is no event; the watch goes on."""


def item_of(manifest: Mapping[str, Any]) -> Item:
    """What is kept of an object, whole or metadata only. Raises ``UnreadableLine``."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        raise UnreadableLine("an object without metadata")
    key = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    return Item(key, str(metadata.get("resourceVersion") or ""), _seen(metadata, manifest.get("status")))


def read_event(line: bytes) -> WatchEvent:
    """The event of a line. Raises ``UnreadableLine``, for an ERROR ``KubeGone`` or ``KubeError``."""
    try:
        record = json.loads(line)
        kind, subject = record["type"], record["object"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableLine(f"{type(error).__name__}: {error}") from error
    if not isinstance(subject, dict):
        raise UnreadableLine("an event without an object")
    if kind == "ERROR":
        told = f"the watch ended with an error: {subject.get('message') or subject.get('reason')}"
        code = subject.get("code")
        if code == 410 or subject.get("reason") in ("Expired", "Gone"):
            raise KubeGone(told, status=410)
        raise KubeError(told, status=code if isinstance(code, int) else None)
    return WatchEvent(str(kind), item_of(subject))


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The whole lines of a chunked answer. A line that is cut off by the end is left out; one that is
    too long is given as its beginning, which no reader takes for an event."""
    kept = bytearray()
    skipping = False
    for chunk in chunks:
        *whole, rest = (bytes(kept) + chunk).split(b"\n")
        kept.clear()
        for line in whole:
            if skipping:
                skipping = False
            elif line.strip():
                yield line
        if skipping:
            continue
        if len(rest) > MAX_LINE_BYTES:
            yield rest[:100]
            skipping = True
            continue
        kept += rest


def _seen(metadata: Mapping[str, Any], status: object) -> Seen | None:
    labels = metadata.get("labels")
    labels = labels if isinstance(labels, dict) else {}
    try:
        identity = UUID(str(labels.get(RUN_LABEL, "")))
    except ValueError:
        return None
    state = status if isinstance(status, dict) else {}
    phase = str(labels.get(PHASE_LABEL) or state.get("phase") or "")
    return Seen(
        kfp_run_id=identity,
        phase=phase,
        finished_at=moment(state.get("finishedAt")),
        finished=labels.get(COMPLETED_LABEL) == "true" or phase in _FINISHED,
        stored=labels.get(STORED_LABEL) == "true",
    )


def moment(text: object) -> datetime | None:
    """A moment as Kubernetes writes it; ``None`` for none, or what is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
