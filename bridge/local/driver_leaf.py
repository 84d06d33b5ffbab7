"""Executes tasks that are no DAGs: containers, with caching, retries and time limits; importers; claims."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.domain.states import RuntimeState
from bridge.local.artifacts import UnreachableArtifactError, check_places, remote_notes, task_place
from bridge.local.driver_cache import find_cached, fingerprint
from bridge.local.driver_claims import CREATE_IMAGE, DELETE_IMAGE, run_claim_task
from bridge.local.driver_finish import Leaf, finish, finish_from_cache
from bridge.local.driver_importer import run_importer
from bridge.local.driver_platform import PlatformError, Pod, claim_names, resolve_pod
from bridge.local.driver_retry import NO_RETRY, RetriesOver, inherited, pause_before_next
from bridge.local.driver_scope import RunContext, TaskEnd, utc_now
from bridge.local.launcher import Launch, LaunchError, last_line, say
from bridge.local.launcher_input import make_executor_input
from bridge.local.launcher_output import OutputError, read_outputs
from bridge.local.object_store import SCHEMES, ObjectStoreError, is_object
from bridge.local.placeholders import PlaceholderError, Placeholders
from bridge.local.recording import TaskResult, TaskStarted
from bridge.local.staging import Staging
from bridge.local.task_config import task_config_inputs, without_passed_on
from bridge.spec.model import ContainerSpec, ImporterSpec

_NO_ROOM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt of a container ended. ``final``: another one would end in the same way."""

    result: TaskResult | None
    message: str | None = None
    exit_code: int | None = None
    final: bool = False


async def run_leaf(context: RunContext, leaf: Leaf) -> TaskEnd:
    """Runs a container or importer to its end, tells the recorder, and returns how it ended."""
    executor = context.model.executors[leaf.component.executor or ""]
    if isinstance(executor, ImporterSpec):
        return await run_importer(context, leaf, executor)
    if not isinstance(executor, ContainerSpec):
        message = f"{leaf.task.name} is a {executor.kind}, which the local backend cannot run."
        return await finish(context, leaf.path, TaskEnd(RuntimeState.FAILED, message=message))
    if executor.image in (CREATE_IMAGE, DELETE_IMAGE):
        return await run_claim_task(context, leaf, executor)
    return await _run_container(context, leaf, _resolved(context, leaf, executor))


def _resolved(context: RunContext, leaf: Leaf, container: ContainerSpec) -> ContainerSpec:
    """The container with image and resources as the task's inputs make them."""
    names = context.names(leaf.task.name, context.task_id(leaf.path))
    placeholders = Placeholders({"inputs": {"parameterValues": leaf.given.parameters}}, names)
    return replace(
        container,
        image=placeholders.replace(container.image),
        resources=placeholders.replace_in(dict(container.resources)),
    )


async def _run_container(context: RunContext, leaf: Leaf, container: ContainerSpec) -> TaskEnd:
    mark = cached = None
    if leaf.task.enable_cache and context.run.caching is not False:
        try:
            mark = await _fingerprint(context, leaf, container)
            cached = await find_cached(context, mark)
        except ObjectStoreError:
            # The attempts meet the same server, with a log and retries.
            mark = None
        except PlatformError as error:
            return await finish(context, leaf.path, TaskEnd(RuntimeState.FAILED, message=str(error)))
        if cached is not None:
            return await finish_from_cache(context, leaf, cached)
    attempt = await _run_attempts(context, leaf, container)
    if attempt.result is not None:
        end = TaskEnd(RuntimeState.SUCCEEDED, attempt.result)
        return await finish(context, leaf.path, end, exit_code=attempt.exit_code, mark=mark)
    failed = TaskEnd(RuntimeState.FAILED, message=attempt.message)
    return await finish(context, leaf.path, failed, exit_code=attempt.exit_code)


async def _fingerprint(context: RunContext, leaf: Leaf, container: ContainerSpec) -> str:
    claims = claim_names(context, leaf)
    return await asyncio.to_thread(fingerprint, context, leaf, container, claims)


async def _run_attempts(context: RunContext, leaf: Leaf, container: ContainerSpec) -> _Attempt:
    policy = inherited(leaf.task.retry, leaf.scope.retry) or NO_RETRY
    clock = asyncio.get_running_loop().time
    began: float | None = None
    number = 0
    while True:
        async with context.slots:
            began = clock() if began is None else began
            attempt = await _run_attempt(context, leaf, container, number)
        if attempt.result is not None or attempt.final:
            return attempt
        number += 1
        try:
            pause = pause_before_next(policy, number, clock() - began)
        except RetriesOver as error:
            return replace(attempt, message=f"{attempt.message} {error}".strip())
        await asyncio.sleep(pause)


async def _run_attempt(context: RunContext, leaf: Leaf, container: ContainerSpec, number: int) -> _Attempt:
    task_id = context.task_id(leaf.path)
    pod_name = f"{context.model.name[:40].rstrip('-')}-{task_id.hex[:12]}-{context.run.retry}-{number}"
    work_dir = context.run_dir / pod_name
    log_path = await asyncio.to_thread(_make_places, context, work_dir)
    pod, problem = Pod(), None
    try:
        pod = await asyncio.to_thread(resolve_pod, context, leaf, container, work_dir)
        check_places(leaf.task.name, leaf.inputs.artifacts)
    except (PlatformError, UnreachableArtifactError) as error:
        problem = str(error)
    brought = SCHEMES if context.objects is not None else ()
    notes = [*pod.notes, *remote_notes(leaf.inputs.artifacts, brought)]
    await context.recorder.task_started(
        TaskStarted(
            kfp_run_id=context.run.kfp_run_id,
            task_id=task_id,
            attempt=number,
            started_at=utc_now(),
            pod_name=pod_name,
            log_path=log_path,
            parameters=leaf.inputs.parameters,
            artifacts=leaf.inputs.artifacts,
            platform=pod.asked,
            notes=notes,
        )
    )
    if problem is not None:
        say(log_path, problem)
        return _Attempt(None, problem, final=True)
    staging = _staging(context, work_dir)
    try:
        pod = replace(pod, notes=notes)
        launch = await asyncio.to_thread(
            _prepare, context, leaf, container, pod, log_path, staging=staging, again=number > 0
        )
        return await _launch(context, leaf, launch, pod.timeout_seconds)
    except ObjectStoreError as error:
        say(log_path, str(error))
        return _Attempt(None, str(error))
    finally:
        if staging is not None:
            # At once: the threads may all be busy with what is to end.
            staging.stop()
            await asyncio.to_thread(staging.clear)


def _staging(context: RunContext, work_dir: Path) -> Staging | None:
    if context.objects is None:
        return None
    root = context.artifact_root
    # Without the pipeline and the run: a result may be taken from another run.
    own = root.rsplit("/", 2)[0] if is_object(root) else None
    return Staging(work_dir / "buckets", context.objects, own)


async def _launch(context: RunContext, leaf: Leaf, launch: Launch, timeout_seconds: float | None) -> _Attempt:
    """Raises ``ObjectStoreError`` for what cannot be brought here or taken away."""
    limit = asyncio.timeout(timeout_seconds)
    try:
        async with limit:
            if launch.staging is not None:
                _say_if(launch, await _brought(launch.staging, leaf))
            code = await context.runner.run(launch)
    except TimeoutError:
        if not limit.expired():
            raise
        message = f"The component was ended after {timeout_seconds:g} s, its active deadline."
        say(launch.log_path, message)
        return _Attempt(None, message)
    except (LaunchError, PlaceholderError) as error:
        say(launch.log_path, str(error))
        return _Attempt(None, str(error), error.exit_code if isinstance(error, LaunchError) else None)
    if code != 0:
        message = _describe_exit(code, await last_line(launch.log_path))
        if await asyncio.to_thread(is_full, launch.work_dir):
            # Its own words may have found no room in its log.
            message += f" The disk of {launch.work_dir} is full."
        return _Attempt(None, message, code)
    try:
        result = await asyncio.to_thread(_outputs, leaf, launch)
    except (OutputError, OSError, UnicodeDecodeError) as error:
        message = f"The outputs cannot be read: {error}"
        say(launch.log_path, message)
        return _Attempt(None, message, code)
    return _Attempt(result, exit_code=code)


async def _brought(staging: Staging, leaf: Leaf) -> str | None:
    """Brings the inputs. Raises ``ObjectStoreError``, and ``LaunchError`` where this machine has no place for
    them."""
    try:
        return await asyncio.to_thread(staging.bring, leaf.inputs.artifacts)
    except TimeoutError:
        raise
    except OSError as error:
        raise LaunchError(f"The inputs cannot be brought here: {error}.") from error


def _outputs(leaf: Leaf, launch: Launch) -> TaskResult:
    result = read_outputs(leaf.component, launch.executor_input, launch.staging)
    if launch.staging is not None:
        made = (artifact for found in result.artifacts.values() for artifact in found)
        _say_if(launch, launch.staging.take(made))
    return result


def _say_if(launch: Launch, told: str | None) -> None:
    if told is not None:
        say(launch.log_path, told)


def prepare_launch(context: RunContext, leaf: Leaf, container: ContainerSpec, work_dir: Path) -> Launch:
    """What a runner is given for a task outside of a run: its folders are made, its input is resolved.

    Raises ``PlatformError`` when the pipeline asks for what cannot be given here.
    """
    log_path = _make_places(context, work_dir)
    pod = resolve_pod(context, leaf, container, work_dir)
    return _prepare(context, leaf, container, pod, log_path)


def _make_places(context: RunContext, work_dir: Path) -> Path:
    work_dir.mkdir(parents=True, exist_ok=True)
    (context.run_dir / "workspace").mkdir(exist_ok=True)
    log_path = work_dir / "log.txt"
    log_path.touch()
    return log_path


def _prepare(
    context: RunContext,
    leaf: Leaf,
    container: ContainerSpec,
    pod: Pod,
    log_path: Path,
    *,
    staging: Staging | None = None,
    again: bool = False,
) -> Launch:
    work_dir = log_path.parent
    configured = task_config_inputs(leaf.component, container, pod)
    inputs = replace(leaf.inputs, parameters={**leaf.inputs.parameters, **configured})
    container, pod = without_passed_on(leaf.component, container, pod)
    place = task_place(context.artifact_root, leaf.path)
    if context.objects is not None and (context.run.retry or again) and is_object(place):
        # What an earlier life of the run or an earlier attempt left there, which may be a folder of more
        # files than come now.
        context.objects.remove(place)
    executor_input = make_executor_input(leaf.component, inputs, work_dir, place, staging)
    names = context.names(leaf.task.name, context.task_id(leaf.path))
    return Launch(
        container=container,
        executor_input=executor_input,
        placeholders=Placeholders(executor_input, names),
        work_dir=work_dir,
        log_path=log_path,
        notes=pod.notes,
        env={**pod.env, "KFP_RUN_ID": str(context.run.kfp_run_id), "KFP_POD_NAME": work_dir.name},
        mounts=[*pod.mounts, *(staging.mounts if staging is not None else ())],
        user=pod.user,
        group=pod.group,
        shared_memory_bytes=pod.shared_memory_bytes,
        pull_policy=pod.pull_policy,
        staging=staging,
    )


def is_full(folder: Path) -> bool:
    """Whether the folder's disk has no room to speak of."""
    return shutil.disk_usage(folder).free < _NO_ROOM_BYTES


def _describe_exit(code: int, said: str) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
    return f"The component {how}. Its last line: {said}" if said else f"The component {how}."
