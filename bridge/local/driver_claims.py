"""``CreatePVC`` and ``DeletePVC``, which run no container: KFP's driver carries them out itself."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.domain.states import RuntimeState
from bridge.local.claims import ClaimError
from bridge.local.driver_cache import find_cached, fingerprint
from bridge.local.driver_finish import Leaf, finish, finish_from_cache, start_without_pod
from bridge.local.driver_scope import RunContext, TaskEnd
from bridge.local.recording import TaskResult
from bridge.spec.model import ContainerSpec

CREATE_IMAGE = "argostub/createpvc"
DELETE_IMAGE = "argostub/deletepvc"


async def run_claim_task(context: RunContext, leaf: Leaf, container: ContainerSpec) -> TaskEnd:
    """Makes or removes the folder of a volume claim."""
    if container.image == DELETE_IMAGE:
        return await _delete(context, leaf)
    return await _create(context, leaf, container)


async def _create(context: RunContext, leaf: Leaf, container: ContainerSpec) -> TaskEnd:
    given = leaf.inputs.parameters
    name, suffix = _text(given.get("pvc_name")), _text(given.get("pvc_name_suffix"))
    mark = None
    # A generated name is new each time, so only a given one can be met again.
    if name and leaf.task.enable_cache and context.run.caching is not False:
        mark = fingerprint(context, leaf, container)
        cached = await find_cached(context, mark)
        if cached is not None and context.claims.exists(name):
            return await finish_from_cache(context, leaf, cached)
    await start_without_pod(context, leaf)
    if name and suffix:
        message = "Only one of pvc_name and pvc_name_suffix can be given."
        return await finish(context, leaf.path, TaskEnd(RuntimeState.FAILED, message=message))
    try:
        # On KFP a random id; this one is the same when the task is run again after the backend was ended.
        chosen = name or f"{context.task_id(leaf.path)}{suffix}"
        await asyncio.to_thread(context.claims.create, chosen, _owner(context, leaf))
    except ClaimError as error:
        return await finish(context, leaf.path, TaskEnd(RuntimeState.FAILED, message=str(error)))
    result = TaskResult(parameters={"name": chosen})
    return await finish(context, leaf.path, TaskEnd(RuntimeState.SUCCEEDED, result), mark=mark)


async def _delete(context: RunContext, leaf: Leaf) -> TaskEnd:
    await start_without_pod(context, leaf)
    try:
        name = _text(leaf.inputs.parameters.get("pvc_name"))
        await asyncio.to_thread(context.claims.delete, name, _owner(context, leaf))
    except ClaimError as error:
        return await finish(context, leaf.path, TaskEnd(RuntimeState.FAILED, message=str(error)))
    return await finish(context, leaf.path, TaskEnd(RuntimeState.SUCCEEDED))


def _owner(context: RunContext, leaf: Leaf) -> str:
    return f"{context.run.kfp_run_id} {leaf.path}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
