"""The log of a task, under the only path KFP has for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from bridge.local import store_tasks
from bridge.local.routes.shared import Backend, backend_of, truth
from bridge.local.status import not_found

router = APIRouter()
_CHUNK_BYTES = 256 * 1024
_FOLLOW_SECONDS = 0.2


@router.get("/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log")
async def read_log(request: Request, run_id: str, node_id: str) -> Response:
    """What a task has written so far; with ``follow=true`` also what comes until it ends."""
    backend = backend_of(request)
    path, _ = await _find(backend, run_id, node_id)
    follow = truth(request.query_params.get("follow"))
    return StreamingResponse(
        _lines(backend, run_id, node_id, path, follow), media_type="text/plain; charset=utf-8"
    )


async def _find(backend: Backend, run_id: str, node_id: str) -> tuple[Path | None, bool]:
    found = await backend.store.read(lambda connection: store_tasks.log_path_of(connection, run_id, node_id))
    if found is None:
        raise not_found("Log of node", f"{node_id} of run {run_id}")
    path, state = found
    return None if path is None else Path(path), state.is_terminal


async def _lines(
    backend: Backend, run_id: str, node_id: str, path: Path | None, follow: bool
) -> AsyncIterator[bytes]:
    position = 0
    while True:
        # Asked before the file is read: what the task wrote last is then read for certain.
        over = not follow or (await _find(backend, run_id, node_id))[1]
        while path is not None and (chunk := await asyncio.to_thread(_read, path, position)):
            position += len(chunk)
            yield chunk
        if over:
            return
        await asyncio.sleep(_FOLLOW_SECONDS)


def _read(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(_CHUNK_BYTES)
    except FileNotFoundError:
        # The task has not begun to write, or its directory was cleaned away.
        return b""
