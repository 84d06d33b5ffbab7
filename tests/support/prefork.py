"""Service processes that begin in a moment: forked from one that has imported everything.

Importing the service takes seconds of CPU, starting it hardly any. ``Prefork`` keeps one process that has
imported it, opened nothing and started no thread; each service is a fork of that one, a process of its own
with its own id, environment, signals and exit code.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO

import time_machine

CLOCK_SECONDS = "KFBTEST_CLOCK_SECONDS"
"""An environment variable: by how much the process's clock is wrong."""
_MAX_REQUEST_BYTES = 1024 * 1024


class ForkedProcess:
    """A forked service, with what tests use of ``subprocess.Popen``."""

    def __init__(self, pid: int, stdout: IO[bytes], status: int) -> None:
        self.pid = pid
        self.stdout: IO[bytes] | None = stdout
        self._status = status
        self._returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while it runs."""
        return self._ended_within(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it ended; raises ``subprocess.TimeoutExpired``."""
        code = self._ended_within(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(f"forked service {self.pid}", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal unless it has ended."""
        if self.poll() is None:
            # It may end between the two, and its parent reaps it.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, seconds: float | None) -> int | None:
        if self._returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(seconds):
                    return None
            told = os.read(self._status, 64)
            os.close(self._status)
            assert told, f"the process that service {self.pid} was forked from is gone"
            self._returncode = int(told)
        return self._returncode


class Prefork:
    """Starts forked services; made by ``preforked``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __call__(self, environment: Mapping[str, str], errors: IO[bytes]) -> ForkedProcess:
        """A service with this environment, whose standard error goes to the open file ``errors``."""
        output, its_output = os.pipe()
        status, its_status = os.pipe()
        request = json.dumps(dict(environment)).encode()
        assert len(request) < _MAX_REQUEST_BYTES
        try:
            socket.send_fds(
                self._connection,
                [len(request).to_bytes(4, "big")],
                [its_output, errors.fileno(), its_status],
            )
            self._connection.sendall(request)
        finally:
            os.close(its_output)
            os.close(its_status)
        pid = int.from_bytes(_exactly(self._connection, 4), "big")
        return ForkedProcess(pid, os.fdopen(output, "rb", buffering=0), status)


@contextmanager
def preforked() -> Iterator[Prefork]:
    """The process to fork from, ended with all that it forked at the end of the block."""
    ours, its = socket.socketpair()
    with ours:
        with its:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.prefork", str(its.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        yield Prefork(ours)
    try:
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the other side of the fork server hung up")
        data += more
    return data


class _Server:
    """The loop of the process that is forked from."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._children: dict[int, int] = {}
        self._alarm, self._its_alarm = os.pipe()
        os.set_blocking(self._its_alarm, False)
        os.set_blocking(self._alarm, False)

    def run(self) -> int:
        """Fork for each request; returns, all children killed, when the test session hangs up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._its_alarm)
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._alarm, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select()]
                if self._alarm in ready:
                    with suppress(BlockingIOError):
                        os.read(self._alarm, 4096)
                    self._reap()
                if self._connection.fileno() in ready and not self._fork_one():
                    break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        return 0

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            told = self._children.pop(pid)
            # A test that did not wait for it has closed its side.
            with suppress(BrokenPipeError):
                os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(told)

    def _fork_one(self) -> bool:
        head, descriptors, _, _ = socket.recv_fds(self._connection, 4, 3)
        if not head:
            return False
        head += _exactly(self._connection, 4 - len(head)) if len(head) < 4 else b""
        environment = json.loads(_exactly(self._connection, int.from_bytes(head, "big")))
        output, errors, status = descriptors
        pid = os.fork()
        if pid == 0:
            self._become_service(environment, output, errors, status)
        os.close(output)
        os.close(errors)
        self._children[pid] = status
        self._connection.sendall(pid.to_bytes(4, "big"))
        return True

    def _become_service(self, environment: dict[str, str], output: int, errors: int, status: int) -> None:
        """Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._connection.close()
            for descriptor in (status, self._alarm, self._its_alarm, *self._children.values()):
                os.close(descriptor)
            os.dup2(output, 1)
            os.dup2(errors, 2)
            os.close(output)
            os.close(errors)
            os.environ.clear()
            os.environ.update(environment)
            _set_clock(float(environment.get(CLOCK_SECONDS, 0)))
            from bridge.service.__main__ import main

            code = main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _set_clock(seconds: float) -> None:
    """Let every look at the time of day, whoever takes it, be wrong by so much; the monotonic clock is right,
    and so is the clock of a database."""
    if seconds:
        time_machine.travel(timedelta(seconds=seconds), tick=True).start()


def _import_everything() -> None:
    """What a service imports late too: it is imported once, and here."""
    import importlib

    import alembic.command  # noqa: F401
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401
    import uvicorn.lifespan.on
    import uvicorn.loops.auto
    import uvicorn.protocols.http.auto
    import uvicorn.protocols.websockets.auto  # noqa: F401

    importlib.import_module("bridge.service.__main__")


if __name__ == "__main__":
    _import_everything()
    sys.exit(_Server(socket.socket(fileno=int(sys.argv[1]))).run())
