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

# Run by the child; its arguments are: source, target, result file, function name or "".
_CHILD = """
import importlib.util, json, pathlib, sys, traceback

source, target, result, wanted = sys.argv[1:5]

def finish(**said):
    pathlib.Path(result).write_text(json.dumps(said), encoding="utf-8")
    sys.exit(0)

def has_kfp():
    try:
        return importlib.util.find_spec("kfp") is not None
    except ValueError:
        return False

if not has_kfp():
    finish(kfp=False)

path = pathlib.Path(source).resolve()
sys.path.insert(0, str(path.parent))
spec = importlib.util.spec_from_file_location(path.stem, path)
module = importlib.util.module_from_spec(spec)
sys.modules[path.stem] = module
try:
    spec.loader.exec_module(module)
except BaseException:
    finish(trace=traceback.format_exc())

# Only now: source that does not work is told at once, without waiting for kfp.
from kfp import compiler
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.graph_component import GraphComponent

found = {name: value for name, value in vars(module).items() if isinstance(value, BaseComponent)}
pipelines = {
    name: value for name, value in found.items()
    if isinstance(value, GraphComponent) and value.pipeline_func.__module__ == path.stem
}
if wanted:
    if wanted not in found:
        finish(choose=sorted(pipelines) or sorted(found))
    chosen = found[wanted]
else:
    candidates = pipelines or found
    if len({id(value) for value in candidates.values()}) != 1:
        finish(choose=sorted(candidates))
    chosen = next(iter(candidates.values()))
try:
    compiler.Compiler().compile(chosen, package_path=target)
except BaseException:
    finish(trace=traceback.format_exc())
finish(done=True)
"""


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
    command = [python, "-W", "ignore", "-c", _CHILD, str(source), str(target), str(result), function or ""]
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
