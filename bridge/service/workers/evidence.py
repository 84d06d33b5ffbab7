"""Gathers what was seen of a run's failure, and says which task each piece of it is about."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bridge.domain.causes import Evidence, Witness
from bridge.domain.lineage import Run, Task
from bridge.domain.states import RuntimeState
from bridge.kube.errors import KubeError
from bridge.service.cluster import Cluster

log = logging.getLogger(__name__)

_ITERATION = re.compile(r"\(\d+(:[^)]*)?\)$|^iteration(-\w+)?$|-driver$")
_NUMBER = re.compile(r"-(\d{4,})$")


async def read_pods(cluster: Cluster | None, run: Run) -> list[Evidence]:
    """What the cluster knows of a failed run's pods; nothing if it is not asked or does not tell."""
    if cluster is None or run.state is not RuntimeState.FAILED:
        return []
    try:
        async with asyncio.timeout(cluster.settings.timeout_seconds * 3):
            return await asyncio.to_thread(cluster.pods.of_failed, run.kfp_run_id, run.namespace)
    except (KubeError, TimeoutError) as error:
        told = {"run_id": run.run_id, "error": str(error) or type(error).__name__}
        log.info("no pods to read causes from", extra=told)
        return []


def of_backend(run: Run, tasks: Sequence[Task], tails: Mapping[str, tuple[str, ...]]) -> list[Evidence]:
    """What the backend itself told: of the run, of these failed tasks, and the ends of their logs."""
    found = []
    if run.error is not None and run.error.task is None:
        told = Evidence(witness=Witness.BACKEND, message=run.error.message, reason=run.error.code)
        found.append(replace(told, at=run.finished_at))
    asked, ended = run.cancel_requested_at, run.finished_at
    if asked is not None and ended is not None and asked <= ended:
        found.append(Evidence(witness=Witness.BACKEND, reason="CANCELED", message="a cancel was asked for"))
    for task in tasks:
        path, at = task.path or task.name, task.finished_at
        if task.error is not None:
            told = Evidence(witness=Witness.BACKEND, message=task.error.message, reason=task.error.code)
            found.append(replace(told, task=path, pod=task.pod_name, at=at))
        tail = tails.get(task.task_id) or (task.error.log_tail if task.error else ())
        if tail:
            said = Evidence(witness=Witness.LOG, message="\n".join(tail), task=path, pod=task.pod_name, at=at)
            found.append(said)
    return found


def with_tasks(evidence: Iterable[Evidence], tasks: Sequence[Task]) -> list[Evidence]:
    """The evidence with the paths of the tasks it is about, where that can be told: by the pod's name, by
    the number at the end of it, or by the step's name if only one task is called so."""
    leaves = [task for task in tasks if task.kind != "dag"] or list(tasks)
    by_pod = {task.pod_name: task for task in leaves if task.pod_name}
    by_number = {number: task for pod, task in by_pod.items() if (number := _number(pod))}
    by_name: dict[str, list[Task]] = {}
    for leaf in leaves:
        by_name.setdefault(leaf.name, []).append(leaf)
    failed = [task for task in leaves if task.state is RuntimeState.FAILED]
    found = []
    for one in evidence:
        if one.task is not None:
            found.append(one)
            continue
        task: Task | None = by_pod.get(one.pod or "") or by_number.get(_number(one.pod) or "")
        if task is None:
            named = by_name.get(_task_name(one.step) or "", [])
            task = named[0] if len(named) == 1 else None
        if task is None and one.pod and not one.step and len(failed) == 1:
            task = failed[0]
        found.append(replace(one, task=task.path or task.name) if task else one)
    return found


def _number(pod: str | None) -> str | None:
    match = _NUMBER.search(pod or "")
    return match[1] if match else None


def _task_name(step: str | None) -> str | None:
    """The task that a step of the Workflow belongs to: ``flow-x7k2p.root.train.executor`` is train's."""
    parts = (step or "").split(".")[1:]
    if parts and parts[-1].endswith("-driver"):
        return parts[-1].removesuffix("-driver")
    while parts and (parts[-1] == "executor" or _ITERATION.search(parts[-1])):
        parts.pop()
    return parts[-1] if parts else None
