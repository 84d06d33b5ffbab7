"""What a scheduler keeps of a run: a small reference, never content.

    {run_id, kfp_run_id, state, urls, outputs, metrics, gate,
     artifacts: {"task.key": {id, type, uri, digest, ref}}}

At most 32 KiB as JSON. What does not fit is left out by a fixed order and counted under ``omitted``,
with where to find it; models are the last artifacts to go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.client.models import ArtifactModel, MetricModel, MetricsModel, RunModel, TaskModel

MAX_REFERENCE_BYTES = 32 * 1024
_MAX_URL_CHARACTERS = 2048
_MAX_REASON_CHARACTERS = 1000
_MODEL_TYPE = "system.Model"
# Shares of what is left after the fixed part: neither outputs nor metrics may crowd out the artifacts.
_OUTPUTS_SHARE = 0.3
_METRICS_SHARE = 0.4
_OMITTED_RESERVE_BYTES = 200


def build_reference(
    run: RunModel,
    tasks: Sequence[TaskModel] = (),
    artifacts: Sequence[ArtifactModel] = (),
    metrics: MetricsModel | Sequence[MetricModel] = (),
) -> dict[str, Any]:
    """The reference of a run: JSON of at most 32 KiB, whatever the run holds.

    ``outputs`` are the pipeline's own output parameters (the root task's), ``artifacts`` what its
    tasks produced. Numbers that JSON does not know (NaN, infinities) are left out and counted.
    """
    reference = _fixed_part(run)
    scalars = metrics.scalars if isinstance(metrics, MetricsModel) else metrics
    sections = (
        ("outputs", _OUTPUTS_SHARE, _outputs(tasks)),
        ("metrics", _METRICS_SHARE, {metric.key: metric.value for metric in scalars}),
        ("artifacts", 1.0, _produced(run, artifacts)),
    )
    omitted: dict[str, Any] = {}
    for name, share, entries in sections:
        room = (MAX_REFERENCE_BYTES - _size(reference) - _OMITTED_RESERVE_BYTES) * share
        kept = _fitting(entries, room)
        reference[name] = kept
        if len(kept) < len(entries):
            omitted[name] = len(entries) - len(kept)
    if omitted:
        reference["omitted"] = {**omitted, "see": f"bridge://runs/{run.run_id}"}
    return reference


def _fixed_part(run: RunModel) -> dict[str, Any]:
    urls = run.links.model_dump(exclude_none=True)
    gate = run.gate.model_dump(mode="json") if run.gate else None
    if gate is not None:
        gate["reason"] = gate["reason"][:_MAX_REASON_CHARACTERS]
    return {
        "run_id": str(run.run_id),
        "kfp_run_id": str(run.kfp_run_id),
        "state": run.state,
        "urls": {name: url for name, url in urls.items() if len(url) <= _MAX_URL_CHARACTERS},
        "outputs": {},
        "metrics": {},
        "gate": gate,
        "artifacts": {},
    }


def _outputs(tasks: Iterable[TaskModel]) -> Mapping[str, Any]:
    return next((task.outputs for task in tasks if task.path == ""), {})


def _produced(run: RunModel, artifacts: Iterable[ArtifactModel]) -> dict[str, Any]:
    entries = {}
    for artifact in sorted(artifacts, key=lambda item: item.type != _MODEL_TYPE):
        for use in artifact.uses:
            if use.direction != "OUTPUT" or use.run_id != run.run_id or use.task_path == "":
                continue
            index = f"[{use.index}]" if use.index else ""
            entries[f"{use.task_path}.{use.key}{index}"] = {
                "id": str(artifact.artifact_id),
                "type": artifact.type,
                "uri": artifact.uri,
                "digest": artifact.digest,
                "ref": artifact.ref,
            }
    return entries


def _fitting(entries: Mapping[str, Any], room: float) -> dict[str, Any]:
    kept = {}
    for name, value in entries.items():
        size = _size({name: value})
        if size <= room:
            kept[name] = value
            room -= size
    return kept


def _size(value: Any) -> float:
    """The bytes of the value as JSON in its widest usual form; infinite if JSON cannot hold it."""
    try:
        return len(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError):
        return float("inf")
