"""Executes tasks that are no DAGs: containers, with caching and retries, and importers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local.artifacts import task_folder, to_uri
from bridge.local.driver_cache import find_cached, fingerprint
from bridge.local.driver_platform import downward_env, notes
from bridge.local.driver_scope import Inputs, RunContext, TaskEnd, utc_now
from bridge.local.launcher import Launch, LaunchError, last_line
from bridge.local.launcher_input import make_executor_input
from bridge.local.launcher_output import OutputError, read_outputs
from bridge.local.placeholders import PlaceholderError, Placeholders
from bridge.local.recording import StoredArtifact, TaskFinished, TaskResult, TaskStarted
from bridge.spec.model import Component, ContainerSpec, ImporterSpec, Retry, Task

IMPORTED_KEY = "artifact"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A task that is no DAG, ready to run: it has been recorded as created, its inputs are there."""

    task: Task
    component: Component
    path: str
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt of a container ended."""

    result: TaskResult | None
    message: str | None = None
    exit_code: int | None = None


async def run_leaf(context: RunContext, leaf: Leaf) -> TaskEnd:
    """Runs a container or importer to its end, tells the recorder, and returns how it ended."""
    executor = context.model.executors[leaf.component.executor or ""]
    if isinstance(executor, ContainerSpec):
        return await _run_container(context, leaf, executor)
    if isinstance(executor, ImporterSpec):
        return await _run_importer(context, leaf, executor)
    message = f"{leaf.task.name} is a {executor.kind}, which the local backend cannot run."
    return await finish(context, leaf.path, TaskEnd(RuntimeState.FAILED, message=message))


async def finish(
    context: RunContext,
    path: str,
    end: TaskEnd,
    *,
    exit_code: int | None = None,
    mark: str | None = None,
) -> TaskEnd:
    """Tells the recorder how a task ended; its artifacts come back with their ids."""
    if end.state is RuntimeState.FAILED and path not in context.failed_tasks:
        context.failed_tasks.append(path)
    ids = await context.recorder.task_finished(
        TaskFinished(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(path),
            state=end.state,
            finished_at=utc_now(),
            result=end.result,
            message=end.message,
            exit_code=exit_code,
            fingerprint=mark,
        )
    )
    return replace(end, result=_with_ids(end.result, ids))


async def _run_container(context: RunContext, leaf: Leaf, container: ContainerSpec) -> TaskEnd:
    mark = None
    if leaf.task.enable_cache and context.run.caching is not False:
        mark = await asyncio.to_thread(
            fingerprint, context, leaf.task, leaf.component, container, leaf.inputs
        )
        end = await _from_cache(context, leaf, mark)
        if end is not None:
            return end
    retry = leaf.task.retry or Retry(max_count=0)
    pause = retry.backoff_seconds
    for number in range(retry.max_count + 1):
        async with context.slots:
            attempt = await _run_attempt(context, leaf, container, number)
        if attempt.result is not None or number == retry.max_count:
            break
        await asyncio.sleep(min(pause, retry.backoff_max_seconds))
        pause *= retry.backoff_factor
    if attempt.result is not None:
        end = TaskEnd(RuntimeState.SUCCEEDED, attempt.result)
        return await finish(context, leaf.path, end, exit_code=attempt.exit_code, mark=mark)
    failed = TaskEnd(RuntimeState.FAILED, message=attempt.message)
    return await finish(context, leaf.path, failed, exit_code=attempt.exit_code)


async def _from_cache(context: RunContext, leaf: Leaf, mark: str) -> TaskEnd | None:
    cached = await find_cached(context, mark)
    if cached is None:
        return None
    await _started_without_pod(context, leaf)
    ids = await context.recorder.task_finished(
        TaskFinished(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(leaf.path),
            state=RuntimeState.SKIPPED,
            finished_at=utc_now(),
            result=cached.result,
            cached_task_id=cached.task_id,
        )
    )
    return TaskEnd(RuntimeState.SUCCEEDED, _with_ids(cached.result, ids))


async def _run_attempt(context: RunContext, leaf: Leaf, container: ContainerSpec, number: int) -> _Attempt:
    task_id = context.task_id(leaf.path)
    pod_name = f"{context.model.name[:40].rstrip('-')}-{task_id.hex[:12]}-{context.run.retry}-{number}"
    work_dir = context.run_dir / pod_name
    launch = await asyncio.to_thread(prepare_launch, context, leaf, container, work_dir)
    await context.recorder.task_started(
        TaskStarted(
            kfp_run_id=context.run.kfp_run_id,
            task_id=task_id,
            attempt=number,
            started_at=utc_now(),
            pod_name=pod_name,
            log_path=launch.log_path,
            parameters=leaf.inputs.parameters,
            artifacts=leaf.inputs.artifacts,
        )
    )
    try:
        code = await context.runner.run(launch)
    except (LaunchError, PlaceholderError) as error:
        _append(launch.log_path, str(error))
        return _Attempt(None, str(error))
    if code != 0:
        return _Attempt(None, _describe_exit(code, await last_line(launch.log_path)), code)
    try:
        result = await asyncio.to_thread(read_outputs, leaf.component, launch.executor_input)
    except (OutputError, OSError, UnicodeDecodeError) as error:
        message = f"The outputs cannot be read: {error}"
        _append(launch.log_path, message)
        return _Attempt(None, message, code)
    return _Attempt(result, exit_code=code)


def prepare_launch(context: RunContext, leaf: Leaf, container: ContainerSpec, work_dir: Path) -> Launch:
    """What a runner is given for one attempt of a task: its folders are made, its input is resolved."""
    work_dir.mkdir(parents=True, exist_ok=True)
    (context.run_dir / "workspace").mkdir(exist_ok=True)
    executor_input = make_executor_input(
        leaf.component, leaf.inputs, work_dir, task_folder(context.artifact_root, leaf.path)
    )
    names = context.names(leaf.task.name, context.task_id(leaf.path))
    platform = context.run.pipeline.platform_config(leaf.component.executor or "")
    log_path = work_dir / "log.txt"
    log_path.touch()
    return Launch(
        container=container,
        executor_input=executor_input,
        placeholders=Placeholders(executor_input, names),
        work_dir=work_dir,
        log_path=log_path,
        notes=notes(platform, container),
        env={
            **downward_env(platform, work_dir.name),
            "KFP_RUN_ID": str(context.run.kfp_run_id),
            "KFP_POD_NAME": work_dir.name,
        },
    )


async def _run_importer(context: RunContext, leaf: Leaf, importer: ImporterSpec) -> TaskEnd:
    await _started_without_pod(context, leaf)
    uri = importer.uri if importer.uri_input is None else leaf.inputs.parameters.get(importer.uri_input)
    if not isinstance(uri, str) or not uri:
        end = TaskEnd(RuntimeState.FAILED, message=f"{leaf.task.name} imports an artifact without a URI.")
        return await finish(context, leaf.path, end)
    names = context.names(leaf.task.name, context.task_id(leaf.path))
    executor_input = {"inputs": {"parameterValues": leaf.inputs.parameters}}
    placeholders = Placeholders(executor_input, names)
    artifact = StoredArtifact(
        schema_title=importer.schema_title,
        schema_version=importer.schema_version,
        uri=to_uri(placeholders.replace(uri)),
        name=IMPORTED_KEY,
        metadata=_decoded(placeholders.replace_in(dict(importer.metadata)), importer.metadata),
    )
    if not importer.reimport:
        artifact = replace(artifact, artifact_id=await context.recorder.find_artifact(artifact))
    keys = list(leaf.component.output_artifacts) or [IMPORTED_KEY]
    result = TaskResult(artifacts=dict.fromkeys(keys, (artifact,)))
    return await finish(context, leaf.path, TaskEnd(RuntimeState.SUCCEEDED, result))


async def _started_without_pod(context: RunContext, leaf: Leaf) -> None:
    await context.recorder.task_started(
        TaskStarted(
            kfp_run_id=context.run.kfp_run_id,
            task_id=context.task_id(leaf.path),
            attempt=0,
            started_at=utc_now(),
            parameters=leaf.inputs.parameters,
            artifacts=leaf.inputs.artifacts,
        )
    )


def _decoded(replaced: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata where a value that was one placeholder is again what it stands for, not its text."""
    decoded: dict[str, Any] = {}
    for (key, value), before in zip(replaced.items(), original.values(), strict=True):
        decoded[key] = value
        if isinstance(before, str) and before.startswith("{{$") and before.endswith("}}") and value != before:
            try:
                decoded[key] = json.loads(value)
            except ValueError:
                continue
    return decoded


def _describe_exit(code: int, said: str) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
    return f"The component {how}. Its last line: {said}" if said else f"The component {how}."


def _append(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"[kfbridge] {line}\n")


def _with_ids(result: TaskResult, ids: Mapping[str, tuple[int, ...]]) -> TaskResult:
    artifacts = {
        key: tuple(
            replace(artifact, artifact_id=artifact_id)
            for artifact, artifact_id in zip(found, ids[key], strict=True)
        )
        if key in ids
        else found
        for key, found in result.artifacts.items()
    }
    return replace(result, artifacts=artifacts)
