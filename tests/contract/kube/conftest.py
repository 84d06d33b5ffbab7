from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bridge.kube.access import Access, KubeApi
from bridge.kube.watch import Change, WatchTiming, WorkflowWatch
from tests.support.fake_kubernetes import FakeKubernetes, serve_kubernetes

QUICK = WatchTiming(
    watch_seconds=20,
    first_backoff_seconds=0.02,
    longest_backoff_seconds=0.1,
    lasting_pause_seconds=0.1,
    read_grace_seconds=0,
)


def eventually(look: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Waits until ``look`` gives something true."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)


@dataclass
class Listener:
    """What a watch told, and the watch."""

    changes: list[Change] = field(default_factory=list)
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    watch: WorkflowWatch | None = None

    def tell(self, changes: Sequence[Change]) -> None:
        with self.lock:
            self.calls += 1
            self.changes += changes

    def phases(self) -> list[str]:
        return [change.phase for change in self.changes]


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with serve_kubernetes() as fake:
        yield fake


@pytest.fixture
def api(cluster: FakeKubernetes, tmp_path: Path) -> Iterator[KubeApi]:
    access = Access(kubeconfig=cluster.write_kubeconfig(tmp_path / "config"), timeout_seconds=5)
    found = KubeApi(access)
    yield found
    found.close()


Watching = Callable[..., Listener]


@pytest.fixture
def watching(api: KubeApi) -> Iterator[Watching]:
    """Starts watches and stops them at the end."""
    begun: list[WorkflowWatch] = []

    def begin(
        namespace: str | None = "kubeflow", timing: WatchTiming = QUICK, *, up: bool = True
    ) -> Listener:
        listener = Listener()
        listener.watch = WorkflowWatch(api, namespace, listener.tell, timing)
        begun.append(listener.watch)
        listener.watch.start()
        if up:
            eventually(lambda: listener.watch and listener.watch.health.healthy_since, "the watch is up", 30)
        return listener

    yield begin
    for watch in begun:
        assert watch.stop(5), "the watch did not stop"
