"""Ending a process ends all that it started, however that hides."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from deploy.laptop.processes import ManagedProcess, wait_for

# Each hides otherwise: by a group of its own, by an empty environment, by both and a parent that is gone.
_CHILDREN = {
    "plain": "subprocess.Popen([*sleeper])",
    "own group": "subprocess.Popen([*sleeper], start_new_session=True)",
    "no environment": "subprocess.Popen([*sleeper], env={})",
    "no environment, own group": "subprocess.Popen([*sleeper], env={}, start_new_session=True)",
}
_PARENT = """\
import signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
child = {child}
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("temper", ["polite", "stubborn"])
@pytest.mark.parametrize("kind", _CHILDREN)
def test_nothing_is_left(tmp_path: Path, kind: str, temper: str) -> None:
    log = tmp_path / "log"
    code = _PARENT.replace("{child}", _CHILDREN[kind])
    process = ManagedProcess(
        kind, [sys.executable, "-c", code, temper], env=os.environ, log=log, stop_signal=signal.SIGINT
    )
    try:
        child = int(wait_for(lambda: log.read_text().strip(), seconds=20, what="the child to start"))
        assert psutil.pid_exists(child)
    finally:
        process.stop(grace_seconds=1 if temper == "stubborn" else 10)
    assert not psutil.pid_exists(process.pid)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_hears_its_stop_signal_where_this_process_ignores_that(tmp_path: Path) -> None:
    """As whatever a shell or a CI has started in the background does."""
    log = tmp_path / "log"
    code = "import time\nprint('up', flush=True)\ntry:\n    time.sleep(600)\nfinally:\n    print('ended')"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = ManagedProcess(
            "hears", [sys.executable, "-c", code], env=os.environ, log=log, stop_signal=signal.SIGINT
        )
        try:
            wait_for(lambda: "up" in log.read_text(), seconds=20, what="it to start")
        finally:
            process.stop(grace_seconds=10)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "ended" in log.read_text()
