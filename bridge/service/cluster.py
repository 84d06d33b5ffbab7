"""The Kubernetes cluster behind a backend, as far as this process asks it: access, watches, health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bridge.kube.access import Access, KubeApi
from bridge.kube.pods import PodReader
from bridge.kube.watch import Change, WatchHealth, WatchTiming, WorkflowWatch
from bridge.service.kube_settings import KubernetesSettings


@dataclass(slots=True)
class Cluster:
    """What this process remembers of the cluster. Made with the backend, also when no process watches yet."""

    settings: KubernetesSettings
    namespaces: tuple[str | None, ...]
    api: KubeApi
    pods: PodReader
    watches: list[WorkflowWatch] = field(default_factory=list)
    lag_seconds: float | None = None
    pods_off_because: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether every namespace is watched at this moment: then sweeps may be slower."""
        return bool(self.watches) and all(watch.health.healthy_since for watch in self.watches)

    def start(self, tell: Callable[[Sequence[Change]], None]) -> None:
        """Begin to watch every namespace; ``tell`` is called from the watches' threads."""
        timing = WatchTiming(watch_seconds=self.settings.watch_seconds)
        for namespace in self.namespaces:
            watch = WorkflowWatch(self.api, namespace, tell, timing)
            self.watches.append(watch)
            watch.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Stop watching; blocks. Whether every thread ended in time."""
        for watch in self.watches:
            # All are told before any is waited for.
            watch.stop(0)
        stopped = [watch.stop(timeout_seconds / len(self.watches)) for watch in self.watches]
        self.watches.clear()
        self.api.close()
        return all(stopped)

    def facts(self) -> dict[str, Any]:
        """How the watch gets on, as JSON: what ``/status`` tells, also of another process."""
        healths = [watch.health for watch in self.watches]
        return {
            "state": _state(healths),
            "namespaces": [namespace or "*" for namespace in self.namespaces],
            "healthy_since": _text(max((h.healthy_since for h in healths if h.healthy_since), default=None)),
            "off_because": next((h.off_because for h in healths if h.off_because), None),
            "last_error": next((h.last_error for h in healths if h.last_error), None),
            "last_heard_at": _text(max((h.last_heard_at for h in healths if h.last_heard_at), default=None)),
            "lag_seconds": None if self.lag_seconds is None else round(self.lag_seconds, 3),
            "restarts": sum(h.restarts for h in healths),
            "lists": sum(h.lists for h in healths),
            "events": sum(h.events for h in healths),
            "unreadable": sum(h.unreadable for h in healths),
            "pods_off_because": self.pods_off_because,
        }


def open_cluster(settings: KubernetesSettings, namespaces: tuple[str, ...]) -> Cluster | None:
    """The cluster of a backend with these namespaces; ``None`` if it is not to be asked."""
    if not settings.enabled:
        return None
    access = Access(
        kubeconfig=settings.kubeconfig,
        context=settings.context,
        service_account_dir=settings.service_account_dir,
        timeout_seconds=settings.timeout_seconds,
    )
    watched = settings.watched(namespaces)
    api = KubeApi(access)
    return Cluster(settings=settings, namespaces=watched, api=api, pods=PodReader(api, watched))


def _state(healths: Sequence[WatchHealth]) -> str:
    if not healths:
        return "idle"
    if any(health.off_because for health in healths):
        return "off"
    if all(health.healthy_since for health in healths):
        return "healthy"
    return "reconnecting" if any(health.last_error for health in healths) else "starting"


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
