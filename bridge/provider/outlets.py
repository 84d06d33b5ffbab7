"""Asset events with a run's facts, so that a downstream DAG is scheduled by what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from bridge.domain.states import RuntimeState, parse_state

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import ArtifactModel, MetricModel, RunModel

MAX_FACTS = 100
MODEL_TYPE = "system.Model"
# Airflow keeps an asset's URI in a column of this length.
_MAX_ASSET_URI = 1500


def run_facts(
    run: RunModel,
    artifacts: Sequence[ArtifactModel],
    metrics: Sequence[MetricModel],
    *,
    unchanged: bool = False,
) -> dict[str, Any]:
    """What an asset event says of the run that updated the asset; bounded, JSON values only.

    ``unchanged`` says that the run was made for another task instance, since when nothing changed.
    """
    return {
        "run_id": str(run.run_id),
        "kfp_run_id": str(run.kfp_run_id),
        "state": run.state,
        "good": run.good,
        "unchanged": unchanged,
        "pipeline": run.pipeline.name,
        "pipeline_digest": run.pipeline.digest,
        "metrics": {metric.key: metric.value for metric in metrics[:MAX_FACTS]},
        "models": model_facts(artifacts),
        "gate": None if run.gate is None else run.gate.model_dump(mode="json"),
        "url": run.links.bridge,
    }


def model_facts(artifacts: Sequence[ArtifactModel]) -> list[dict[str, Any]]:
    """The models that the run's tasks wrote."""
    return [
        {"key": key, "uri": artifact.uri, "digest": artifact.digest, "ref": artifact.ref}
        for artifact in artifacts
        if artifact.type == MODEL_TYPE
        for key in [written_as(artifact)]
        if key is not None
    ][:MAX_FACTS]


def tell_outlets(context: Context, facts: Mapping[str, Any]) -> None:
    """Puts the facts into the events of the task's outlets.

    An ``AssetAlias`` gets an event for each model of a good run: its asset is the model's URI. For a run
    that this task did not make, ``facts["unchanged"]``, it gets none: its models are no news.
    """
    for outlet in context["outlets"]:
        if isinstance(outlet, AssetAlias):
            _tell_alias(context, outlet, facts)
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(facts)


def _tell_alias(context: Context, alias: AssetAlias, facts: Mapping[str, Any]) -> None:
    if facts["unchanged"] or not facts["good"] or parse_state(facts["state"]) is not RuntimeState.SUCCEEDED:
        return
    for model in facts["models"]:
        uri = model["uri"]
        if uri and len(uri) <= _MAX_ASSET_URI and uri.isascii():
            context["outlet_events"][alias].add(Asset(uri=uri, name=uri), extra={**facts, "model": model})


def written_as(artifact: ArtifactModel) -> str | None:
    """The ``task.key`` under which the artifact was produced, ``None`` if it was only read."""
    for use in artifact.uses:
        if use.direction == "OUTPUT":
            return f"{use.task_path}.{use.key}" if use.task_path else use.key
    return None
