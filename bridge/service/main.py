"""Runs the service, or its workers alone, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from bridge.domain.redaction import redact_text
from bridge.lineage.database import Database
from bridge.lineage.errors import LineageError
from bridge.service.app import create_app
from bridge.service.applying import note_settings, serving_role
from bridge.service.context import open_context
from bridge.service.logs import configure_logging
from bridge.service.settings import ServiceSettings, SettingsError, is_loopback
from bridge.service.store import REQUEST_THREADS, WORKER_THREADS
from bridge.service.tracing import TelemetryMissing, check_installed
from bridge.service.workers.hold import drop_database, name_holder, take_database
from bridge.service.workers.start import make_supervisor

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 75


class StartError(Exception):
    """The service cannot start; the text says why and what to do."""


def serve(settings: ServiceSettings) -> None:
    """Serve the API and, unless switched off, run the workers. Returns after SIGTERM or SIGINT.

    Prints ``kfbridge serve ready on <url>`` once requests are answered. Raises ``StartError``, and
    ``SettingsError`` if callers are not asked who they are where other machines reach it.
    """
    settings.check_served()
    configure_logging(settings.log_level, as_json=settings.log_json, secrets=settings.secrets())
    _check_telemetry(settings)
    with _listening(settings) as listener, _open_database(settings) as (database, holder):
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        warn_of_access(settings, url)
        app = create_app(settings, database, holder=holder)
        note_settings(database, serving_role(settings), holder, settings)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
            lifespan="on",
            server_header=False,
        )
        with _signals_end_quietly():
            _Server(config, f"kfbridge serve ready on {url}").run(sockets=[listener])


def warn_of_access(settings: ServiceSettings, url: str) -> None:
    """Log what of the access to the service at that address one may not have meant so."""
    if not settings.asks_who():
        log.warning(
            "callers are not asked who they are: whoever reaches this address may do everything",
            extra={"address": url, "to_do": "docs/access.md"},
        )
    elif not settings.public_url and not is_loopback(settings.host):
        log.warning(
            "public_url is not said: behind a proxy for https the cookies of sessions are not Secure",
            extra={"address": url, "to_do": "set public_url (KFBRIDGE_PUBLIC_URL) to the https address"},
        )


def worker(settings: ServiceSettings) -> None:
    """Run the workers without the API. Returns after SIGTERM or SIGINT. Raises ``StartError``."""
    configure_logging(settings.log_level, as_json=settings.log_json, secrets=settings.secrets())
    if not settings.backends:
        raise StartError("no backend is configured: give --kfp-url, KFBRIDGE_KFP_URL or [[backends]]")
    _check_telemetry(settings)
    working = settings.model_copy(update={"workers": True})
    with _open_database(settings) as (database, holder):
        note_settings(database, "worker", holder, settings)
        asyncio.run(_work(working, database, holder))


def _check_telemetry(settings: ServiceSettings) -> None:
    try:
        check_installed(settings.telemetry)
    except TelemetryMissing as error:
        raise StartError(str(error)) from error


class _Server(uvicorn.Server):
    """Says when it serves. At its end it first says so, then ends event streams and long-polls, then closes
    connections."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            _keep_what_is_loaded()
            print(self._ready, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        context = getattr(self.config.app.state, "context", None)  # type: ignore[union-attr]
        if context is not None:
            context.stop_waiting()
            await asyncio.sleep(context.settings.drain_seconds)
        await super().shutdown(sockets=sockets)


def _keep_what_is_loaded() -> None:
    """Modules and models are never garbage: to look through them again stops all answers for 0.1 s."""
    gc.collect()
    gc.freeze()


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more at its end; by then it has done its work,
    and the database has still to be given back."""

    def ignore(number: int, frame: FrameType | None) -> None:
        log.debug("signal after the end", extra={"signal": number})

    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _work(settings: ServiceSettings, database: Database, holder: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with open_context(settings, database, holder=holder) as context:
        supervisor = make_supervisor(context)
        supervisor.start()
        _keep_what_is_loaded()
        print("kfbridge worker ready", flush=True)
        await stop.wait()
        await supervisor.stop(settings.shutdown_seconds)


@contextmanager
def _listening(settings: ServiceSettings) -> Iterator[socket.socket]:
    """The socket to serve on, opened before anything else: a taken port is then told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle off; without, each answer can take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise StartError(f"cannot serve on {settings.host}:{settings.port}: {error.strerror}") from error
    with listener:
        yield listener


@contextmanager
def _open_database(settings: ServiceSettings) -> Iterator[tuple[Database, str]]:
    """The database at the right schema, held by this process if it is SQLite."""
    holder = name_holder()
    try:
        database = Database(
            settings.database_url,
            pool_size=REQUEST_THREADS + WORKER_THREADS,
            patience_seconds=settings.database_patience_seconds,
        )
    except (LineageError, ValueError) as error:
        raise StartError(redact_text(f"the database cannot be opened: {error}")) from error
    try:
        try:
            if database.dialect == "sqlite" or settings.migrate:
                database.migrate()
            database.check_schema()
            take_database(database, holder)
        except LineageError as error:
            raise StartError(str(error)) from error
        try:
            yield database, holder
        finally:
            try:
                drop_database(database, holder)
            except LineageError as error:
                log.warning("the hold on the database was not given back", extra={"error": str(error)})
    finally:
        database.close()


__all__ = ["SettingsError", "StartError", "serve", "worker"]
