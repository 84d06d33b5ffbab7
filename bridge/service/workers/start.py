"""Which workers a service process runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bridge.service.context import Context
from bridge.service.workers.cancel import CancelWorker
from bridge.service.workers.hold import DatabaseHold
from bridge.service.workers.mirror import MirrorWorker
from bridge.service.workers.sequencer import Sequencer
from bridge.service.workers.submit import SubmitWorker
from bridge.service.workers.supervisor import Supervisor
from bridge.service.workers.track import TrackWorker
from bridge.service.workers.watch import MetadataWatch


def make_supervisor(context: Context) -> Supervisor:
    """A supervisor for the sequencer and, per backend, the workers that submit, follow, mirror and stop."""
    workers: dict[str, Callable[[], Awaitable[None]]] = {
        "sequencer": Sequencer(context).run,
        "hold": DatabaseHold(context).run,
    }
    for name, backend in context.backends.items():
        workers[f"submit:{name}"] = SubmitWorker(context, backend).run
        workers[f"track:{name}"] = TrackWorker(context, backend).run
        workers[f"mirror:{name}"] = MirrorWorker(context, backend).run
        workers[f"watch:{name}"] = MetadataWatch(context, backend).run
        workers[f"cancel:{name}"] = CancelWorker(context, backend).run
    return Supervisor(workers)
