"""A recorder that keeps everything in memory, for tests of the driver."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.domain.states import RuntimeState
from bridge.local.recording import (
    CachedTask,
    StoredArtifact,
    TaskCreated,
    TaskFinished,
    TaskResult,
    TaskStarted,
)


class MemoryRecorder:
    """Keeps what it is told, by task path, and gives artifacts numbers from 1."""

    def __init__(self) -> None:
        self.created: dict[str, TaskCreated] = {}
        self.starts: dict[str, list[TaskStarted]] = {}
        self.ends: dict[str, TaskFinished] = {}
        self.order: list[tuple[str, str]] = []
        self.artifacts: dict[int, StoredArtifact] = {}
        self._paths: dict[object, str] = {}

    async def task_created(self, task: TaskCreated) -> None:
        assert task.parent_task_id is None or task.parent_task_id in self._paths
        self._paths[task.task_id] = task.path
        self.created[task.path] = task
        self.order.append(("created", task.path))

    async def task_started(self, start: TaskStarted) -> None:
        path = self._paths[start.task_id]
        self.starts.setdefault(path, []).append(start)
        self.order.append(("started", path))

    async def task_finished(self, end: TaskFinished) -> Mapping[str, tuple[int, ...]]:
        path = self._paths.get(end.task_id)
        if path is None:
            return {}
        ids = {key: tuple(self._store(a) for a in found) for key, found in end.result.artifacts.items()}
        self.ends[path] = end
        self.order.append(("finished", path))
        return ids

    async def find_cached(self, fingerprint: str) -> CachedTask | None:
        for end in self.ends.values():
            if end.fingerprint == fingerprint and end.state is RuntimeState.SUCCEEDED:
                return CachedTask(task_id=end.task_id, result=end.result)
        return None

    async def find_artifact(self, artifact: StoredArtifact) -> int | None:
        for number, known in self.artifacts.items():
            if (known.uri, known.schema_title, known.metadata) == (
                artifact.uri,
                artifact.schema_title,
                artifact.metadata,
            ):
                return number
        return None

    def _store(self, artifact: StoredArtifact) -> int:
        if artifact.artifact_id is not None:
            return artifact.artifact_id
        number = len(self.artifacts) + 1
        self.artifacts[number] = artifact
        return number

    def states(self) -> dict[str, str]:
        """The final state of every task by path, the root left out."""
        return {path: end.state.value for path, end in self.ends.items() if path}

    def result(self, path: str) -> TaskResult:
        """What the task at a path gave."""
        return self.ends[path].result

    def pods(self) -> list[str]:
        """The pod names of all attempts."""
        return [s.pod_name for starts in self.starts.values() for s in starts if s.pod_name]
