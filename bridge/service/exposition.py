"""``/metrics``: the status in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bridge.client.status import BackendStatus, StatusModel

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(status: StatusModel) -> str:
    """The status as gauges; what is unknown is left out."""
    lines: list[str] = []
    for name, meaning, samples in _gauges(status):
        told = [f"kfbridge_{name}{_labels(labels)} {value:g}" for labels, value in samples]
        if told:
            lines += [f"# HELP kfbridge_{name} {meaning}", f"# TYPE kfbridge_{name} gauge", *told]
    return "\n".join(lines) + "\n"


def _gauges(status: StatusModel) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    info = {"version": status.version, "database": status.database}
    yield "info", "The bridge that answers.", [(info, 1.0)]
    yield "workers", "Workers that run in this process.", [({}, float(status.workers))]
    yield "read_only", "Whether the database's disk is full.", [({}, float(status.read_only is not None))]
    yield "mirror_backlog", "Runs whose mirror is owed.", [({}, float(status.mirror_backlog))]
    backends = status.backends
    yield "backend_reachable", "Whether the backend answers.", _each(backends, "reachable")
    yield "backend_active_runs", "Runs that are followed there.", _each(backends, "active_runs")
    yield "backend_queued_runs", "Runs that wait to be sent there.", _each(backends, "queued_runs")
    yield "backend_quarantined", "Work that is set aside.", _each(backends, "quarantined")
    yield "backend_tick_seconds", "The pause between two sweeps.", _each(backends, "tick_seconds")
    yield (
        "backend_sweep_seconds",
        "How long the last sweep took there.",
        _each(backends, "last_sweep_seconds"),
    )
    circuits = [(_of(one), float(one.circuit != "closed")) for one in backends]
    yield "backend_circuit_open", "Whether it is spared because it does not answer.", circuits
    yield "backend_held_seconds", "How long nothing is sent there yet.", _each(backends, "held_seconds")
    paused = [(_of(one), float(one.switch is not None)) for one in backends]
    yield "backend_paused", "Whether a person has nothing new sent there.", paused
    imports = [(_of(one), float(one.history.seen)) for one in backends if one.history]
    yield "backend_imported_runs", "Old runs that were looked at.", imports
    queues = [({**_of(one), "project": queue.project}, queue) for one in backends for queue in one.queues]
    yield (
        "queue_runs",
        "Runs of a project that wait.",
        [(labels, float(one.waiting)) for labels, one in queues],
    )
    yield (
        "queue_active_runs",
        "Places that a project has.",
        [(labels, float(one.active)) for labels, one in queues],
    )
    oldest = [(labels, one.oldest_seconds) for labels, one in queues if one.oldest_seconds is not None]
    yield "queue_oldest_seconds", "How long the first of them has waited.", oldest
    events = status.outbox
    yield "outbox_last_number", "The newest number of an event.", [({}, float(events.last_number))]
    yield "outbox_unnumbered_events", "Events without a number yet.", [({}, float(events.unnumbered))]
    yield "outbox_oldest_seconds", "How long the first of them waits.", [({}, events.oldest_seconds or 0.0)]
    if (consumer := status.openlineage) is not None:
        yield "openlineage_unread_events", "Events not looked at yet.", [({}, float(consumer.unread_events))]
        yield "openlineage_waiting_runs", "Runs of which it is owed.", [({}, float(consumer.waiting_runs))]
        yield "openlineage_dead_runs", "Runs that were given up.", [({}, float(consumer.dead_runs))]


def _each(backends: Iterable[BackendStatus], field: str) -> list[Sample]:
    values = [(_of(one), getattr(one, field)) for one in backends]
    return [(labels, float(value)) for labels, value in values if value is not None]


def _of(backend: BackendStatus) -> dict[str, str]:
    return {"backend": backend.name}


def _labels(labels: dict[str, str]) -> str:
    told = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""
