"""An async client of KFP's REST API (v2beta1), and of the gRPC-web calls on the same host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from bridge.kfp_api.answers import json_object, parse_answer
from bridge.kfp_api.connection import Connection
from bridge.kfp_api.errors import KfpBadAnswer, KfpConflict, KfpError, KfpNotFound, parse_date
from bridge.kfp_api.filters import Filter
from bridge.kfp_api.http import Request
from bridge.kfp_api.messages import (
    Experiment,
    ListExperiments,
    ListPipelines,
    ListPipelineVersions,
    ListRuns,
    ListRunsBriefly,
    Pipeline,
    PipelineVersion,
    Run,
)
from bridge.kfp_api.retry import retry_safe

API = "/apis/v2beta1"
MAX_PAGE_SIZE = 200
_MAX_PAGES = 10_000
# A followed pod may work for long without a word.
_FOLLOWED_SILENCE_SECONDS = 900.0


class KfpClient(Connection):
    """Talks to one KFP server; an async context manager, usable from one event loop.

    ``base_url`` is the API server, the KFP UI or a gateway, with its path if it has one.
    ``timeout_seconds`` bounds one whole exchange, connecting half of it and 5 s at most. ``ca`` is a file of
    certificate authorities or an SSL context. What reads is repeated by ``retry``; what changes is
    repeated only after a failure to connect or a 429, when nothing can have happened; ``create_run``
    never. A ``guard`` is asked before every request, repetitions included. Every method raises ``KfpError``;
    a base URL that is none raises ``KfpBadUrl`` at once.
    """

    # Runs

    async def healthz(self) -> dict[str, Any]:
        """What the server says of itself (``multi_user``, ``pipeline_store``); empty from some servers."""
        return await self._get_json(f"{API}/healthz")

    async def health(self) -> tuple[dict[str, Any], datetime | None]:
        """As ``healthz``, with the server's clock if its answer tells it. Asked once, never repeated."""
        answer = await self._exchange.send(Request(method="GET", path=f"{API}/healthz"))
        return json_object(answer), parse_date(answer.headers.get("date"))

    async def create_run(self, run: Run) -> Run:
        """Starts a run. Sent once and never repeated here: KFP does not deduplicate.

        ``KfpUnreachable`` with ``sent=False`` means that nothing left this machine; an error that is
        ``ambiguous`` means that the run may exist, under the ``run_id`` that the caller set.
        """
        request = Request(method="POST", path=f"{API}/runs", json=run.to_json(), once=True)
        created = parse_answer(Run, await self._exchange.send(request))
        if not created.run_id:
            raise KfpBadAnswer("a run without an id, so it may not have been made", request=str(request))
        return created

    async def get_run(self, kfp_run_id: UUID | str, *, repeat: bool = True) -> Run:
        """The run with its task details. Raises ``KfpNotFound`` if KFP itself says that there is none; an
        empty answer, another run or a gateway's 404 proves nothing and is a ``KfpBadAnswer``."""
        path = f"{API}/runs/{_segment(kfp_run_id)}"
        with _only_kfps_own_404():
            found = await self.fetch(Run, path, repeat=repeat)
        if found.run_id != str(kfp_run_id):
            told = found.run_id or "without an id"
            raise KfpBadAnswer(f"a run {told} instead of the one asked for", request=f"GET {path}")
        return found

    async def list_runs(
        self,
        *,
        namespace: str | None = None,
        filter: Filter | None = None,
        sort_by: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
        page_token: str | None = None,
        experiment_id: str | None = None,
        repeat: bool = True,
        details: bool = True,
    ) -> ListRuns:
        """One page of runs; ``sort_by`` is a key and ``asc`` or ``desc``, e.g. ``created_at desc``.

        ``repeat=False`` is for a caller that comes again by itself, at a pace of its own, ``details=False``
        for one who needs no tasks: they are most of an answer.
        """
        params = _list_params(namespace, filter, sort_by, page_size, page_token)
        if experiment_id:
            params["experiment_id"] = experiment_id
        kind = ListRuns if details else ListRunsBriefly
        return await self.fetch(kind, f"{API}/runs", params, repeat=repeat)

    async def get_runs(
        self,
        kfp_run_ids: Collection[UUID],
        *,
        namespace: str | None = None,
        max_bytes: int | None = None,
    ) -> list[Run]:
        """Those of the runs that are there, 200 at most; sent once. With their task details where lists carry
        them, as KFP's do. An answer of more than ``max_bytes`` is a ``KfpBadAnswer``."""
        wanted = Filter().is_in("run_id", (str(one) for one in kfp_run_ids))
        params = _list_params(namespace, wanted, None, len(kfp_run_ids), None)
        request = Request(method="GET", path=f"{API}/runs", params=params, max_bytes=max_bytes)
        return parse_answer(ListRuns, await self._exchange.send(request)).runs

    async def iterate_runs(
        self,
        *,
        namespace: str | None = None,
        filter: Filter | None = None,
        sort_by: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
        experiment_id: str | None = None,
    ) -> AsyncIterator[Run]:
        """Every run that matches, page after page. A run that moves between pages may come twice."""
        token: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self.list_runs(
                namespace=namespace,
                filter=filter,
                sort_by=sort_by,
                page_size=page_size,
                page_token=token,
                experiment_id=experiment_id,
            )
            for run in page.runs:
                yield run
            if not page.next_page_token:
                return
            if page.next_page_token == token:
                raise KfpBadAnswer("the server repeats a page token", request=f"GET {API}/runs")
            token = page.next_page_token
        raise KfpBadAnswer(f"more than {_MAX_PAGES} pages of runs", request=f"GET {API}/runs")

    async def terminate_run(self, kfp_run_id: UUID | str) -> None:
        """Asks for the run's end. ``KfpInvalid`` if it is not pending, running or paused."""
        with _only_kfps_own_404():
            await self._change("POST", f"{API}/runs/{_segment(kfp_run_id)}:terminate")

    async def retry_run(self, kfp_run_id: UUID | str) -> None:
        """Revives a failed run under its own id. ``KfpInvalid`` if it cannot be."""
        with _only_kfps_own_404():
            await self._change("POST", f"{API}/runs/{_segment(kfp_run_id)}:retry")

    async def delete_run(self, kfp_run_id: UUID | str) -> None:
        """Deletes the run for good. Raises ``KfpNotFound``."""
        with _only_kfps_own_404():
            await self._change("DELETE", f"{API}/runs/{_segment(kfp_run_id)}")

    # Logs

    async def node_log(
        self, kfp_run_id: UUID | str, pod_name: str, *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """The log of a task's pod, piece by piece as it comes; with ``follow`` until the pod ends."""
        path = f"/apis/v1alpha1/runs/{_segment(kfp_run_id)}/nodes/{_segment(pod_name)}/log"
        request = Request(
            method="GET",
            path=path,
            params={"follow": "true"} if follow else {},
            silence_seconds=_FOLLOWED_SILENCE_SECONDS if follow else None,
        )
        async for piece in self.stream(request):
            yield piece

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """The body of any answer, piece by piece."""
        async with self._exchange.stream(request) as pieces:
            async for piece in pieces:
                yield piece

    async def node_log_text(
        self, kfp_run_id: UUID | str, pod_name: str, *, max_bytes: int = 1024 * 1024
    ) -> str:
        """The log's end, at most ``max_bytes`` of it, as text."""

        async def call() -> bytes:
            kept = bytearray()
            async for piece in self.node_log(kfp_run_id, pod_name):
                kept += piece
                if len(kept) > 2 * max_bytes:
                    del kept[:-max_bytes]
            return bytes(kept[-max_bytes:])

        ending = await retry_safe(call, self._retry, self._sleep)
        return ending.decode("utf-8", errors="replace")

    # Experiments

    async def ensure_experiment(self, name: str, namespace: str | None = None) -> Experiment:
        """The experiment of that name, made if there is none; safe when several callers do it at once."""
        found = await self.find_experiment(name, namespace)
        if found is not None:
            return found
        body = Experiment(display_name=name, namespace=namespace or None)
        try:
            return parse_answer(Experiment, await self._change("POST", f"{API}/experiments", body.to_json()))
        except KfpError as error:
            if not isinstance(error, KfpConflict) and not error.ambiguous:
                raise
            found = await self.find_experiment(name, namespace)
            if found is None:
                raise
            return found

    async def find_experiment(self, name: str, namespace: str | None = None) -> Experiment | None:
        """The experiment of that name, or ``None``."""
        named = Filter().equals("display_name", name)
        params = _list_params(namespace, named, None, MAX_PAGE_SIZE, None)
        page = await self.fetch(ListExperiments, f"{API}/experiments", params)
        return next((one for one in page.experiments if one.display_name == name), None)

    # Pipelines

    async def get_pipeline_by_name(self, name: str, namespace: str | None = None) -> Pipeline:
        """The registered pipeline of that name. Raises ``KfpNotFound``."""
        params = {"namespace": namespace} if namespace else {}
        return await self.fetch(Pipeline, f"{API}/pipelines/names/{_segment(name)}", params)

    async def list_pipelines(
        self,
        *,
        namespace: str | None = None,
        filter: Filter | None = None,
        sort_by: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
        page_token: str | None = None,
    ) -> ListPipelines:
        """One page of registered pipelines."""
        params = _list_params(namespace, filter, sort_by, page_size, page_token)
        return await self.fetch(ListPipelines, f"{API}/pipelines", params)

    async def upload_pipeline(
        self, text: str, name: str, namespace: str | None = None, *, description: str | None = None
    ) -> Pipeline:
        """Registers a pipeline with its first version. ``KfpConflict`` if the name is taken."""
        params = {"name": name}
        if namespace:
            params["namespace"] = namespace
        if description:
            params["description"] = description
        return parse_answer(Pipeline, await self._upload(f"{API}/pipelines/upload", text, params))

    async def upload_pipeline_version(
        self, text: str, pipeline_id: str, name: str, *, description: str | None = None
    ) -> PipelineVersion:
        """Registers a version of a pipeline. ``KfpConflict`` if the pipeline has that name already."""
        params = {"name": name, "pipelineid": pipeline_id}
        if description:
            params["description"] = description
        return parse_answer(
            PipelineVersion, await self._upload(f"{API}/pipelines/upload_version", text, params)
        )

    async def list_versions(
        self,
        pipeline_id: str,
        *,
        filter: Filter | None = None,
        sort_by: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
        page_token: str | None = None,
    ) -> ListPipelineVersions:
        """One page of a pipeline's versions, specs included."""
        params = _list_params(None, filter, sort_by, page_size, page_token)
        return await self.fetch(
            ListPipelineVersions, f"{API}/pipelines/{_segment(pipeline_id)}/versions", params
        )

    async def get_version(self, pipeline_id: str, version_id: str) -> PipelineVersion:
        """A version with its spec. Raises ``KfpNotFound``."""
        path = f"{API}/pipelines/{_segment(pipeline_id)}/versions/{_segment(version_id)}"
        return await self.fetch(PipelineVersion, path)


@contextmanager
def _only_kfps_own_404() -> Iterator[None]:
    """Lets ``KfpNotFound`` about a run through only if KFP said it, whose errors carry a code: a gateway
    that has lost its route to KFP answers 404 for every run, also for those that live."""
    try:
        yield
    except KfpNotFound as error:
        if error.code is not None:
            raise
        raise KfpBadAnswer(
            "a 404 that is not KFP's own: a gateway or proxy answered", status=404, request=error.request
        ) from error


def _list_params(
    namespace: str | None, filter: Filter | None, sort_by: str | None, page_size: int, page_token: str | None
) -> dict[str, str]:
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise ValueError(f"page_size is from 1 to {MAX_PAGE_SIZE}: KFP silently gives no more")
    params = {"page_size": str(page_size)}
    if namespace:
        params["namespace"] = namespace
    if filter is not None and filter.predicates:
        params["filter"] = filter.to_query()
    if sort_by:
        params["sort_by"] = sort_by
    if page_token:
        params["page_token"] = page_token
    return params


def _segment(value: UUID | str) -> str:
    text = str(value)
    if not text or text in (".", ".."):
        raise ValueError("an empty or dotted id names nothing")
    return quote(text, safe="")
