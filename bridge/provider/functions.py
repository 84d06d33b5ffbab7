"""Pipelines given as kfp functions. Knows neither Airflow nor kfp until it is handed one of kfp's objects.

kfp and Airflow do not resolve together, but an environment may hold both all the same; then a DAG file
can define its pipeline itself.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any


class FunctionProblem(ValueError):
    """A function is no pipeline, or kfp cannot compile it; the message says which function."""


@dataclass(frozen=True, slots=True)
class CompiledFunction:
    """What kfp made of a function: compiled YAML. Shown by name and digest, so that a DAG's serialized form
    changes when the pipeline does and not with every parse; never rendered, for it holds KFP's own ``{{``."""

    name: str
    digest: str
    text: str = field(repr=False)

    def __str__(self) -> str:
        return f"kfp function {self.name} ({self.digest[:12]})"

    __repr__ = __str__


def is_component(value: Any) -> bool:
    """Whether the value is what ``@dsl.pipeline`` or ``@dsl.component`` makes of a function."""
    base = sys.modules.get("kfp.dsl.base_component")
    return base is not None and isinstance(value, base.BaseComponent)


def compile_function(component: Any) -> CompiledFunction:
    """The compiled form of one of kfp's components. Raises ``FunctionProblem`` naming what kfp says."""
    from bridge.spec.errors import SpecError
    from bridge.spec.load import load_pipeline

    with tempfile.TemporaryDirectory(prefix="kfbridge-") as folder:
        target = Path(folder, "pipeline.yaml")
        try:
            import_module("kfp.compiler").Compiler().compile(component, package_path=str(target))
            text = target.read_text(encoding="utf-8")
            pipeline = load_pipeline(text)
        except SpecError as error:
            raise FunctionProblem(f"what kfp compiles cannot be run: {' '.join(error.problems)}") from error
        except Exception as error:  # kfp raises whatever its checks raise
            named = getattr(component, "name", component)
            raise FunctionProblem(f"kfp cannot compile the function {named}: {error}") from error
    return CompiledFunction(name=pipeline.name, digest=pipeline.digest, text=text)
