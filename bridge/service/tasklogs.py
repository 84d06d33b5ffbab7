"""The log of a task as its backend holds it: its end, what comes after a place in it, or as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio.to_thread

from bridge.domain.lineage import Run, Task
from bridge.domain.redaction import redact_bytes
from bridge.kfp_api.errors import KfpError, KfpNotFound
from bridge.lineage.errors import DatabaseUnavailable
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.problems import ProblemError

MOST_LOG_BYTES = 1024 * 1024
# How many logs a process follows at a time: each holds a connection to a backend.
MOST_FOLLOWED = 64
_STOP_CHECK_SECONDS = 0.5
# A log that is silent for so long is given up; whoever follows it asks again from where it was.
MOST_SILENCE_SECONDS = 300.0


async def tail_of(backend: Backend | None, run: Run, task: Task) -> bytes:
    """The last MiB; of a failed task whose pod is gone what the mirror kept. Raises ``ProblemError``."""
    if backend is None or task.pod_name is None:
        return _kept_tail(task)
    try:
        text = await backend.client.node_log_text(run.kfp_run_id, task.pod_name, max_bytes=MOST_LOG_BYTES)
    except KfpNotFound:
        return _kept_tail(task)
    except KfpError as error:
        raise _unavailable(run, error) from error
    return await anyio.to_thread.run_sync(redact_bytes, text.encode())


async def after(backend: Backend | None, run: Run, task: Task, skip: int) -> bytes:
    """What the log has after its first ``skip`` bytes, one MiB at most. Raises ``ProblemError``."""
    if backend is None or task.pod_name is None:
        return b""
    found = bytearray()
    try:
        async for piece in _pieces(backend, run, task.pod_name, skip, follow=False):
            found += piece
            if len(found) >= MOST_LOG_BYTES:
                break
    except KfpNotFound:
        return b""
    except KfpError as error:
        raise _unavailable(run, error) from error
    return await anyio.to_thread.run_sync(redact_bytes, bytes(found[:MOST_LOG_BYTES]))


async def follow(
    context: Context,
    backend: Backend | None,
    run: Run,
    task: Task,
    skip: int,
    *,
    who_asks: Callable[[], Awaitable[object]],
) -> AsyncGenerator[bytes, None]:
    """What the log has after its first ``skip`` bytes, and what comes, until the task has ended, or nobody
    known follows it any more: ``who_asks`` then raises ``ProblemError``.

    It is opened before this returns, so that what keeps it from being read is a ``ProblemError``.
    """
    if backend is None or task.pod_name is None:
        raise ProblemError("not-found", f"task {task.path} has no log (yet)")
    if context.followed_logs >= MOST_FOLLOWED:
        told = f"{MOST_FOLLOWED} logs are followed already"
        raise ProblemError("overloaded", told, retry_after_seconds=10.0)
    pieces = _pieces(backend, run, task.pod_name, skip, follow=True)
    followed = _followed(context, pieces, who_asks)
    try:
        # Begun here, so that it is ended for certain, too, when nobody reads on.
        await anext(followed)
    except KfpNotFound as error:
        raise ProblemError("not-found", f"task {task.path} has no log (any more)") from error
    except KfpError as error:
        raise _unavailable(run, error) from error
    return followed


async def _followed(
    context: Context, pieces: AsyncGenerator[bytes, None], who_asks: Callable[[], Awaitable[object]]
) -> AsyncGenerator[bytes, None]:
    """An empty piece once the log is open, then the log. Raises ``KfpError`` if it cannot be opened."""
    context.followed_logs += 1
    loop = asyncio.get_running_loop()
    coming = asyncio.ensure_future(anext(pieces, None))
    try:
        # A refusal comes at once; a task that is silent does not.
        await asyncio.wait([coming], timeout=_STOP_CHECK_SECONDS)
        if coming.done():
            coming.result()
        yield b""
        heard_at = loop.time()
        while not context.stopping and loop.time() - heard_at < MOST_SILENCE_SECONDS:
            done, _ = await asyncio.wait([coming], timeout=_STOP_CHECK_SECONDS)
            try:
                # It outlives the token or the session that it was opened with.
                await who_asks()
            except (ProblemError, DatabaseUnavailable):
                return
            if not done:
                continue
            try:
                piece = coming.result()
            except KfpError:
                # Broken off: whoever follows comes back with the place that was reached.
                return
            if piece is None:
                return
            heard_at = loop.time()
            yield redact_bytes(piece)
            coming = asyncio.ensure_future(anext(pieces, None))
    finally:
        context.followed_logs -= 1
        coming.cancel()
        await asyncio.wait([coming])
        await pieces.aclose()


async def _pieces(
    backend: Backend, run: Run, pod_name: str, skip: int, *, follow: bool
) -> AsyncGenerator[bytes, None]:
    """KFP gives a log from its beginning only."""
    async for piece in backend.client.node_log(run.kfp_run_id, pod_name, follow=follow):
        wanted = piece[skip:]
        skip = max(0, skip - len(piece))
        if wanted:
            yield wanted


def _kept_tail(task: Task) -> bytes:
    lines = task.error.log_tail if task.error else ()
    return ("\n".join(lines) + ("\n" if lines else "")).encode()


def _unavailable(run: Run, error: KfpError) -> ProblemError:
    return ProblemError(
        "backend-unavailable",
        f"backend {run.backend} does not give the log: {error.message}",
        retry_after_seconds=error.retry_after_seconds or 5.0,
    )
