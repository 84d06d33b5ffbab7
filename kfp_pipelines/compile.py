"""``python -m kfp_pipelines.compile [--check]``: writes ``compiled/*.yaml``, or compares it with the code."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfp import compiler

from kfp_pipelines.failing import failing
from kfp_pipelines.flight_delay import flight_delay
from kfp_pipelines.hello import hello
from kfp_pipelines.shapes import shapes

COMPILED = Path(__file__).with_name("compiled")
PIPELINES: dict[str, Any] = {
    "failing": failing,
    "flight_delay": flight_delay,
    "hello": hello,
    "shapes": shapes,
}


def compile_all(folder: Path) -> list[Path]:
    """Compiles every pipeline into ``folder``; the same code gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pipeline in PIPELINES.items():
        path = folder / f"{name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        paths.append(path)
    return paths


def stale_files(committed: Path) -> list[str]:
    """The files in ``committed`` that are missing, left over, or not what the code compiles to."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = {path.name: path.read_bytes() for path in compile_all(Path(scratch))}
    stored = {path.name: path.read_bytes() for path in committed.glob("*.yaml")}
    return sorted(name for name in fresh.keys() | stored.keys() if fresh.get(name) != stored.get(name))


def main(arguments: list[str] | None = None) -> int:
    """The command: exit code 0, or 1 if ``--check`` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m kfp_pipelines.compile", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is not up to date"
    )
    if not parser.parse_args(arguments).check:
        for path in compile_all(COMPILED):
            print(f"wrote {path.name}")
        return 0
    stale = stale_files(COMPILED)
    if stale:
        print(f"not up to date: {', '.join(stale)}; run python -m kfp_pipelines.compile", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
