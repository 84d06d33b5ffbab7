"""One run on a backend, straight through KFP's API: submitted, shown, and ended with the command."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bridge.client.models import TaskModel
from bridge.commands import render
from bridge.commands.failures import TIMEOUT, UNREACHABLE, CommandError
from bridge.commands.lognoise import ExecutorNoise, without_noise
from bridge.commands.progress import Progress, progress
from bridge.commands.tasktree import task_lines
from bridge.commands.waiting import exit_code_of
from bridge.domain.lineage import Direction, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpError, KfpInvalid, KfpNotFound
from bridge.kfp_api.filters import unfinished
from bridge.kfp_api.messages import Run, RuntimeConfig
from bridge.kfp_api.mlmd import MlmdReader
from bridge.spec.caching import with_caching

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.spec.load import Pipeline

_POLL_SECONDS = 0.3
_END_TIMEOUT_SECONDS = 15.0
_LOG_TAIL_LINES = 12
# The last line of a Python traceback, which says more than an exit code.
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b")


class LocalRun:
    """A pipeline with its arguments, to be run once; it is canceled when ``stop`` is set."""

    def __init__(
        self,
        pipeline: Pipeline,
        arguments: Mapping[str, Any],
        args: argparse.Namespace,
        console: Console,
        stop: asyncio.Event,
    ) -> None:
        self._pipeline = pipeline
        self._arguments = dict(arguments)
        self._args = args
        self._console = console
        self._kfp_run_id = uuid4()
        self._mirror = RunMirror()
        self._stop = stop
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def run_on(self, url: str) -> int:
        """Run on the backend there; the exit code tells how it ended. ``stop`` ends the run first."""
        async with KfpClient(url) as kfp:
            with progress(self._console, quiet=self._args.json) as shown:
                try:
                    run, timed_out = await self._to_its_end(kfp, shown)
                except KfpInvalid as error:
                    raise CommandError(f"the local backend refused the run: {error.message}") from error
                except KfpError as error:
                    raise CommandError(f"the local backend failed: {error}", exit_code=UNREACHABLE) from error
                finally:
                    await self._end_followers()
            log_tail = await self._log_tail(kfp) if run.runtime_state is RuntimeState.FAILED else []
        self._report(run, log_tail)
        return TIMEOUT if timed_out else exit_code_of(run.runtime_state)

    async def _to_its_end(self, kfp: KfpClient, shown: Progress) -> tuple[Run, bool]:
        # A killed command can have left a run unfinished, which the backend would now go on with.
        async for left in kfp.iterate_runs(filter=unfinished()):
            await kfp.terminate_run(left.run_id or "")
        shown.show(self._pipeline.name, "PENDING", [])
        await kfp.create_run(self._request())
        reader = MlmdReader(kfp)
        deadline = asyncio.get_running_loop().time() + (self._args.timeout or float("inf"))
        while True:
            run = await self._look(kfp, reader)
            if self._args.logs != "none":
                self._follow_new_logs(kfp, shown)
            shown.show(self._pipeline.name, run.runtime_state, task_models(self._mirror.tasks))
            if run.runtime_state.is_terminal:
                return run, False
            timed_out = asyncio.get_running_loop().time() >= deadline
            if self._stop.is_set() or timed_out:
                return await self._terminate(kfp, reader, shown), timed_out
            await self._pause()

    async def _look(self, kfp: KfpClient, reader: MlmdReader) -> Run:
        run = await kfp.get_run(self._kfp_run_id)
        self._mirror = await reader.read_run(self._kfp_run_id, run.task_details) or self._mirror
        return run

    async def _terminate(self, kfp: KfpClient, reader: MlmdReader, shown: Progress) -> Run:
        shown.say("ending the run …")
        await kfp.terminate_run(self._kfp_run_id)
        give_up = asyncio.get_running_loop().time() + _END_TIMEOUT_SECONDS
        while asyncio.get_running_loop().time() < give_up:
            run = await self._look(kfp, reader)
            if run.runtime_state.is_terminal:
                return run
            await asyncio.sleep(_POLL_SECONDS)
        # The backend is stopped next, and with it every process of the run.
        return run.model_copy(update={"state": str(RuntimeState.CANCELED)})

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._stop.wait()
        except TimeoutError:
            return

    def _request(self) -> Run:
        pipeline = self._pipeline
        document: dict[str, Any] = dict(pipeline.document)
        if self._args.caching is not None:
            document = with_caching(document, self._args.caching)
        if pipeline.platforms:
            document = {"pipeline_spec": document, "platform_spec": {"platforms": dict(pipeline.platforms)}}
        return Run(
            run_id=str(self._kfp_run_id),
            display_name=pipeline.name,
            pipeline_spec=document,
            runtime_config=RuntimeConfig(parameters=self._arguments),
        )

    def _follow_new_logs(self, kfp: KfpClient, shown: Progress) -> None:
        for task in self._mirror.tasks:
            if (
                task.pod_name
                and task.kind != "dag"
                and not task.cached
                and task.pod_name not in self._followed
            ):
                following = self._follow_log(kfp, task.path, task.pod_name, shown)
                self._followed[task.pod_name] = asyncio.create_task(following)

    async def _follow_log(self, kfp: KfpClient, path: str, pod_name: str, shown: Progress) -> None:
        prefix = self._console.paint(path, "cyan", stream=self._console.err)
        noise, rest = ExecutorNoise(), b""

        def say(line: bytes) -> None:
            text = line.decode(errors="replace")
            if self._args.logs == "all" or not noise.has(text):
                shown.say(f"{prefix} | {text}")

        try:
            async for piece in kfp.node_log(self._kfp_run_id, pod_name, follow=True):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    say(line)
        except KfpNotFound:
            return
        if rest:
            say(rest)

    async def _end_followers(self) -> None:
        """Let logs come to their ends; those that do not within a moment are left."""
        if not self._followed:
            return
        _, pending = await asyncio.wait(self._followed.values(), timeout=2.0)
        for task in pending:
            task.cancel()
        results = await asyncio.gather(*self._followed.values(), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                self._console.note(f"note: a log could not be read to its end: {result}")

    async def _log_tail(self, kfp: KfpClient) -> list[str]:
        failed = _failed_leaf(self._mirror.tasks)
        if failed is None or failed.pod_name is None:
            return []
        try:
            text = await kfp.node_log_text(self._kfp_run_id, failed.pod_name, max_bytes=65536)
        except KfpError:
            # The cause itself is told all the same.
            return []
        return without_noise(text.splitlines())[-_LOG_TAIL_LINES:]

    def _report(self, run: Run, log_tail: list[str]) -> None:
        failed = _failed_leaf(self._mirror.tasks) if run.runtime_state is RuntimeState.FAILED else None
        message = _message(run, failed, log_tail)
        if self._args.json:
            self._console.result_json(self._as_json(run, failed, message, log_tail))
            return
        console, paint = self._console, self._console.paint
        state = render.state_text(run.runtime_state, paint=paint, unicode=console.has_unicode)
        began, ended = run.created_at, run.ended_at
        took = f"  after {render.duration((ended - began).total_seconds())}" if began and ended else ""
        lines = [f"{paint(self._pipeline.name, 'bold')}  {state}{took}"]
        lines += task_lines(task_models(self._mirror.tasks), paint=paint, unicode=console.has_unicode)
        if message:
            lines += ["", paint("Why it did not succeed", "bold"), paint(f"  {message}", "red")]
            if log_tail:
                lines += ["", "  the last lines of its log:", *(f"    {line}" for line in log_tail)]
            if failed is not None:
                where = f"{self._kfp_run_id} {failed.path} --data-dir {self._args.data_dir} --pdb"
                lines += ["", f"  to stop at the line that fails: kfbridge replay {where}"]
        for title, values in (
            ("Outputs", {name: render.value_text(value) for name, value in self._outputs().items()}),
            ("Metrics", {metric.key: render.value_text(metric.value) for metric in self._mirror.metrics}),
        ):
            if values:
                lines += ["", paint(title, "bold"), *render.pairs(values)]
        produced = [(key, kind, uri) for key, (kind, uri) in self._produced().items()]
        if produced:
            lines += ["", paint("Artifacts", "bold"), *render.columns(produced)]
        console.result("\n".join(lines))

    def _as_json(
        self, run: Run, failed: Task | None, message: str | None, log_tail: list[str]
    ) -> dict[str, Any]:
        error = {"message": message, "task": failed.path if failed else None, "log_tail": log_tail}
        return {
            "kfp_run_id": str(self._kfp_run_id),
            "data_dir": str(self._args.data_dir),
            "pipeline": {"name": self._pipeline.name, "digest": self._pipeline.digest},
            "state": str(run.runtime_state),
            "error": error if message else None,
            "outputs": self._outputs(),
            "metrics": {metric.key: metric.value for metric in self._mirror.metrics},
            "artifacts": {key: {"type": kind, "uri": uri} for key, (kind, uri) in self._produced().items()},
            "tasks": [task.model_dump(mode="json") for task in task_models(self._mirror.tasks)],
        }

    def _outputs(self) -> Mapping[str, Any]:
        return next((task.outputs for task in self._mirror.tasks if task.path == ""), {})

    def _produced(self) -> dict[str, tuple[str, str]]:
        found = {}
        for artifact in self._mirror.artifacts:
            for use in artifact.uses:
                if use.direction is Direction.OUTPUT and use.task_path:
                    index = f"[{use.index}]" if use.index else ""
                    found[f"{use.task_path}.{use.key}{index}"] = (artifact.type, artifact.uri or "no URI")
        return dict(sorted(found.items()))


def task_models(tasks: Sequence[Task]) -> list[TaskModel]:
    """The tasks as messages, which is what is rendered."""
    return [TaskModel.model_validate(task, from_attributes=True) for task in tasks]


def _failed_leaf(tasks: Sequence[Task]) -> Task | None:
    """The task in which the failure began: failed, and without a failed task below it; the first such."""
    failed = [task for task in tasks if task.state is RuntimeState.FAILED]
    parents = {task.parent_task_id for task in failed}
    leaves = [task for task in failed if task.task_id not in parents and task.path]
    return min(leaves, key=_ended, default=None)


def _ended(task: Task) -> float:
    return task.finished_at.timestamp() if task.finished_at else float("inf")


def _message(run: Run, failed: Task | None, log_tail: Sequence[str]) -> str | None:
    if run.runtime_state.is_successful:
        return None
    if failed is not None:
        said = failed.error.message if failed.error else "it ended without saying why"
        raised = log_tail[-1] if log_tail and _EXCEPTION.match(log_tail[-1]) else ""
        return f"{failed.path}: {said}" + (f" {raised}" if raised and raised not in said else "")
    if run.error is not None and run.error.message:
        return run.error.message
    return "the run was canceled" if run.runtime_state is RuntimeState.CANCELED else "the run failed"
