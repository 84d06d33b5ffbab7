"""Compiles the one pipeline of a Python file; run as a script, by whichever interpreter has kfp.

Arguments: source, target, result file, and the function's name or an empty word. The result file gets
a JSON object: ``done``, or ``kfp`` (it is not installed), ``choose`` (the names there are) or ``trace``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn


def main(source: str, target: str, result: str, wanted: str) -> NoReturn:
    """Compile, or say why not."""
    # The script's own folder is no place to import from.
    sys.path[0] = str(Path(source).resolve().parent)
    said = _compile(Path(source).resolve(), target, wanted)
    Path(result).write_text(json.dumps(said), encoding="utf-8")
    sys.exit(0)


def _compile(source: Path, target: str, wanted: str) -> dict[str, Any]:
    places = _places_of_kfp()
    if places is None:
        return {"kfp": False}
    sys.modules["kfp.client"] = _LazyClientModule(places)
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec is not None, "a file that ends with .py can be loaded"
    assert spec.loader is not None, "and has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.stem] = module
    try:
        spec.loader.exec_module(module)
        chosen = _choose(module, wanted)
        if isinstance(chosen, list):
            return {"choose": chosen}
        importlib.import_module("kfp.compiler").Compiler().compile(chosen, package_path=target)
    except BaseException:
        # Also SystemExit: whatever the user's module did is what has to be shown.
        return {"trace": traceback.format_exc()}
    return {"done": True}


def _choose(module: types.ModuleType, wanted: str) -> Any:
    """The component to compile, or the list of names from which one has to be chosen."""
    component = importlib.import_module("kfp.dsl.base_component").BaseComponent
    graph = importlib.import_module("kfp.dsl.graph_component").GraphComponent
    found = {name: value for name, value in vars(module).items() if isinstance(value, component)}
    pipelines = {
        name: value
        for name, value in found.items()
        if isinstance(value, graph) and value.pipeline_func.__module__ == module.__name__
    }
    if wanted:
        return found[wanted] if wanted in found else sorted(pipelines) or sorted(found)
    candidates = pipelines or found
    if len({id(value) for value in candidates.values()}) != 1:
        return sorted(candidates)
    return next(iter(candidates.values()))


def _places_of_kfp() -> list[str] | None:
    try:
        spec = importlib.util.find_spec("kfp")
    except ValueError:
        return None
    return None if spec is None else list(spec.submodule_search_locations or [])


class _LazyClientModule(types.ModuleType):
    """Stands in for ``kfp.client``, which kfp imports always and compiling never needs.

    It brings all of ``kubernetes``, which takes longer to import than everything else together. The
    real one is imported when something is done with it.
    """

    def __init__(self, places: list[str]) -> None:
        super().__init__("kfp.client")
        self.__path__ = [str(Path(place) / "client") for place in places]
        self.Client = _LazyClass("Client", (), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real_client_module(), name)


class _LazyClass(type):
    def __call__(cls, *args: Any, **options: Any) -> Any:
        return _real_client_module().Client(*args, **options)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real_client_module().Client, name)


def _real_client_module() -> Any:
    if isinstance(sys.modules.get("kfp.client"), _LazyClientModule):
        del sys.modules["kfp.client"]
        importlib.import_module("kfp.client")
    return sys.modules["kfp.client"]


if __name__ == "__main__":
    main(*sys.argv[1:5])
