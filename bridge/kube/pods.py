"""Why the pods of a run failed, or do not start: pod status, events, the Workflow's words, log lines.

Everything is bounded: pods per run, events per pod, nodes per Workflow, lines per log. What cannot be read
is left out and said in the log; causes are help, and never hold a run up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bridge.domain.evidence import Evidence, Witness
from bridge.kube.access import KubeApi
from bridge.kube.errors import KubeError, KubeNotFound
from bridge.kube.workflows import RUN_LABEL, moment, workflows_path

log = logging.getLogger(__name__)

NODE_NAME = "workflows.argoproj.io/node-name"
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
MAX_LOG_LINES = 50
MAX_LOG_BYTES = 8192
_PODS_PER_PAGE = 200
_MAX_PAGES = 5
_MAX_TROUBLED = 10
_MAX_EVENTS = 50
_MAX_NODES = 50
_MAX_TEXT = 2000
# These say that a container is about to start, which needs no explanation.
_STARTING = frozenset({"ContainerCreating", "PodInitializing", ""})
_TELLING_EVENTS = frozenset({"Preempted", "Preempting", "Evicted", "TaintManagerEviction", "NodeNotReady"})
_TROUBLED_NODES = frozenset({"Failed", "Error"})


@dataclass(frozen=True, slots=True)
class PodEvidence:
    """What was seen of one pod of a run."""

    kfp_run_id: UUID
    evidence: tuple[Evidence, ...]


class PodReader:
    """Reads what one cluster knows of a run's pods. Every call blocks."""

    def __init__(self, api: KubeApi, namespaces: Sequence[str | None]) -> None:
        self._api = api
        self._namespaces = tuple(namespaces)

    def of_failed(self, kfp_run_id: UUID, namespace: str | None = None) -> list[Evidence]:
        """The evidence that a run's pods, their events, their logs and its Workflow give. Raises
        ``KubeError`` if not even the pods can be read."""
        found: list[Evidence] = []
        for where in self._where(namespace):
            pods = [pod for pod in self._pods(where, _selector(kfp_run_id)) if _phase(pod) != "Succeeded"]
            troubled = sorted(pods, key=lambda pod: _phase(pod) != "Failed")[:_MAX_TROUBLED]
            for pod in troubled:
                found.extend(evidence_of_pod(pod))
                found.extend(self._events(pod))
                found.extend(self._log(pod))
            found.extend(self.of_workflow(kfp_run_id, where))
        return found

    def waiting(self) -> list[PodEvidence]:
        """What keeps pods from starting, of all runs: one request for each namespace and page."""
        found = []
        for where in self._namespaces:
            for pod in self._pods(where, f"{WORKFLOW_LABEL},{RUN_LABEL}", "status.phase=Pending"):
                run, evidence = _run_of(pod), tuple(evidence_of_pod(pod))
                if run is not None and evidence:
                    found.append(PodEvidence(run, evidence))
        return found

    def of_workflow(self, kfp_run_id: UUID, namespace: str | None = None) -> list[Evidence]:
        """What the run's Workflow says of its steps that failed or cannot begin; nothing if that cannot
        be read."""
        query = {"labelSelector": f"{RUN_LABEL}={kfp_run_id}", "limit": 2}
        found: list[Evidence] = []
        for where in self._where(namespace):
            try:
                answer = self._api.get(workflows_path(where), query)
            except KubeError as error:
                log.info("no Workflow to read causes from", extra={"error": str(error)})
                continue
            for manifest in _dicts(answer.get("items")):
                found.extend(evidence_of_workflow(manifest))
        return found

    def _where(self, namespace: str | None) -> tuple[str | None, ...]:
        if namespace and (namespace in self._namespaces or None in self._namespaces):
            return (namespace,)
        return self._namespaces

    def _pods(
        self, namespace: str | None, labels: str, fields: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        token = None
        for _ in range(_MAX_PAGES):
            page = self._api.get(
                _path(namespace, "pods"),
                {
                    "labelSelector": labels,
                    "fieldSelector": fields,
                    "limit": _PODS_PER_PAGE,
                    "continue": token,
                },
            )
            yield from _dicts(page.get("items"))
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return

    def _events(self, pod: Mapping[str, Any]) -> list[Evidence]:
        metadata = _dict(pod.get("metadata"))
        fields = f"involvedObject.kind=Pod,involvedObject.name={metadata.get('name')}"
        try:
            path = _path(str(metadata.get("namespace")), "events")
            page = self._api.get(path, {"fieldSelector": fields, "limit": _MAX_EVENTS})
        except KubeError as error:
            log.info("no events to read causes from", extra={"error": str(error)})
            return []
        return [
            _evidence(
                pod,
                Witness.EVENT,
                reason=event.get("reason"),
                message=event.get("message"),
                at=event.get("firstTimestamp") or event.get("eventTime"),
            )
            for event in _dicts(page.get("items"))
            if event.get("type") == "Warning" or event.get("reason") in _TELLING_EVENTS
        ]

    def _log(self, pod: Mapping[str, Any]) -> list[Evidence]:
        metadata, status = _dict(pod.get("metadata")), _dict(pod.get("status"))
        main = next((one for one in _dicts(status.get("containerStatuses")) if one.get("name") == "main"), {})
        if not (_dict(main.get("state")).get("terminated") or _dict(main.get("state")).get("running")):
            return []
        path = _path(str(metadata.get("namespace")), f"pods/{metadata.get('name')}/log")
        query = {"container": "main", "tailLines": MAX_LOG_LINES, "limitBytes": MAX_LOG_BYTES}
        try:
            text = self._api.get_text(path, query)
        except KubeError as error:
            if not isinstance(error, KubeNotFound):
                log.info("no log to read causes from", extra={"error": str(error)})
            return []
        return [_evidence(pod, Witness.LOG, message=text[-MAX_LOG_BYTES:], container="main")] if text else []


def evidence_of_pod(pod: Mapping[str, Any]) -> Iterator[Evidence]:
    """What a pod's status tells of a failure, or of what it waits for."""
    status = _dict(pod.get("status"))
    if status.get("reason") or (status.get("phase") == "Failed" and status.get("message")):
        yield _evidence(pod, Witness.POD, reason=status.get("reason"), message=status.get("message"))
    for condition in _dicts(status.get("conditions")):
        unscheduled = condition.get("type") == "PodScheduled" and condition.get("status") == "False"
        disrupted = condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
        if (unscheduled and condition.get("reason") != "SchedulingGated") or disrupted:
            yield _evidence(
                pod,
                Witness.POD,
                reason=condition.get("reason"),
                message=condition.get("message"),
                at=condition.get("lastTransitionTime"),
            )
    for container in (*_dicts(status.get("initContainerStatuses")), *_dicts(status.get("containerStatuses"))):
        yield from _of_container(pod, container)


def _of_container(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[Evidence]:
    name = str(container.get("name"))
    waiting = _dict(_dict(container.get("state")).get("waiting"))
    if str(waiting.get("reason") or "") not in _STARTING:
        yield _evidence(
            pod,
            Witness.CONTAINER,
            reason=waiting.get("reason"),
            message=waiting.get("message"),
            container=name,
        )
    for life in ("state", "lastState"):
        ended = _dict(_dict(container.get(life)).get("terminated"))
        code = ended.get("exitCode")
        if isinstance(code, int) and code != 0:
            yield _evidence(
                pod,
                Witness.CONTAINER,
                reason=ended.get("reason"),
                message=ended.get("message"),
                at=ended.get("finishedAt"),
                container=name,
                exit_code=code,
            )


def evidence_of_workflow(manifest: Mapping[str, Any]) -> Iterator[Evidence]:
    """What the steps of a Workflow say: of those that failed, and of those that wait with a message."""
    status = _dict(manifest.get("status"))
    nodes = [node for node in _dict(status.get("nodes")).values() if isinstance(node, dict)]
    telling = [
        node
        for node in nodes
        if node.get("message")
        and node.get("type") in ("Pod", "Container", None)
        and (node.get("phase") in _TROUBLED_NODES or node.get("phase") == "Pending")
    ]
    for node in telling[:_MAX_NODES]:
        yield Evidence(
            witness=Witness.STEP,
            reason=_word(node.get("phase")),
            message=_bounded(node.get("message")),
            step=_bounded(node.get("name")) or None,
            pod=_bounded(node.get("id")) or None,
            at=moment(node.get("finishedAt")),
        )
    if status.get("message") and not telling:
        yield Evidence(
            witness=Witness.STEP, reason=_word(status.get("phase")), message=_bounded(status.get("message"))
        )


def _evidence(
    pod: Mapping[str, Any],
    witness: Witness,
    *,
    reason: object = None,
    message: object = None,
    at: object = None,
    container: str | None = None,
    exit_code: int | None = None,
) -> Evidence:
    metadata = _dict(pod.get("metadata"))
    text = str(message or "") if witness is Witness.LOG else _bounded(message)
    return Evidence(
        witness=witness,
        reason=_word(reason),
        message=text.replace("\x00", "\ufffd"),
        exit_code=exit_code,
        pod=_bounded(metadata.get("name")) or None,
        container=container,
        step=_bounded(_dict(metadata.get("annotations")).get(NODE_NAME)) or None,
        at=moment(at),
    )


def _selector(kfp_run_id: UUID) -> str:
    return f"{WORKFLOW_LABEL},{RUN_LABEL}={kfp_run_id}"


def _path(namespace: str | None, rest: str) -> str:
    return f"/api/v1/namespaces/{namespace}/{rest}" if namespace else f"/api/v1/{rest}"


def _run_of(pod: Mapping[str, Any]) -> UUID | None:
    labels = _dict(_dict(pod.get("metadata")).get("labels"))
    try:
        return UUID(str(labels.get(RUN_LABEL)))
    except ValueError:
        return None


def _phase(pod: Mapping[str, Any]) -> str:
    return str(_dict(pod.get("status")).get("phase") or "")


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _word(value: object) -> str | None:
    return str(value)[:100] if value else None


def _bounded(value: object) -> str:
    return str(value)[:_MAX_TEXT] if value else ""
