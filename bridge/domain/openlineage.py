"""The words of OpenLineage (core 2-0-2) that the bridge speaks: ids, names of datasets, facets, events."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from bridge.domain.identity import LineageParent, utc_text
from bridge.domain.uris import normalise_uri

RUN_EVENT_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"


def static_run_id(instant: datetime, data: str) -> UUID:
    """The id that OpenLineage's clients derive from a moment and a text: a UUID of version 7 whose random
    part is the head of a SHA-1 over both."""
    moment = instant.astimezone(UTC)
    milliseconds = int(moment.timestamp() * 1000) & (2**48 - 1)
    digest = hashlib.sha1(moment.isoformat().encode() + data.encode(), usedforsecurity=False).digest()
    tail = int.from_bytes(digest, "big") >> 84
    without_variant = milliseconds << 80 | 7 << 76 | tail & ~(0b11 << 62)
    return UUID(int=without_variant | 0b10 << 62)


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name of a dataset as OpenLineage's naming rules want them.

    Raises ``ValueError`` for what is neither a URI with a scheme nor an absolute path.
    """
    normal = normalise_uri(uri)
    parts = urlsplit(normal)
    if parts.scheme == "file" and not parts.netloc:
        return "file", unquote(parts.path)
    if parts.netloc and parts.path.strip("/") and not parts.query and not parts.fragment:
        return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    return parts.scheme or "uri", normal


def facet(producer: str, schema: str, **values: Any) -> dict[str, Any]:
    """A facet of the specification; ``schema`` is its version and name: ``1-2-0/ParentRunFacet``."""
    name = schema.split("/")[1]
    return {"_producer": producer, "_schemaURL": f"{_FACETS}/{schema}.json#/$defs/{name}", **values}


def own_facet(producer: str, schema: str, **values: Any) -> dict[str, Any]:
    """A facet that the specification does not have; ``schema`` is its URN."""
    return {"_producer": producer, "_schemaURL": schema, **values}


def parent_facet(
    producer: str, run_id: UUID, namespace: str, job: str, root: tuple[UUID, str, str] | None = None
) -> dict[str, Any]:
    """The facet ``parent``; ``root`` is run id, namespace and job, the parent's own if left out.

    Everything is a field of its own: a namespace with a slash in it could not be taken apart again.
    """
    return facet(
        producer,
        "1-2-0/ParentRunFacet",
        **_hierarchy(run_id, namespace, job),
        root=_hierarchy(*(root or (run_id, namespace, job))),
    )


def asking_task_facet(producer: str, parent: LineageParent) -> dict[str, Any]:
    """The facet ``parent`` of a run that a task of a scheduler asked for."""
    root = (parent.root_run_id, parent.root_namespace, parent.root_job)
    return parent_facet(producer, parent.run_id, parent.namespace, parent.job, root)


def run_event(
    event_type: str,
    at: datetime,
    *,
    producer: str,
    run_id: UUID,
    namespace: str,
    job: str,
    run_facets: Mapping[str, Any],
    job_facets: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]] = (),
    outputs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A RunEvent, ready to be JSON."""
    return {
        "eventType": event_type,
        "eventTime": utc_text(at),
        "producer": producer,
        "schemaURL": RUN_EVENT_SCHEMA,
        "run": {"runId": str(run_id), "facets": dict(run_facets)},
        "job": {"namespace": namespace, "name": job, "facets": dict(job_facets)},
        "inputs": [dict(one) for one in inputs],
        "outputs": [dict(one) for one in outputs],
    }


def _hierarchy(run_id: UUID, namespace: str, job: str) -> dict[str, Any]:
    return {"run": {"runId": str(run_id)}, "job": {"namespace": namespace, "name": job}}
