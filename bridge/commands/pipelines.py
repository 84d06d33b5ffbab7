"""The pipeline that a command's PIPELINE argument means: a compiled file, Python source, or a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bridge.commands.failures import CommandError

if TYPE_CHECKING:
    from bridge.spec.load import Pipeline

_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".py"})


def is_file_name(text: str) -> bool:
    """Whether a person who writes this means a file and not a registered pipeline."""
    path = Path(text)
    return path.suffix.lower() in _SUFFIXES or "/" in text or path.exists()


def load_file(path: Path) -> Pipeline:
    """A compiled pipeline that was found sound; ``CommandError`` with every problem otherwise."""
    from bridge.spec.errors import SpecError
    from bridge.spec.load import load_pipeline

    try:
        return load_pipeline(path)
    except SpecError as error:
        raise CommandError(
            f"{path} is no pipeline that can be run; nothing was sent",
            details=error.problems,
            to_do="compile one with kfp: kfp dsl compile --py PIPELINE.py --output PIPELINE.yaml",
        ) from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error


def load_source(path: Path, *, function: str | None, python: str | None) -> Pipeline:
    """A compiled pipeline, or the one that a Python file compiles to. Raises ``CommandError``."""
    if path.suffix != ".py":
        return load_file(path)
    from bridge.commands.compiling import compiled

    with compiled(path, function=function, python=python) as compiled_path:
        return load_file(compiled_path)
