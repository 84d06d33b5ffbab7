"""For ETL tasks: saying exactly which partitions, in which version, they have written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

from bridge.client.errors import BridgeError
from bridge.client.models import InputModel
from bridge.domain.uris import normalise_uri
from bridge.provider.hooks import DEFAULT_CONN_ID, KubeflowBridgeHook
from bridge.provider.openlineage import outputs_event
from bridge.provider.origin import build_origin

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

Partition = Sequence[Any] | Mapping[str, Any] | str
# What an asset event may carry: Airflow reads it whole for each DagRun that it triggers.
MAX_PARTITIONS_IN_EVENT = 1000
_PATIENCE_SECONDS = 5.0
_TIMEOUT_SECONDS = 10.0


def publish_dataset(
    context: Context,
    asset_or_uri: Asset | str,
    *,
    partitions: Sequence[Partition] = (),
    kfbridge_conn_id: str = DEFAULT_CONN_ID,
) -> dict[str, Any]:
    """Records what this task wrote, in the asset's event and at the bridge; returns the event's ``extra``.

    ``asset_or_uri`` is an outlet of the task. A partition is ``(uri, version, rows, bytes)``, of which all
    but the first may be ``None`` or left out, or a mapping with these names and ``version_kind``; without
    partitions the dataset itself was written. A version that is not given is measured for files on this
    machine: their sha256.

    The event's ``extra`` is what ``inputs={…: Asset}`` of ``KubeflowPipelineOperator`` reads. A bridge that
    is away fails nothing: the event carries the same facts, and a warning is logged.
    """
    uri = asset_or_uri.uri if isinstance(asset_or_uri, Asset) else normalise_uri(asset_or_uri)
    written = _measure(partitions or [uri])
    extra = _extra(context, uri, written)
    _tell_asset(context, asset_or_uri, uri, extra)
    _tell_bridge(context, written, kfbridge_conn_id)
    return extra


def _measure(partitions: Sequence[Partition]) -> list[InputModel]:
    from bridge.client.inputs import resolve_input, to_message

    return [to_message(found) for item in partitions for found in resolve_input("output", _facts(item))]


def _facts(partition: Partition) -> Any:
    if isinstance(partition, str | Mapping):
        return partition
    uri, version, rows, size = [*partition, None, None, None][:4]
    return {"uri": uri, "version": version, "rows": rows, "bytes": size}


def _extra(context: Context, uri: str, written: Sequence[InputModel]) -> dict[str, Any]:
    facts = [
        item.model_dump(mode="json", exclude={"name", "producer"}, exclude_none=True) for item in written
    ]
    extra: dict[str, Any] = {"uri": uri, "try_number": context["ti"].try_number}
    if len(facts) == 1 and facts[0]["uri"] == normalise_uri(uri):
        extra |= facts[0]
    elif len(facts) <= MAX_PARTITIONS_IN_EVENT:
        extra["partitions"] = facts
    else:
        # Then the consumer takes the dataset as a whole; the bridge knows every partition.
        extra["partition_count"] = len(facts)
    counts = [item.rows for item in written]
    if None not in counts:
        extra["rows"] = sum(count for count in counts if count is not None)
    return extra


def _tell_asset(context: Context, asset_or_uri: Asset | str, uri: str, extra: Mapping[str, Any]) -> None:
    for outlet in context["outlets"]:
        if isinstance(outlet, Asset) and (
            outlet == asset_or_uri or normalise_uri(outlet.uri) == normalise_uri(uri)
        ):
            context["outlet_events"][outlet].extra.update(extra)
            return
    log.warning("%s is no outlet of this task: no asset event will tell of it. Add it to outlets=[…].", uri)


def _tell_bridge(context: Context, written: Sequence[InputModel], conn_id: str) -> None:
    try:
        settings = KubeflowBridgeHook(conn_id).get_settings()
        event = outputs_event(context, build_origin(context, deployment=settings.deployment), written)
        with settings.client(timeout_seconds=_TIMEOUT_SECONDS, patience_seconds=_PATIENCE_SECONDS) as client:
            client.post_lineage(event)
    except (BridgeError, AirflowException, AirflowRuntimeError, ValueError, OSError) as error:
        log.warning("The bridge was not told what this task wrote (the asset's event carries it): %s", error)
    else:
        log.info("The bridge knows of %d dataset versions that this task wrote.", len(written))
