"""Reads the coming native artifact and task API, which takes MLMD's place in KFP's main branch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from pydantic import ValidationError

from bridge.domain.lineage import RunMirror
from bridge.kfp_api.client import API, KfpClient
from bridge.kfp_api.errors import KfpBadAnswer, KfpInvalid, KfpNotFound, KfpServerError
from bridge.kfp_api.messages import KfpMessage, TaskDetail
from bridge.kfp_api.metadata import Changes
from bridge.kfp_api.native_messages import (
    ArtifactTask,
    ListArtifactTasks,
    ListTasks,
    NativeArtifact,
    PipelineTask,
)
from bridge.kfp_api.native_mirror import NativeRun

PAGE_SIZE = 100
_MAX_PAGES = 5_000
# What grpc-gateway says of a path that it does not know; KFP's own 404 names what is missing.
_NO_ROUTE = "not found"

PageT = TypeVar("PageT", ListTasks, ListArtifactTasks)
RowT = TypeVar("RowT", bound=KfpMessage)


class NativeReader:
    """The ``MetadataReader`` of the coming KFP release.

    A run's tasks come page by page with their parameters and artifacts; each page is boiled down before
    the next is asked for. All errors are ``KfpError``; ``KfpNotFound`` means that the server has no such
    API.
    """

    def __init__(self, client: KfpClient, *, page_size: int = PAGE_SIZE) -> None:
        self._client = client
        self._page_size = page_size

    async def read_run(self, kfp_run_id: UUID, tasks: Sequence[TaskDetail]) -> RunMirror | None:
        """The run's mirror; ``None`` if no task of it is known (not begun, or deleted)."""
        run = NativeRun()
        try:
            async for page in self._pages(ListTasks, f"{API}/runs/{kfp_run_id}/tasks", {}):
                for row in page.tasks:
                    task = _readable(PipelineTask, row, run, "task")
                    if task is not None:
                        run.add_task(task)
        except KfpNotFound as error:
            if _is_no_route(error):
                raise
            return None
        if run.is_empty:
            return None
        if not run.has_artifacts:
            await self._add_links(run, kfp_run_id)
        return run.mirror()

    async def read_runs(self, runs: Mapping[UUID, Sequence[TaskDetail]]) -> dict[UUID, RunMirror]:
        """Nothing: the native API lists the tasks of one run at a time."""
        return {}

    async def changed_since(self, since_ms: int) -> Changes | None:
        """``None``: the native API lists the tasks of one run at a time, and by their creation alone."""
        return None

    async def _add_links(self, run: NativeRun, kfp_run_id: UUID) -> None:
        """For servers that leave the artifacts out of the tasks."""
        known: dict[str, NativeArtifact] = {}
        params = {"run_ids": str(kfp_run_id)}
        async for page in self._pages(ListArtifactTasks, f"{API}/artifact_tasks", params):
            for row in page.artifact_tasks:
                link = _readable(ArtifactTask, row, run, "link of an artifact")
                if link is None or not link.artifact_id:
                    continue
                if link.artifact_id not in known:
                    known[link.artifact_id] = await self._artifact(link.artifact_id)
                run.add_link(link, known[link.artifact_id])

    async def _artifact(self, artifact_id: str) -> NativeArtifact:
        try:
            return await self._client.fetch(NativeArtifact, f"{API}/artifacts/{artifact_id}")
        except KfpNotFound:
            # It was deleted since; that a task used it is still known.
            return NativeArtifact(artifact_id=artifact_id)

    async def _pages(self, kind: type[PageT], path: str, params: Mapping[str, str]) -> AsyncIterator[PageT]:
        token = ""
        for _ in range(_MAX_PAGES):
            asked = {**params, "page_size": str(self._page_size)}
            page = await self._client.fetch(kind, path, asked | ({"page_token": token} if token else {}))
            yield page
            if not page.next_page_token:
                return
            if page.next_page_token == token:
                raise KfpBadAnswer("the server repeats a page token", request=f"GET {path}")
            token = page.next_page_token
        raise KfpBadAnswer(f"more than {_MAX_PAGES} pages", request=f"GET {path}")


async def serves_native(client: KfpClient) -> bool:
    """Whether the server has the native API. Raises ``KfpError`` if it does not say so either way.

    Links of artifacts are asked for without naming a run, a task or an artifact: a server that has them
    refuses that with 400 before it looks at who asks, one that has not answers 404.
    """
    try:
        await client.fetch(ListArtifactTasks, f"{API}/artifact_tasks", {"page_size": "1"}, repeat=False)
    except KfpInvalid as error:
        return error.status == 400
    except KfpNotFound:
        return False
    except KfpServerError as error:
        if error.status != 501:
            raise
        return False
    except KfpBadAnswer as error:
        if error.cut or error.status is None:
            raise
        # A page for people: whatever answers there, it is no such API.
        return False
    return True


def _is_no_route(error: KfpNotFound) -> bool:
    return error.code is None or error.message.strip().lower() == _NO_ROUTE


def _readable(kind: type[RowT], row: object, run: NativeRun, what: str) -> RowT | None:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        run.cleaner.warn(f"a {what} was left out: {where or 'its shape'} is wrong: {first['msg']}")
        return None
