"""Starts the local backend as a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from bridge.local.app import create_app
from bridge.local.containers import ContainerRunner
from bridge.local.launcher import Runner
from bridge.local.object_store import ObjectStore
from bridge.local.runners import make_runner
from bridge.local.settings import LocalSettings

HOST = "127.0.0.1"
_NOTICE = (
    "kfbridge local: Kubeflow Pipelines without Kubernetes, for laptops, CI and demonstrations. "
    "{components}; it listens on 127.0.0.1 only."
)
_AS_PROCESSES = "Components run as processes of this user, without isolation"


class AlreadyServed(RuntimeError):
    """Another backend uses the data directory."""


def run(settings: LocalSettings) -> int:
    """Serve until SIGINT or SIGTERM; returns 0 after an orderly stop.

    Prints what it is, then one line with its address once it answers. Raises ``AlreadyServed`` when the
    data directory is in use, ``OSError`` when the port is, ``EngineError`` when the runner needs a
    container engine and none answers, and ``ObjectStoreError`` when artifacts cannot go where the settings
    say.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(settings.data_dir), _listen(settings.port) as listener, _quiet_signals():
        runner = asyncio.run(make_runner(settings))
        if settings.artifacts is not None:
            ObjectStore(settings.artifact_options).check(settings.artifacts)
        app = create_app(settings, runner)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, int(settings.grace_seconds)),
            timeout_keep_alive=75,
        )
        server = _Server(config, app, listener.getsockname()[1])
        print(_notice(runner), flush=True)
        asyncio.run(server.serve(sockets=[listener]))
        return 0 if server.started else 1


def _notice(runner: Runner) -> str:
    if not isinstance(runner, ContainerRunner):
        return _NOTICE.format(components=_AS_PROCESSES)
    engine = runner.engine
    kind = f"{'rootless ' if engine.rootless else ''}{engine.kind} {engine.version}"
    return _NOTICE.format(components=f"Components run in their images, with {kind}")


class _Server(uvicorn.Server):
    """Tells the address once requests are answered, and takes it back at the end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, port: int) -> None:
        super().__init__(config)
        self._app = app
        self._path = app.state.settings.address_path
        self._port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started or self.should_exit:
            return
        url = f"http://{HOST}:{self._port}"
        address = {"port": self._port, "pid": os.getpid(), "url": url}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(address) + "\n", encoding="utf-8")
        temporary.replace(self._path)
        print(f"kfbridge local ready on {url}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._path.unlink(missing_ok=True)
        # Before open answers are waited for: a log that is followed ends with its task.
        await self._app.state.backend.supervisor.stop()
        await super().shutdown(sockets)


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    with (data_dir / "local.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyServed(
                f"another local backend uses {data_dir}: stop it or give another --data-dir"
            ) from error
        yield


@contextmanager
def _listen(port: int) -> Iterator[socket.socket]:
    # asyncio turns Nagle's algorithm off only where the protocol is named; else an answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        yield listener


@contextmanager
def _quiet_signals() -> Iterator[None]:
    # uvicorn raises the signal that stopped it once more at its end; an orderly stop is no death by signal.
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
