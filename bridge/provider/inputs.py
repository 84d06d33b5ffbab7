"""The data that a submission names: assets, URIs and XCom references as URIs in known versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from bridge.client.models import InputModel
from bridge.domain.uris import normalise_uri
from bridge.provider.origin import consumed_events, event_producer

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import OriginModel

_FACTS = ("uri", "version", "version_kind", "rows", "bytes")


def assets_in(inputs: Any) -> list[Asset]:
    """The assets that stand in the values of ``inputs``, each once."""
    found: dict[str, Asset] = {}
    if isinstance(inputs, Mapping):
        for value in inputs.values():
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, Asset):
                    found[item.uri] = item
    return list(found.values())


def resolve_inputs(inputs: Mapping[str, Any], context: Context) -> list[InputModel]:
    """Each input as URI and version, in the order given; one URI stands once under one name.

    An asset is what the DagRun consumed of it: the partitions that its asset events tell, or their
    URI and version. If the DagRun consumed none, its newest event counts, and without any the
    asset's own URI, whose version is then measured where it can be.
    """
    resolved: dict[tuple[str, str], InputModel] = {}
    for name, value in inputs.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            for model in _resolve(name, item, context):
                resolved[name, model.uri] = model
    return list(resolved.values())


def _resolve(name: str, value: Any, context: Context) -> Iterator[InputModel]:
    if not isinstance(value, Asset):
        yield from _versions(name, value, None)
        return
    events = [e for e in consumed_events(context) if _same_place(e.asset.uri, value.uri)]
    for event in events or _newest_event(value, context):
        yield from _versions(name, _facts_of(event, value.uri), event_producer(event))
    if not events and not _newest_event(value, context):
        yield from _versions(name, value.uri, None)


def _versions(name: str, value: Any, producer: OriginModel | None) -> Iterator[InputModel]:
    from bridge.client.inputs import resolve_input

    given: Any = value
    if isinstance(value, Mapping) and isinstance(value.get("partitions"), Sequence):
        given = [_only_facts(partition) for partition in value["partitions"]]
    for version in resolve_input(name, given):
        yield InputModel(
            name=version.name,
            uri=version.uri,
            version=version.version,
            version_kind=version.version_kind,
            rows=version.rows,
            bytes=version.bytes,
            producer=producer,
        )


def _facts_of(event: Any, uri: str) -> Any:
    extra = event.extra or {}
    if extra.get("partitions"):
        return {"partitions": extra["partitions"]}
    facts = _only_facts(extra)
    return {"uri": uri, **facts} if facts else uri


def _only_facts(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {key: values[key] for key in _FACTS if values.get(key) is not None}


def _newest_event(asset: Asset, context: Context) -> list[Any]:
    """The asset's newest event as a list of one, empty if it has none or is no inlet of the task."""
    try:
        events = context["inlet_events"][asset]
    except KeyError:
        return []
    if isinstance(events, list):  # Airflow 3.1, oldest first
        return events[-1:]
    return list(events.ascending(False).limit(1))


def _same_place(left: str, right: str) -> bool:
    return left == right or normalise_uri(left) == normalise_uri(right)
