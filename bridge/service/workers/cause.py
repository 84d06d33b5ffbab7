"""Which task made a run fail, why, and its last log lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from bridge.domain.causes import Cause, CauseKind, Evidence, Witness, rank_causes
from bridge.domain.lineage import Run, RunError, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpError
from bridge.service.workers.evidence import of_backend, with_tasks

log = logging.getLogger(__name__)

MAX_LOG_LINES = 50
MAX_LOG_BYTES = 8192
_MAX_TASKS_WITH_LOGS = 5
# A cause this heavy names the thing itself; a lighter one is no better than what the task said last.
_TELLING_WEIGHT = 50
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


def with_seen_logs(
    tails: Mapping[str, tuple[str, ...]], tasks: Sequence[Task], seen: Sequence[Evidence]
) -> dict[str, tuple[str, ...]]:
    """The last log lines by task id, those that somebody else saw where the backend gave none; under ``""``
    those of a pod that belongs to no task."""
    ids = {task.path or task.name: task.task_id for task in failed_tasks(tasks)}
    found: dict[str, tuple[str, ...]] = {}
    for one in with_tasks(seen, tasks):
        if one.witness is Witness.LOG and (one.task is None or one.task in ids):
            found.setdefault(ids.get(one.task or "", ""), tail_of(one.message))
    return {**found, **tails}


def causes_of_failure(
    run: Run, tasks: Sequence[Task], tails: Mapping[str, tuple[str, ...]], seen: Sequence[Evidence] = ()
) -> tuple[Cause, ...]:
    """Why a run failed, the likeliest first, from what the backend told and what was ``seen`` elsewhere."""
    if run.state is not RuntimeState.FAILED:
        return ()
    told = of_backend(run, failed_tasks(tasks), tails)
    return rank_causes([*told, *with_tasks(seen, tasks)])


def errors_of_tasks(
    tasks: Sequence[Task], tails: Mapping[str, tuple[str, ...]], causes: Sequence[Cause] = ()
) -> dict[str, RunError]:
    """The error to keep with each failed task that is a cause, by task id."""
    first: dict[str | None, Cause] = {}
    for cause in causes:
        first.setdefault(cause.task, cause)
    return {
        task.task_id: _error_of(task, tails.get(task.task_id, ()), first.get(task.path or task.name))
        for task in failed_tasks(tasks)
    }


def error_of_run(
    run: Run,
    tasks: Sequence[Task],
    errors: Mapping[str, RunError],
    causes: Sequence[Cause] = (),
    tail: tuple[str, ...] = (),
) -> RunError | None:
    """Why the run failed: its first failed task's error, else what the backend said of the run; before
    both what nobody ties to a task and speaks louder, such as a pod that no node took. ``tail`` is the log
    of a pod that belongs to no task."""
    if run.state is not RuntimeState.FAILED:
        return run.error
    failed = failed_tasks(tasks)
    error = errors[failed[0].task_id] if failed else run.error
    if error is None:
        error = RunError(message="the run failed; the backend does not say why")
    first = causes[0] if causes else None
    if first is not None and first.task is None and _names_the_thing(first):
        error = replace(error, message=first.message, task=None, kind=first.kind.value)
    elif first is not None and error.kind is None:
        error = replace(error, kind=first.kind.value)
    code = error.code or (run.error.code if run.error else None)
    return replace(error, code=code, log_tail=error.log_tail or tail)


def _error_of(task: Task, tail: tuple[str, ...], cause: Cause | None = None) -> RunError:
    known = task.error
    message = known.message if known and known.message else _last_words(tail)
    # A last line alone may be in the task's error, beside how the component ended.
    if cause is not None and _names_the_thing(cause) and cause.message not in (message or ""):
        message = cause.message
    return RunError(
        message=message or f"task {task.path or task.name} failed",
        code=known.code if known else None,
        task=task.path or task.name,
        log_tail=tail or (known.log_tail if known else ()),
        kind=cause.kind.value if cause else None,
    )


def _names_the_thing(cause: Cause) -> bool:
    """Whether a cause says more than the backend does of the task: of code its exception, with its line."""
    if cause.kind is CauseKind.CODE:
        return cause.evidence[0].witness is Witness.LOG if cause.evidence else False
    telling = any(one.witness not in (Witness.LOG, Witness.BACKEND) for one in cause.evidence)
    return telling and cause.weight >= _TELLING_WEIGHT


def _last_words(tail: Sequence[str]) -> str | None:
    """The last line that says something: of a traceback that is the exception."""
    return next((line.strip()[:1000] for line in reversed(tail) if line.strip()), None)
