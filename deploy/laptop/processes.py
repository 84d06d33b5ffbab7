"""Starting processes and ending them for certain, together with everything that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from uuid import uuid4

import psutil

T = TypeVar("T")
_MARK = "KFBRIDGE_STACK_MARK"


class ProcessEnded(RuntimeError):
    """A process that should be serving has ended; the message holds the end of its log."""


class TookTooLong(RuntimeError):
    """A condition did not come true in time; the message says which."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_for(condition: Callable[[], T | None], *, seconds: float, what: str, pause: float = 0.1) -> T:
    """The first truthy answer of ``condition``, asked every ``pause`` seconds; else ``TookTooLong``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TookTooLong(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)


class ManagedProcess:
    """A process in a session of its own, its output in a log file, found again by a mark.

    Some of the children (Airflow's, a backend's tasks) leave their parent's process group, so the
    group alone does not find them: every process that carries the mark in its environment is ours.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path, stop_signal: int
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._mark = uuid4().hex
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                env={**env, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_interrupts,  # noqa: PLW1509 - nothing but one system call
            )

    @property
    def pid(self) -> int:
        """The process id of the started process."""
        return self._process.pid

    def ensure_alive(self) -> None:
        """Raises ``ProcessEnded`` with the end of the log if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise ProcessEnded(f"{self.name} ended with exit code {code}; its log ends:\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def family(self) -> list[psutil.Process]:
        """Every living process of ours, the started one first: those with its mark in their environment,
        those of its process group, and its descendants. None of the three alone finds all: a daemon
        leaves the group and its parent, a process that sets its title (Airflow's API server) may write it
        over its environment.
        """
        found = {process.pid: process for process in psutil.process_iter() if self._is_ours(process)}
        for process in list(found.values()):
            found |= {child.pid: child for child in descendants(process)}
        return sorted(found.values(), key=lambda process: process.pid != self.pid)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # The process was made the leader of a session, so that its group's id is its own.
            return os.getpgid(process.pid) == self.pid or process.environ().get(_MARK) == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            return False  # gone meanwhile, or somebody else's

    def stop(self, *, grace_seconds: float = 20.0) -> None:
        """Ends the process and all that it started; after the grace, by SIGKILL."""
        before = self.family()
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            # What outlives the grace is ended below.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_seconds)
        # Also those whose parent is gone now; psutil tells a process from another with the same id.
        left = list({process.pid: process for process in (*before, *self.family())}.values())
        left = [process for process in left if process.is_running()]
        for process in left:
            _signal(process, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(left, timeout=3)
        for process in stubborn:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(stubborn, timeout=5)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(5)

    def __enter__(self) -> ManagedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _hear_interrupts() -> None:
    """What a shell starts in the background ignores SIGINT, and so would all that this starts, for ever."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """The processes that a process has started, and those that they have; none if it is gone."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def clean_environment() -> dict[str, str]:
    """This process's environment without what would leak from one Airflow or bridge into another."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "KFBRIDGE_", "PYTHONPATH", "VIRTUAL_ENV", "PYTEST_"))
    }
