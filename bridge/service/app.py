"""The ASGI application: routes, pages, limits, and the workers beside them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import Depends, FastAPI

from bridge.client.models import AliasRequest, CancelRequest, RegisterRequest, SubmitRequest
from bridge.client.reproduction import ReproduceRequest
from bridge.client.status import PauseRequest
from bridge.client.webhooks import WebhookChange, WebhookRequest
from bridge.lineage.database import Database
from bridge.service import dashboard
from bridge.service.accept import Acceptance
from bridge.service.access.places import prefix_of
from bridge.service.backends import BackendFactory, open_backend
from bridge.service.context import Context, open_context
from bridge.service.describing import describe
from bridge.service.limits import BodyLimit, KnownHosts, PlainTarget, SecurityHeaders, WithoutPrefix
from bridge.service.problems import install_handlers
from bridge.service.rates import Buckets, RateLimit
from bridge.service.routes import (
    artifacts,
    backends,
    compare,
    costs,
    details,
    events,
    history,
    jobs,
    lineage,
    login,
    oncall,
    pipelines,
    quarantine,
    reproduce,
    runs,
    session,
    status,
    webhooks,
)
from bridge.service.routes.common import get_caller
from bridge.service.settings import ServiceSettings
from bridge.service.versions import package_version
from bridge.service.watcher import watch_changes
from bridge.service.workers.start import make_supervisor

log = logging.getLogger(__name__)

API_PREFIX = "/api/v1"
_BODIES = (
    SubmitRequest,
    CancelRequest,
    RegisterRequest,
    AliasRequest,
    ReproduceRequest,
    WebhookRequest,
    WebhookChange,
    PauseRequest,
)


def create_app(
    settings: ServiceSettings,
    database: Database,
    *,
    backend_factory: BackendFactory = open_backend,
    holder: str | None = None,
) -> FastAPI:
    """The service as an ASGI application; the database stays the caller's to close.

    With ``settings.workers`` the workers run in the application's lifespan. ``holder`` is the name under
    which the caller holds the database, if it does.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_context(settings, database, backend_factory, holder=holder) as context:
            app.state.context = context
            app.state.acceptance = Acceptance(context)
            async with _background(context):
                yield

    app = FastAPI(
        title="Airflow KFP bridge",
        version=package_version(),
        description="Submit a pipeline once, follow it to its end, and know which data made which model.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{API_PREFIX}/openapi.json",
    )
    guarded = [Depends(get_caller)]
    # The ":verb" routes come first: "/runs/{run_id}" would take the verb for a part of the id.
    for module in (
        runs,
        reproduce,
        details,
        compare,
        costs,
        artifacts,
        pipelines,
        history,
        lineage,
        jobs,
        events,
        quarantine,
        backends,
        webhooks,
        oncall,
        session,
        status,
    ):
        app.include_router(module.router, prefix=API_PREFIX, dependencies=guarded)
    app.include_router(status.router, dependencies=guarded)
    app.include_router(status.scraped, dependencies=guarded)
    app.include_router(status.probes)
    app.include_router(dashboard.router, dependencies=guarded)
    app.include_router(login.router)
    dashboard.mount_assets(app)
    install_handlers(app, login.sign_in_first)
    describe(app, _BODIES)
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(PlainTarget)
    buckets = Buckets(settings.caller_requests_per_second, settings.caller_request_burst)
    app.add_middleware(RateLimit, buckets=buckets, most_open=settings.caller_open_requests)
    app.add_middleware(KnownHosts, names=settings.known_hosts)
    app.add_middleware(SecurityHeaders, framed_by=settings.airflow_url)
    if prefix := prefix_of(settings.public_url):
        app.add_middleware(WithoutPrefix, prefix=prefix)
    return app


@asynccontextmanager
async def _background(context: Context) -> AsyncIterator[None]:
    """Workers and the watch for other processes' changes, for as long as the application runs."""
    supervisor = make_supervisor(context, {"changes": partial(watch_changes, context)})
    context.supervisor = supervisor
    supervisor.start()
    try:
        yield
    finally:
        context.stop_waiting()
        await supervisor.stop(context.settings.shutdown_seconds)
        log.info("stopped")
