"""Reads metrics out of a run's artifacts: scalars, ROC curves, confusion matrices. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.domain.lineage import Artifact, ArtifactUse, Direction, Metric, MetricBlob
from bridge.kfp_api.values import Cleaner

SCALARS = "system.Metrics"
CLASSIFICATION = "system.ClassificationMetrics"
_BLOB_KINDS: Mapping[str, str] = {"confidenceMetrics": "roc", "confusionMatrix": "confusion_matrix"}


def read_metrics(
    artifacts: Sequence[Artifact], current_task_ids: frozenset[str], cleaner: Cleaner
) -> tuple[tuple[Metric, ...], tuple[MetricBlob, ...]]:
    """The metrics that the given tasks put out.

    A name that a task gives twice, in two artifacts, is told apart by the artifact's key, for each of
    them: ``test_metrics.auc`` and ``train_metrics.auc``. Texts and objects become blobs of kind
    ``text``; a number that is not finite is left out (the cleaner has named it).
    """
    entries = [
        entry
        for artifact in artifacts
        for use in artifact.uses
        if use.direction is Direction.OUTPUT and use.task_id in current_task_ids
        for entry in _entries(artifact, use)
    ]
    seen = Counter((entry.use.task_path, entry.name, entry.kind) for entry in entries)
    metrics: dict[tuple[str, str], Metric] = {}
    blobs: dict[tuple[str, str, str], MetricBlob] = {}
    for entry in entries:
        path = entry.use.task_path
        name = entry.name if seen[path, entry.name, entry.kind] == 1 else entry.qualified_name
        if (path, name) in metrics or (path, name, entry.kind) in blobs:
            cleaner.warn(f"{path}.{name} is there more than once and was taken once")
        elif entry.kind is None:
            metrics[path, name] = Metric(task_path=path, name=name, value=float(entry.value))
        else:
            blobs[path, name, entry.kind] = MetricBlob(
                task_path=path, name=name, kind=entry.kind, content=entry.value
            )
    return tuple(metrics.values()), tuple(blobs.values())


@dataclass(frozen=True, slots=True)
class _Entry:
    use: ArtifactUse
    name: str
    kind: str | None
    value: Any

    @property
    def qualified_name(self) -> str:
        key = self.use.key if self.use.index == 0 else f"{self.use.key}[{self.use.index}]"
        return f"{key}.{self.name}"


def _entries(artifact: Artifact, use: ArtifactUse) -> Iterator[_Entry]:
    if artifact.type == SCALARS:
        for name, value in artifact.metadata.items():
            if isinstance(value, int | float):
                yield _Entry(use, name, None, value)
            elif value is not None:
                yield _Entry(use, name, "text", value)
    elif artifact.type == CLASSIFICATION:
        for name, kind in _BLOB_KINDS.items():
            content = artifact.metadata.get(name)
            if content:
                yield _Entry(use, use.key, kind, content)
