"""Which background work a service process does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bridge.service.consumer import Circuit
from bridge.service.context import Context
from bridge.service.workers.cancel import CancelWorker
from bridge.service.workers.content import ContentWorker
from bridge.service.workers.deliver import Deliverer
from bridge.service.workers.emit import EmissionNoter, EmitWorker
from bridge.service.workers.history import HistoryImport
from bridge.service.workers.hold import DatabaseHold
from bridge.service.workers.kube_watch import KubeWatch
from bridge.service.workers.mirror import MirrorWorker
from bridge.service.workers.orphans import OrphanWorker
from bridge.service.workers.retention import RetentionWorker
from bridge.service.workers.sequencer import Sequencer
from bridge.service.workers.submit import SubmitWorker
from bridge.service.workers.supervisor import Supervisor
from bridge.service.workers.track import TrackWorker
from bridge.service.workers.usage import UsageCounter
from bridge.service.workers.waiting import WaitingPods
from bridge.service.workers.watch import MetadataWatch

Work = Callable[[], Awaitable[None]]


def make_supervisor(context: Context, also: Mapping[str, Work] | None = None) -> Supervisor:
    """A supervisor for the process's background work: ``also``, the hold on the database if this
    process has one, and, if the settings want workers, those that submit, follow, mirror and stop."""
    work: dict[str, Work] = dict(also or {})
    if context.holds_database:
        work["hold"] = DatabaseHold(context).run
    if context.settings.workers:
        work |= _workers(context)
    return Supervisor(work)


def _workers(context: Context) -> dict[str, Work]:
    work: dict[str, Work] = {"sequencer": Sequencer(context).run, "deliver": Deliverer(context).run}
    work["usage"] = UsageCounter(context).run
    if not context.settings.retention.keeps_everything:
        work["retention"] = RetentionWorker(context).run
    consumer = context.settings.openlineage
    circuit = Circuit()
    if consumer is not None:
        work["openlineage"] = EmissionNoter(context).run
    for name, backend in context.backends.items():
        if consumer is not None:
            work[f"emit:{name}"] = EmitWorker(context, backend, consumer, circuit).run
        work[f"submit:{name}"] = SubmitWorker(context, backend).run
        tracker = TrackWorker(context, backend)
        work[f"track:{name}"] = tracker.run
        work[f"history:{name}"] = HistoryImport(context, backend, tracker).run
        work[f"mirror:{name}"] = MirrorWorker(context, backend).run
        work[f"watch:{name}"] = MetadataWatch(context, backend).run
        work[f"cancel:{name}"] = CancelWorker(context, backend).run
        work[f"content:{name}"] = ContentWorker(context, backend).run
        if backend.cluster is not None:
            work[f"kube:{name}"] = KubeWatch(context, backend, backend.cluster).run
            work[f"waiting:{name}"] = WaitingPods(context, backend, backend.cluster).run
        if context.settings.orphan_after_seconds is not None:
            orphans = OrphanWorker(context, backend, context.settings.orphan_after_seconds)
            work[f"orphans:{name}"] = orphans.run
    return work
