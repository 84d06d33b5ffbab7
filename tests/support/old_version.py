"""The program as it was before its newest migration, out of the history of the checkout."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from bridge.lineage.schema import head_revision
from tests.support.bridge_service import Launch, ServiceProcess

ROOT = Path(__file__).parents[2]
_MIGRATIONS = "bridge/lineage/migrations/versions"


class NoHistory(Exception):
    """The checkout does not hold the commit; the text says why, and how to get it."""


def export_old_version(folder: Path) -> None:
    """Write the package as it was before its newest migration. Raises ``NoHistory``."""
    if not (ROOT / ".git").exists():
        raise NoHistory("this is no git checkout: clone the repository")
    (newest,) = (ROOT / _MIGRATIONS).glob(f"{head_revision()}_*.py")
    path = str(newest.relative_to(ROOT))
    added = _git("log", "-1", "--format=%H", "--diff-filter=A", "--", path).decode().strip()
    before = f"{added}^" if added else "HEAD"
    try:
        archive = _git("archive", before, "bridge")
    except subprocess.CalledProcessError:
        if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise NoHistory(
                "the clone is shallow and does not hold the version before the newest migration: "
                "`git fetch --unshallow`"
            ) from None
        raise
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")


def launcher(folder: Path) -> Launch:
    """Starts the service of the package in the folder, with this environment's libraries."""

    def launch(environment: Mapping[str, str], errors: IO[bytes]) -> ServiceProcess:
        return subprocess.Popen(
            [sys.executable, "-m", "bridge.service"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**environment, "PYTHONPATH": str(folder)},
        )

    return launch


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, timeout=60).stdout
