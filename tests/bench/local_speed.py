"""The local backend beside ``kfp.local``: siblings, the cost of a task, and KFP's own pipelines."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from bridge.commands.compiling import compiled
from bridge.domain.states import RuntimeState
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import Run, RuntimeConfig
from bridge.kfp_api.mlmd import MlmdReader
from bridge.local.environments import find_uv
from bridge.spec.caching import with_caching
from bridge.spec.load import load_pipeline
from tests.bench.servers import local_backend
from tests.support.corpus import corpus_files

SIBLINGS = 8
SIBLING_SECONDS = 3
CHAIN = 20
_RUN_TIMEOUT_SECONDS = 300.0
_POLL_SECONDS = 0.02
_KFP = "kfp==2.17.0"
_CHILD = Path(__file__).with_name("kfp_local_child.py")
# They download large packages or data from elsewhere: the network would be measured.
_LEFT_OUT = {
    "notebook_component_simple",
    "pipeline_with_artifact_upload_download",
    "pipeline_with_submit_request",
}
_SOURCE = """
from kfp import dsl

@dsl.component
def step(value: int) -> int:
    return value + 1

@dsl.component
def wait(seconds: int):
    import time
    time.sleep(seconds)

@dsl.pipeline(name="chain")
def chain(value: int = 0):
    last = step(value=value)
    for _ in range(LENGTH - 1):
        last = step(value=last.output)

@dsl.pipeline(name="five")
def five(value: int = 0):
    last = step(value=value)
    for _ in range(4):
        last = step(value=last.output)

@dsl.pipeline(name="siblings")
def siblings(seconds: int = 3):
    for _ in range(WIDTH):
        wait(seconds=seconds)
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One pipeline: how long it took, whether it succeeded, and what each of its tasks in a row took."""

    name: str
    seconds: float
    succeeded: bool
    task_seconds: tuple[float, ...] = ()


def measure(home: Path) -> dict[str, float]:
    """All figures of one run: seconds, counts of pipelines, and how many times faster."""
    own = _own_pipelines(home)
    command = min(command_seconds(home) for _ in range(3))
    with local_backend(home, max_parallel=SIBLINGS) as url:
        here = asyncio.run(_Here(url, home).measure(own))
    theirs = _KfpLocal(home)
    there = {
        "siblings": [theirs.run(own["siblings"], {})],
        "chain": [theirs.run(own["chain"], {})],
        "corpus": [theirs.run(path, _arguments(path, home / "there")) for path in _corpus()],
    }
    return {"kfbridge run of five tasks from source, warm": command, **_figures(here, there)}


def command_seconds(home: Path) -> float:
    """A ``kfbridge run`` of five tasks one after the other, compiled from source, no result reused.

    The first one in ``home`` builds the environment.
    """
    source = home / "own.py"
    source.write_text(_SOURCE.replace("LENGTH", str(CHAIN)).replace("WIDTH", str(SIBLINGS)))
    command = [sys.executable, "-m", "bridge.cli", "run", str(source), "--function", "five", "--no-caching"]
    began = time.perf_counter()
    subprocess.run(
        command,
        env={**os.environ, "XDG_CACHE_HOME": str(home / "cache")},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began


def _figures(here: dict[str, list[Ran]], there: dict[str, list[Ran]]) -> dict[str, float]:
    tasks = [seconds for ran in here["chain"] for seconds in ran.task_seconds]
    figures: dict[str, float] = {
        f"{SIBLINGS} siblings of {SIBLING_SECONDS} s, here": _total(here["siblings"]),
        f"{SIBLINGS} siblings of {SIBLING_SECONDS} s, kfp.local": _total(there["siblings"]),
        "a warm task, here (median, ready to recorded)": statistics.median(tasks),
        "a warm task, kfp.local (mean)": _total(there["chain"]) / CHAIN,
    }
    if not there["corpus"]:
        return figures
    succeeded = [{ran.name for ran in side["corpus"] if ran.succeeded} for side in (here, there)]
    both = succeeded[0] & succeeded[1]
    figures |= {
        "KFP's pipelines": len(there["corpus"]),
        "    seconds here": _total(here["corpus"]),
        "    seconds here, environments still to be built": _total(here["cold"]),
        "    seconds kfp.local": _total(there["corpus"]),
        "    times faster": _total(there["corpus"]) / _total(here["corpus"]),
        "    succeeded here": len(succeeded[0]),
        "    succeeded with kfp.local": len(succeeded[1]),
        "    times faster, of those that succeed in both": _total(_named(there["corpus"], both))
        / _total(_named(here["corpus"], both)),
    }
    return figures


def _named(runs: list[Ran], names: set[str]) -> list[Ran]:
    return [ran for ran in runs if ran.name in names]


def _total(runs: list[Ran]) -> float:
    return sum(ran.seconds for ran in runs)


def _corpus() -> list[Path]:
    files = corpus_files("critical", "failing", "local_execution", "parallel_and_nested")
    return [path for path in files if path.stem not in _LEFT_OUT]


def _arguments(path: Path, scratch: Path) -> dict[str, Any]:
    scratch.mkdir(exist_ok=True)
    place = str(scratch / f"{path.stem}-{time.monotonic_ns()}")
    return {
        "add_numbers": {"a": 3, "b": 4},
        "local_execution_pipeline_with_ignore_upstream_failure": {"marker_path": place},
        "local_execution_pipeline_with_retry": {"counter_path": place},
    }.get(path.stem, {})


def _own_pipelines(home: Path) -> dict[str, Path]:
    source = home / "own.py"
    source.write_text(_SOURCE.replace("LENGTH", str(CHAIN)).replace("WIDTH", str(SIBLINGS)))
    paths = {}
    for name in ("chain", "siblings"):
        paths[name] = home / f"{name}.yaml"
        with compiled(source, function=name, python=None) as path:
            paths[name].write_bytes(path.read_bytes())
    return paths


class _Here:
    """The local backend, asked through its API as anybody asks it. Its cache of results is not used."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._scratch = home / "here"

    async def measure(self, own: dict[str, Path]) -> dict[str, list[Ran]]:
        """The runs by what they are to show."""
        async with KfpClient(self._url) as kfp:
            await self._run(kfp, own["chain"], {})  # builds the environment
            return {
                "chain": [await self._run(kfp, own["chain"], {})],
                "siblings": [await self._run(kfp, own["siblings"], {})],
                "cold": [await self._run_corpus(kfp, path) for path in _corpus()],
                "corpus": [await self._run_corpus(kfp, path) for path in _corpus()],
            }

    async def _run_corpus(self, kfp: KfpClient, path: Path) -> Ran:
        return await self._run(kfp, path, _arguments(path, self._scratch))

    async def _run(self, kfp: KfpClient, path: Path, arguments: dict[str, Any]) -> Ran:
        pipeline = load_pipeline(path)
        document = {
            "pipeline_spec": with_caching(pipeline.document, enabled=False),
            "platform_spec": {"platforms": dict(pipeline.platforms)},
        }
        wanted = Run(
            run_id=str(uuid4()),
            display_name=path.stem,
            pipeline_spec=document,
            runtime_config=RuntimeConfig(parameters=arguments),
        )
        began = time.perf_counter()
        created = await kfp.create_run(wanted)
        while True:
            run = await kfp.get_run(created.run_id or "")
            if run.runtime_state.is_terminal:
                break
            await asyncio.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - began
        return Ran(
            path.stem, seconds, run.runtime_state is RuntimeState.SUCCEEDED, await _task_seconds(kfp, run)
        )


async def _task_seconds(kfp: KfpClient, run: Run) -> tuple[float, ...]:
    """From each task's readiness, which in a chain is the end of the one before it, to its recorded end."""
    mirror = await MlmdReader(kfp).read_run(UUID(run.run_id), run.task_details)
    ends = (
        sorted(task.finished_at for task in mirror.tasks if task.kind != "dag" and task.finished_at)
        if mirror
        else []
    )
    return tuple((later - earlier).total_seconds() for earlier, later in pairwise(ends))


class _KfpLocal:
    """``kfp.local`` in an environment of its own, each pipeline in a process of its own."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "kfp-local"
        self._uv = find_uv() or "uv"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}
        subprocess.run(
            [self._uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(self._folder)],
            check=True,
            env=self._env,
        )

    def run(self, path: Path, arguments: dict[str, Any]) -> Ran:
        """One pipeline. What installing it costs kfp.local counts, what importing it costs does not."""
        python = str(self._folder / "bin" / "python")
        # A pipeline that pins another version replaces the one that ran it.
        subprocess.run(
            [self._uv, "pip", "install", "--quiet", "--python", python, _KFP], check=True, env=self._env
        )
        command = [python, "-W", "ignore", str(_CHILD), str(path), json.dumps(arguments)]
        path_first = {**self._env, "PATH": f"{self._folder / 'bin'}{os.pathsep}{self._env.get('PATH', '')}"}
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=path_first,
                capture_output=True,
                text=True,
                timeout=_RUN_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran(path.stem, _RUN_TIMEOUT_SECONDS, False)
        said = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
        if not said:
            print(f"kfp.local on {path.stem}: {done.stderr[-500:]}", file=sys.stderr)
            return Ran(path.stem, time.perf_counter() - began, False)
        found = json.loads(said[-1])
        return Ran(path.stem, found["seconds"], found["succeeded"])
