"""Compiles a pipeline from Python source in a process of its own.

kfp is heavy, keeps global state and runs the user's module, so it is never imported here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bridge.commands.failures import CommandError

_COMPILE_TIMEOUT_SECONDS = 120.0
_SHOWN_ERROR_LINES = 20

_CHILD = Path(__file__).with_name("compile_child.py")


@contextmanager
def compiled(source: Path, *, function: str | None, python: str | None) -> Iterator[Path]:
    """The compiled form of the one pipeline in a Python file, there for the length of the block.

    ``function`` chooses among several; ``python`` is an interpreter that has kfp. Raises ``CommandError``.
    """
    if not source.is_file():
        raise CommandError(f"{source} cannot be read: there is no such file")
    with tempfile.TemporaryDirectory(prefix="kfbridge-compile-") as folder:
        target = Path(folder, f"{source.stem}.yaml")
        said = _compile(source, target, Path(folder, "result.json"), function, python or sys.executable)
        if not said.get("done"):
            raise _explain(said, source, function, python or sys.executable)
        yield target


def _compile(source: Path, target: Path, result: Path, function: str | None, python: str) -> dict[str, Any]:
    command = [python, "-W", "ignore", str(_CHILD), str(source), str(target), str(result), function or ""]
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMPILE_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise CommandError(
            f"{python} cannot be started: {error.strerror}", to_do="correct --python."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            f"{source} is not compiled after {_COMPILE_TIMEOUT_SECONDS:g} s",
            to_do="see what its module does when it is imported.",
        ) from error
    if result.exists():
        said: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return said
    return {"trace": child.stdout.decode(errors="replace") or f"the compiler ended with {child.returncode}"}


def _explain(said: dict[str, Any], source: Path, function: str | None, python: str) -> CommandError:
    if "kfp" in said:
        return CommandError(
            f"{source} cannot be compiled: kfp is not installed for {python}",
            to_do="pip install kfp there, name a Python that has it with --python, or give compiled YAML.",
        )
    if "choose" in said:
        names = said["choose"]
        if not names:
            return CommandError(
                f"{source} defines no pipeline",
                to_do="decorate a function with @kfp.dsl.pipeline.",
            )
        happened = f"has no pipeline {function}" if function else f"defines {len(names)} pipelines"
        return CommandError(
            f"{source} {happened}; there are: {', '.join(names)}", to_do="choose one with --function NAME."
        )
    lines = str(said.get("trace", "")).rstrip().splitlines()
    return CommandError(f"{source} cannot be compiled; nothing was sent", details=lines[-_SHOWN_ERROR_LINES:])
