"""The embedded KFP v2beta1 server: its routes, its errors and its life from start to stop."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ReceivedMessage

from bridge.domain.hosts import host_of, is_foreign_change, is_known_host
from bridge.local import store_experiments, store_native_schema
from bridge.local.containers import ContainerRunner
from bridge.local.launcher import Runner
from bridge.local.packages import MAX_FILE_BYTES
from bridge.local.retention import Retention, remove_unused_environments
from bridge.local.routes import (
    artifacts,
    experiments,
    health,
    logs,
    metadata,
    native,
    native_tasks,
    pipelines,
    recurring,
    runs,
    unserved,
    uploads,
)
from bridge.local.routes.shared import PREFIX, Backend, answer
from bridge.local.runners import make_runner
from bridge.local.scheduler import Scheduler
from bridge.local.settings import LocalSettings, MetadataShape
from bridge.local.specs import SpecCache
from bridge.local.status import Code, StatusError, refusal_json, status_json
from bridge.local.store import Store
from bridge.local.store_tasks import StoreRecorder
from bridge.local.supervisor import Supervisor

logger = logging.getLogger(__name__)
# Uploads come before pipelines: '/pipelines/upload' is no pipeline's id.
ROUTERS = tuple(
    module.router
    for module in (
        health,
        uploads,
        pipelines,
        experiments,
        runs,
        recurring,
        logs,
        artifacts,
        unserved,
    )
)
# Only one shape of metadata is served; a server without the other answers 404 there.
METADATA_ROUTERS: Mapping[MetadataShape, tuple[APIRouter, ...]] = {
    "mlmd": (metadata.router,),
    "native": (native.router, native_tasks.router),
}
_OPEN = (f"{PREFIX}/healthz", "/apis/v1beta1/healthz")
# KFP takes files of 32 MiB; around them come the boundaries of the multipart form.
_MAX_BODY_BYTES = MAX_FILE_BYTES + 64 * 1024


def create_app(settings: LocalSettings, runner: Runner | None = None) -> FastAPI:
    """The server for one data directory. Runs left unfinished continue when it starts.

    ``runner`` runs the components in place of the one that the settings name.
    """
    app = FastAPI(
        title="Kubeflow Pipelines, local backend",
        description="For laptops, CI and demonstrations.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # KFP's gateway knows no other spelling of a path.
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.runner = runner
    for router in (*ROUTERS, *METADATA_ROUTERS[settings.metadata]):
        app.include_router(router)
    app.add_exception_handler(StatusError, _refused)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(_BodyLimit)
    if settings.token is not None:
        app.add_middleware(_TokenCheck, token=settings.token)
    app.add_middleware(_SiteCheck, names=settings.allowed_hosts)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: LocalSettings = app.state.settings
    runner = app.state.runner or await make_runner(settings)
    objects = settings.make_objects()
    store = Store(settings.database_path)
    specs = SpecCache()
    supervisor = Supervisor(
        store,
        specs,
        StoreRecorder(store),
        runner,
        data_dir=settings.data_dir,
        secrets_dir=settings.secrets_dir,
        max_parallel=settings.max_parallel,
        objects=objects,
        artifacts=settings.artifacts,
    )
    scheduler = Scheduler(store, specs, supervisor.enqueue)
    supervisor.on_end(scheduler.rounds.wake)
    retention = Retention(store, settings.data_dir, settings.limits)
    supervisor.on_end(retention.rounds.wake)
    app.state.backend = Backend(settings, store, specs, supervisor, scheduler, retention, objects)
    try:
        await store.write(store_experiments.default_experiment)
        await _tidy(settings)
        if settings.metadata == "native":
            await store.write(store_native_schema.prepare)
        if isinstance(runner, ContainerRunner):
            # Else a component would run beside its own second start.
            await runner.end_leftovers()
        picked_up = await supervisor.recover()
        if picked_up:
            logger.warning("%d unfinished run(s) of an earlier start are picked up again", picked_up)
        scheduler.rounds.start()
        retention.rounds.start()
        yield
    finally:
        await scheduler.rounds.stop()
        await retention.rounds.stop()
        await supervisor.stop()
        specs.close()
        store.close()


async def _tidy(settings: LocalSettings) -> None:
    # A shared folder of environments is somebody else's to keep small.
    if settings.environments_dir is None and settings.keep_days is not None:
        folder = settings.data_dir / "environments"
        days = max(settings.keep_days, 1.0)
        removed = await asyncio.to_thread(remove_unused_environments, folder, days, time.time())
        logger.info("%d environment(s) that were not used for %g days are removed", removed, days)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StatusError), "registered for StatusError"
    if not request.url.path.startswith(f"{PREFIX}/pipelines/upload"):
        return answer(refusal_json(error), error.http_status)
    # KFP's upload handler is no gateway route and has its own two fields.
    upload = {"error_message": error.message, "error_details": error.message}
    return answer(status_json(error.code, error.message) | upload, error.http_status)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for HTTPException"
    code = Code.NOT_FOUND if error.status_code == 404 else Code.UNIMPLEMENTED
    if error.status_code == 400:
        code = Code.INVALID_ARGUMENT
    return answer(status_json(code, str(error.detail)), error.status_code)


async def _gone(request: Request, error: Exception) -> Response:
    # The caller hung up before its request was whole: nothing was done, and nobody reads the answer.
    return answer(status_json(Code.INVALID_ARGUMENT, "The request was cut off"), 400)


async def _broken(request: Request, error: Exception) -> Response:
    # Starlette logs the traceback; the caller gets no more than the kind of the error.
    return answer(status_json(Code.INTERNAL, f"Internal Server Error: {type(error).__name__}"), 500)


class _BodyLimit:
    """Stops reading a request that is larger than anything KFP takes, however it is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def receive_bounded() -> ReceivedMessage:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > _MAX_BODY_BYTES:
                raise StatusError(
                    Code.INVALID_ARGUMENT,
                    f"The request is too large. Maximum supported size: {_MAX_BODY_BYTES}",
                    http_status=413,
                )
            return message

        await self._app(scope, receive_bounded if scope["type"] == "http" else receive, send)


class _SiteCheck:
    """Refuses what a browser sends for another site's page, and what was meant for a host of another name:
    a page may have had that name changed to mean this address."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (told := self._refusal(scope)) is not None:
            await answer(status_json(Code.PERMISSION_DENIED, told), 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = headers.get("host", "")
        if asked and not is_known_host(asked, self._names):
            return (
                f"This backend is not known as {host_of(asked)[:100]!r}; "
                "KFBRIDGE_LOCAL_ALLOWED_HOSTS adds names"
            )
        if is_foreign_change(scope["method"], headers):
            return "Another site's page sent this by a browser; nothing was done"
        return None


class _TokenCheck:
    """Lets only requests with the backend's Bearer token through; healthz needs none."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                message = "Unauthenticated: the request has no valid Bearer token"
                await answer(status_json(Code.UNAUTHENTICATED, message), 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)
