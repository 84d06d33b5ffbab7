"""The program as it was before its newest migrations, out of the history of the checkout."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from tests.support.bridge_service import Launch, ServiceProcess

ROOT = Path(__file__).parents[2]
_MIGRATIONS = "bridge/lineage/migrations/versions"


class NoHistory(Exception):
    """The checkout does not hold the commit; the text says why, and how to get it."""


def export_old_version(folder: Path) -> None:
    """Write the newest package of the history that knows only the first of today's migrations.

    Raises ``NoHistory``.
    """
    if not (ROOT / ".git").exists():
        raise NoHistory("this is no git checkout: clone the repository")
    before = _older_version()
    if before is None:
        if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise NoHistory(
                "the clone is shallow and does not hold a version before the newest migrations: "
                "`git fetch --unshallow`"
            )
        raise AssertionError("the history holds no version before the newest migrations")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", before, "bridge"))) as packed:
        packed.extractall(folder, filter="data")


def _older_version() -> str | None:
    """The newest commit whose chain of migrations is the beginning of today's, and shorter."""
    today = _chain(path.read_text(encoding="utf-8") for path in (ROOT / _MIGRATIONS).glob("*.py"))
    for commit in _git("log", "--format=%H", "--", _MIGRATIONS).decode().split():
        names = _git("ls-tree", "--name-only", commit, f"{_MIGRATIONS}/").decode().split()
        then = _chain(_git("show", f"{commit}:{name}").decode() for name in names)
        if then and len(then) < len(today) and today[: len(then)] == then:
            return commit
    return None


def _chain(sources: Iterable[str]) -> list[str]:
    """The revisions in their order; empty unless they are one chain."""
    after = {}
    for source in sources:
        values = dict(re.findall(r'^(revision|down_revision) = (?:"(\w+)"|None)$', source, re.MULTILINE))
        if values.get("revision"):
            after[values.get("down_revision", "")] = values["revision"]
    chain: list[str] = []
    while (following := after.get(chain[-1] if chain else "")) is not None:
        chain.append(following)
    return chain if len(chain) == len(after) else []


def launcher(folder: Path) -> Launch:
    """Starts the service of the package in the folder, with this environment's libraries.

    What its configuration says of settings that the old version does not know is left out.
    """
    source = (folder / "bridge/service/settings.py").read_text(encoding="utf-8")
    known = set(re.findall(r"^    (\w+):", source, re.MULTILINE))

    def launch(environment: Mapping[str, str], errors: IO[bytes]) -> ServiceProcess:
        config = Path(environment["KFBRIDGE_CONFIG"])
        lines = config.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if " = " not in line or line.partition(" = ")[0] in known]
        config.write_text("\n".join(kept), encoding="utf-8")
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
