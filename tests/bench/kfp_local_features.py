"""What ``kfp.local`` makes of the feature pipelines: ``python -m tests.bench.kfp_local_features [NAME …]``.

Prints one row per pipeline of ``tests/support/feature_pipelines.py``: ``as expected``, or what happened
instead. It is the column ``kfp.local`` of docs/dsl-features.md. Every pipeline runs in a process of its own
(``kfp.local`` keeps its settings in a global) and in an environment made for this, since its subprocess
runner installs packages into the interpreter it runs with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bridge.local.environments import find_uv
from tests.support.features import FEATURES, LOG, SOURCE, Feature, prepare_folder

TIMEOUT_SECONDS = 180
PACKAGES = ("kfp==2.17.0", "kfp-kubernetes==2.17.0", "pydantic>=2,<3")

_COLOURS = re.compile(r"\x1b\[\d*m")
_ERROR = re.compile(r"\w*(Error|Exception)\b")

_CHILD = """
import importlib.util, json, os, sys, warnings
warnings.simplefilter("ignore")
source, name, arguments, root = sys.argv[1:]
spec = importlib.util.spec_from_file_location("feature_pipelines", source)
module = importlib.util.module_from_spec(spec)
sys.modules["feature_pipelines"] = module
spec.loader.exec_module(module)
from kfp import local
os.mkdir(root + "/workspace")
runner = local.SubprocessRunner(use_venv=False)
local.init(runner, pipeline_root=root + "/artifacts", workspace_root=root + "/workspace")
task = module.pipelines()[name](**json.loads(arguments))
outputs = {key: value for key, value in task.outputs.items()}
print("\\nOUTPUTS " + json.dumps(outputs, default=lambda value: f"<{type(value).__name__}>"))
"""


def main(names: list[str]) -> int:
    """Runs the named pipelines, or all, and prints the table; returns how many were not as expected."""
    chosen = [feature for feature in FEATURES if not names or feature.pipeline in names]
    different = 0
    with tempfile.TemporaryDirectory(prefix="kfp-local-") as folder:
        python = _environment(Path(folder) / "venv")
        for number, feature in enumerate(chosen):
            told = _run(python, feature, Path(folder) / str(number))
            different += told != "as expected"
            print(f"{feature.pipeline:35} {told}", flush=True)
    print(f"{len(chosen) - different} of {len(chosen)} as expected")
    return different


def _environment(venv: Path) -> str:
    uv = find_uv()
    if uv is None:
        raise SystemExit("uv is needed to make the environment")
    subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(venv)], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PACKAGES], check=True)
    return python


def _run(python: str, feature: Feature, folder: Path) -> str:
    prepare_folder(folder)
    arguments = json.dumps(feature.arguments_in(folder))
    command = [python, "-c", _CHILD, str(SOURCE), feature.pipeline, arguments, str(folder)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            cwd=folder,
            check=False,
            env={"PATH": f"{Path(python).parent}:/usr/bin:/bin", "HOME": str(folder)},
        )
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT_SECONDS} s"
    found = [line for line in done.stdout.splitlines() if line.startswith("OUTPUTS ")]
    outputs = json.loads(found[-1].removeprefix("OUTPUTS ")) if found else None
    return _judge(feature, folder, outputs, done.stdout + done.stderr)


def _judge(feature: Feature, folder: Path, outputs: dict[str, Any] | None, said: str) -> str:
    if outputs is None and not feature.failed:
        return f"fails: {_reason(said)}"
    if outputs is not None and feature.failed:
        return "succeeds, where it should fail"
    if outputs is not None and repr(sorted(outputs.items())) != repr(sorted(feature.outputs.items())):
        return f"gives {json.dumps(outputs)[:150]}"
    logged = (folder / LOG).read_text().splitlines() if (folder / LOG).exists() else []
    if feature.logged and set(logged) != feature.logged:
        return f"its components tell {logged} {'' if logged else _reason(said)}".strip()
    return "as expected"


def _reason(said: str) -> str:
    """The error of the component that failed, else the last error, else the last line."""
    lines = [line.strip() for line in _COLOURS.sub("", said).splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    inner = [line for line in errors if "Inner task failed" not in line]
    return (inner or errors or lines or ["nothing said"])[-1][:200]


if __name__ == "__main__":
    raise SystemExit(1 if main(sys.argv[1:]) else 0)
