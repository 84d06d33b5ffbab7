"""MLflow's search for runs by a metric, on a database of its own that is filled by SQL.

Runs in an environment of its own (``mlflow.txt`` beside this module locks it), since it does not resolve with
the bridge's. Its tracking store is asked directly, without its REST server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bridge.local.environments import find_uv

_LOCK = Path(__file__).with_name("mlflow.txt")
_CHILD = Path(__file__).with_name("mlflow_search_child.py")


def install(folder: Path) -> Path | None:
    """The Python of an environment with MLflow; ``None``, which is said, where there is no lock of it."""
    if not _LOCK.exists():
        print(f"    without MLflow: there is no {_LOCK.name}", file=sys.stderr, flush=True)
        return None
    uv = find_uv() or "uv"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    python = folder / "bin" / "python"
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "sync", "--quiet", "--python", str(python), str(_LOCK)],
    ):
        subprocess.run([uv, *arguments], check=True, env=environment, timeout=600)
    return python


def measure(home: Path, python: Path, our_url: str, runs: int) -> dict[str, dict[str, float]]:
    """By search: milliseconds, p50 and p95, with so many runs of ten metrics in a database of that kind."""
    url = f"sqlite:///{home / 'mlflow.db'}"
    if our_url.startswith("postgresql"):
        # Beside ours in the same server, in a schema of its own.
        url = our_url.replace("postgresql:", "postgresql+psycopg:", 1)
        url += "&options=-csearch_path%3Dmlflow"
    answer = subprocess.run(
        [str(python), str(_CHILD), url, str(runs)],
        check=True,
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    found: dict[str, dict[str, float]] = json.loads(answer.stdout.splitlines()[-1])
    return found
