"""List-and-watch of Argo Workflows, in a thread for each namespace.

A list says where the Workflows stand, a watch from its resource version what changes; a watch that ends is
begun again where it stopped, one whose version is too old begins with a list. What is told is edges, and
edges get lost: whoever listens must be right without them.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bridge.kube.access import KubeApi
from bridge.kube.errors import LASTING, KubeError, KubeGone
from bridge.kube.workflows import (
    METADATA_LIST,
    METADATA_ONE,
    RUN_LABEL,
    Item,
    Seen,
    UnreadableLine,
    item_of,
    lines,
    read_event,
    workflows_path,
)

log = logging.getLogger(__name__)

_PAGE_SIZE = 500
_MAX_PAGES = 2000
# Of Workflows that go on, what is remembered; each takes some hundred bytes.
_MAX_REMEMBERED = 100_000
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
# A Role, a CRD or a kubeconfig can be put right while the bridge runs.
_LASTING_PAUSE_SECONDS = 300.0
_READ_GRACE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Change:
    """A Workflow changed its phase, KFP stored its end, or it is gone. ``listed``: a list told it, so it
    may have happened long ago."""

    kfp_run_id: UUID
    phase: str
    finished: bool
    stored: bool
    gone: bool = False
    listed: bool = False


@dataclass(slots=True)
class WatchHealth:
    """How one namespace's watch gets on. ``off_because`` is what a person has to put right."""

    namespace: str | None
    healthy_since: datetime | None = None
    off_because: str | None = None
    last_error: str | None = None
    last_heard_at: datetime | None = None
    restarts: int = 0
    lists: int = 0
    events: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTiming:
    """How long one watch request is kept open, and how pauses after errors grow; seconds."""

    watch_seconds: float = 60.0
    first_backoff_seconds: float = _FIRST_BACKOFF_SECONDS
    longest_backoff_seconds: float = _LONGEST_BACKOFF_SECONDS
    lasting_pause_seconds: float = _LASTING_PAUSE_SECONDS
    read_grace_seconds: float = _READ_GRACE_SECONDS
    shortest_watch_seconds: float = 0.5


@dataclass(slots=True)
class _Known:
    """The Workflows of a namespace that go on, by name in the cluster: run id and phase, no more."""

    phases: dict[str, Seen] = field(default_factory=dict)

    def update(self, item: Item, *, gone: bool = False, listed: bool = False) -> Change | None:
        """What is new about a Workflow; ``None`` if nothing is."""
        before = self.phases.get(item.key)
        seen = item.seen or before
        if seen is None:
            return None
        if gone or (seen.finished and seen.stored):
            self.phases.pop(item.key, None)
        elif item.key in self.phases or len(self.phases) < _MAX_REMEMBERED:
            self.phases[item.key] = seen
        if not gone and before is not None and _same(before, seen):
            return None
        return Change(seen.kfp_run_id, seen.phase, seen.finished, seen.stored, gone, listed)


class WorkflowWatch:
    """Watches the Workflows of one namespace (``None``: of the cluster) until it is stopped.

    ``tell`` is called from the watch's own thread, with what changed and whenever the health did.
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str | None,
        tell: Callable[[Sequence[Change]], None],
        timing: WatchTiming | None = None,
    ) -> None:
        self.health = WatchHealth(namespace)
        self._api = api
        self._tell = tell
        self._timing = timing or WatchTiming()
        self._known = _Known()
        self._version: str | None = None
        self._stop = threading.Event()
        self._answer: Any = None
        self._thread = threading.Thread(
            target=self._run, name=f"workflow-watch-{namespace or 'cluster'}", daemon=True
        )

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Stop watching; whether the thread ended in time."""
        self._stop.set()
        _hang_up(self._answer)
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._round()
                # A watch that ends as soon as it begins is an error that nobody calls so.
                at_once = time.monotonic() - began < self._timing.shortest_watch_seconds
                failures = failures + 1 if at_once else 0
                pause = self._backoff(failures) if at_once else 0.0
            except KubeGone as error:
                self._version = None
                failures += 1
                # The first expiry is everyday life; a server that lets every version expire is not.
                pause = 0.0 if failures == 1 else self._backoff(failures)
                self._note_error(error, lasting=False)
            except Exception as error:
                lasting = isinstance(error, LASTING)
                failures = (
                    1 if time.monotonic() - began > self._timing.longest_backoff_seconds else failures + 1
                )
                pause = self._timing.lasting_pause_seconds if lasting else self._backoff(failures)
                self._note_error(error, lasting=lasting)
            self._stop.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311

    def _round(self) -> None:
        if self._version is None:
            self._list()
        self._watch()

    def _list(self) -> None:
        """Every page of a list: the resource version to watch from, and what changed since the last."""
        path, token = workflows_path(self.health.namespace), None
        present: set[str] = set()
        version = ""
        for _ in range(_MAX_PAGES):
            page = self._api.get(
                path,
                {"labelSelector": RUN_LABEL, "limit": _PAGE_SIZE, "continue": token},
                accept=METADATA_LIST,
            )
            metadata = page.get("metadata") or {}
            version = str(metadata.get("resourceVersion") or version)
            items = [item_of(one) for one in page.get("items") or ()]
            present |= {item.key for item in items}
            self._pass_on([self._known.update(item, listed=True) for item in items])
            token = metadata.get("continue") or None
            if token is None or self._stop.is_set():
                break
        self.health.lists += 1
        gone = [Item(key, "", seen) for key, seen in self._known.phases.items() if key not in present]
        self._pass_on([self._known.update(item, gone=True, listed=True) for item in gone])
        self._version = version

    def _watch(self) -> None:
        seconds = self._timing.watch_seconds
        query = {
            "labelSelector": RUN_LABEL,
            "watch": True,
            "resourceVersion": self._version,
            "allowWatchBookmarks": True,
            # With some spread, so that the watches of several namespaces do not end at the same time.
            "timeoutSeconds": max(1, round(seconds * random.uniform(0.9, 1.0))),  # noqa: S311
        }
        path = workflows_path(self.health.namespace)
        silence = seconds + self._timing.read_grace_seconds
        with self._api.open(path, query, accept=METADATA_ONE, read_seconds=silence) as answer:
            self._answer = answer
            if self._stop.is_set():
                return
            self._note_healthy()
            try:
                for line in lines(answer.stream(65536, decode_content=True)):
                    self._take(line)
                    if self._stop.is_set():
                        return
            finally:
                self._answer = None

    def _take(self, line: bytes) -> None:
        self.health.last_heard_at = datetime.now(UTC)
        try:
            event = read_event(line)
        except UnreadableLine as error:
            self.health.unreadable += 1
            log.warning("unreadable line in a watch", extra={"error": str(error)[:200]})
            return
        self._version = event.item.resource_version or self._version
        if event.type == "BOOKMARK":
            return
        self.health.events += 1
        self._pass_on([self._known.update(event.item, gone=event.type == "DELETED")])

    def _pass_on(self, changes: Sequence[Change | None]) -> None:
        news = [change for change in changes if change is not None]
        if news:
            self._tell(news)

    def _note_healthy(self) -> None:
        health = self.health
        health.last_heard_at = datetime.now(UTC)
        if health.healthy_since is None:
            health.healthy_since = datetime.now(UTC)
            health.off_because = health.last_error = None
            log.info("workflow watch is up", extra={"namespace": health.namespace})
            self._tell(())

    def _note_error(self, error: Exception, *, lasting: bool) -> None:
        if self._stop.is_set():
            return
        health, told = self.health, f"{error}"
        begins = health.last_error != told
        health.healthy_since = None
        health.last_error = told
        health.off_because = told if lasting else None
        health.restarts += 1
        if not isinstance(error, KubeError):
            log.error("workflow watch failed", exc_info=error, extra={"namespace": health.namespace})
        elif begins:
            what = "workflow watch is off" if lasting else "workflow watch begins again"
            log.warning(what, extra={"namespace": health.namespace, "error": told})
        self._tell(())

    def _backoff(self, failures: int) -> float:
        timing = self._timing
        grown: float = timing.first_backoff_seconds * 2 ** min(failures - 1, 10)
        return min(timing.longest_backoff_seconds, grown)


def _same(before: Seen, seen: Seen) -> bool:
    return (before.phase, before.finished, before.stored) == (seen.phase, seen.finished, seen.stored)


def _hang_up(answer: Any) -> None:
    """End a read that another thread is blocked in."""
    import socket

    connection = getattr(answer, "connection", None) or getattr(answer, "_connection", None)
    sock = getattr(connection, "sock", None)
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("the watch had ended already", extra={"error": str(error)})
