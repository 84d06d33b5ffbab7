"""What was seen of a task or run that failed or waits, and the kinds of causes it may speak for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CauseKind(StrEnum):
    """What kind of thing went wrong, by who can put it right.

    CODE           the component's own code raised or exited with an error.
    OUT_OF_MEMORY  it was killed for its memory, or said itself that there was not enough (also a GPU's).
    IMAGE          its image cannot be pulled or started.
    UNSCHEDULABLE  no node takes its pod: resources, GPUs, taints, selectors, volumes.
    QUOTA          a quota or limit of the namespace forbids its pod.
    TIMEOUT        a deadline passed.
    DATA           what it reads is not there, may not be read, or is malformed.
    BACKEND        KFP, its metadata or artifact store, or what the cluster should hold (a secret, a volume).
    NODE           the machine: lost, drained, evicted from, preempted.
    CANCELED       somebody stopped it.
    """

    CODE = "code"
    OUT_OF_MEMORY = "out_of_memory"
    IMAGE = "image"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    TIMEOUT = "timeout"
    DATA = "data"
    BACKEND = "backend"
    NODE = "node"
    CANCELED = "canceled"


class Witness(StrEnum):
    """Who told: the pod's status or a condition of it, a container's state, an event of Kubernetes, the
    message of a step of the Workflow, the backend's error, the last lines of the component's log."""

    POD = "pod"
    CONTAINER = "container"
    EVENT = "event"
    STEP = "step"
    BACKEND = "backend"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that was seen. ``reason`` is a word of Kubernetes' or the backend's (``OOMKilled``);
    ``message`` is text as it was told, of a log its last lines; ``task`` a path within the run, ``None``
    if it is not known or the run itself is meant; ``step`` is Argo's name of the node, for people."""

    witness: Witness
    message: str = ""
    reason: str | None = None
    exit_code: int | None = None
    task: str | None = None
    pod: str | None = None
    container: str | None = None
    step: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule reads out of one piece of evidence."""

    kind: CauseKind
    weight: int
    message: str
