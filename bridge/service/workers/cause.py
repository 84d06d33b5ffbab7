"""Which task made a run fail, and its last log lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bridge.domain.lineage import Run, RunError, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpError

log = logging.getLogger(__name__)

MAX_LOG_LINES = 50
MAX_LOG_BYTES = 8192
_MAX_TASKS_WITH_LOGS = 5
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def failed_tasks(tasks: Sequence[Task]) -> list[Task]:
    """The failed tasks that are causes: no failed task below them, the one that failed first first."""
    failed = [task for task in tasks if task.state is RuntimeState.FAILED]
    parents = {task.parent_task_id for task in failed}
    causes = [task for task in failed if task.task_id not in parents]
    return sorted(causes, key=lambda task: (task.kind == "dag", task.finished_at or _END_OF_TIME, task.path))


async def read_log_tails(client: KfpClient, run: Run, tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """The last log lines of the first failed tasks, by task id; a log that is gone is left out."""
    tails: dict[str, tuple[str, ...]] = {}
    for task in failed_tasks(tasks)[:_MAX_TASKS_WITH_LOGS]:
        if not task.pod_name:
            continue
        try:
            text = await client.node_log_text(run.kfp_run_id, task.pod_name, max_bytes=MAX_LOG_BYTES)
        except KfpError as error:
            log.info("no log", extra={"run_id": run.run_id, "task": task.path, "error": str(error)})
            continue
        tails[task.task_id] = tail_of(text)
    return tails


def tail_of(text: str) -> tuple[str, ...]:
    """The last lines of a log, bounded in lines and bytes, without what a database cannot hold."""
    kept: list[str] = []
    size = 0
    for line in reversed(text.replace("\x00", "\ufffd").rstrip().splitlines()):
        size += len(line.encode("utf-8", "replace")) + 1
        if len(kept) == MAX_LOG_LINES or (kept and size > MAX_LOG_BYTES):
            break
        kept.append(line[-MAX_LOG_BYTES:])
    return tuple(reversed(kept))


def errors_of_tasks(tasks: Sequence[Task], tails: Mapping[str, tuple[str, ...]]) -> dict[str, RunError]:
    """The error to keep with each failed task that is a cause, by task id."""
    return {task.task_id: _error_of(task, tails.get(task.task_id, ())) for task in failed_tasks(tasks)}


def error_of_run(run: Run, tasks: Sequence[Task], errors: Mapping[str, RunError]) -> RunError | None:
    """Why the run failed: its first failed task's error, else what the backend said of the run."""
    if run.state is not RuntimeState.FAILED:
        return run.error
    causes = failed_tasks(tasks)
    if not causes:
        return run.error or RunError(message="the run failed; the backend does not say why")
    error = errors[causes[0].task_id]
    return replace(error, code=error.code or (run.error.code if run.error else None))


def _error_of(task: Task, tail: tuple[str, ...]) -> RunError:
    known = task.error
    message = known.message if known and known.message else _last_words(tail)
    return RunError(
        message=message or f"task {task.path or task.name} failed",
        code=known.code if known else None,
        task=task.path or task.name,
        log_tail=tail or (known.log_tail if known else ()),
    )


def _last_words(tail: Sequence[str]) -> str | None:
    """The last line that says something: of a traceback that is the exception."""
    return next((line.strip()[:1000] for line in reversed(tail) if line.strip()), None)
