"""Which processes a starting backend takes for components of its predecessor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bridge.local.leftovers import end_leftovers


def waiting(temporary: str) -> subprocess.Popen[bytes]:
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": temporary},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_only_components_of_this_backend_are_ended(tmp_path: Path) -> None:
    component = waiting(f"{tmp_path}/runs/r/pod/tmp")
    neighbour = waiting(f"{tmp_path}/runs-of-another/r/pod/tmp")
    with component, neighbour:
        try:
            found = end_leftovers(tmp_path / "runs")
            if Path("/proc").is_dir():
                assert found == 1
                assert component.wait(10) == -9
            assert neighbour.poll() is None
        finally:
            for process in (component, neighbour):
                process.kill()


def test_without_a_process_table_nothing_is_found(tmp_path: Path) -> None:
    assert end_leftovers(tmp_path / "runs", processes=tmp_path / "no-proc") == 0
