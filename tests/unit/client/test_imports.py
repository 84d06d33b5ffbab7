"""The client lives in Airflow's environment: it may need the base dependencies and nothing more."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = ("fastapi", "sqlmodel", "sqlalchemy", "kfp", "google", "uvicorn", "rich", "fsspec", "airflow")

PROBE = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import bridge.client
for name in bridge.client.__all__:
    getattr(bridge.client, name)
"""


def test_the_client_needs_the_base_dependencies_only() -> None:
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert probe.returncode == 0, probe.stderr


def test_importing_the_package_fetches_nothing() -> None:
    code = "import sys, bridge.client; sys.exit(any(name in sys.modules for name in ('httpx', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
