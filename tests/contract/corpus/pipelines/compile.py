"""``python -m tests.contract.corpus.pipelines.compile [FOLDER]`` writes ``compiled/*.yaml``."""

import sys
from pathlib import Path
from typing import Any

from kfp import compiler

from tests.contract.corpus.pipelines import (
    COMPILED,
    artifacts,
    branches,
    caching,
    exits,
    imports,
    loops,
    placeholders,
    platform,
    retries,
    surroundings,
    values,
)

PIPELINES: dict[str, Any] = {
    "artifacts": artifacts.artifacts,
    "artifacts_of_loops": artifacts.artifacts_of_loops,
    "branches": branches.branches,
    "branches_in_loops": branches.branches_in_loops,
    "caching": caching.caching,
    "caching_by_key": caching.caching_by_key,
    "exits": exits.exits,
    "exits_of_success": exits.exits_of_success,
    "failures": exits.failures,
    "ignored_failures": exits.ignored_failures,
    "imports": imports.imports,
    "loops": loops.loops,
    "loops_one_by_one": loops.loops_one_by_one,
    "placeholders": placeholders.placeholders,
    "platform": platform.platform,
    "retries": retries.retries,
    "retries_in_vain": retries.retries_in_vain,
    "retries_of_nested": retries.retries_of_nested,
    "surroundings": surroundings.surroundings,
    "values": values.values,
}


def compile_all(folder: Path) -> None:
    """Compiles every pipeline into ``folder``."""
    for name, pipeline in PIPELINES.items():
        compiler.Compiler().compile(pipeline, str(folder / f"{name}.yaml"))


if __name__ == "__main__":
    compile_all(Path(sys.argv[1]) if len(sys.argv) > 1 else COMPILED)
