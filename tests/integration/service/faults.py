"""Thirty faults of different kinds, each with the cause that has to come first.

``LOCAL`` are components that really fail on the local backend, ``CLUSTER`` what Kubernetes, Argo and KFP tell
of pods that failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.handmade import artifacts, component, document, sh, task

_PYTHON = "cd \"$(mktemp -d)\" && cat > train.py <<'END'\n{source}\nEND\nexec {python} train.py"


@dataclass(frozen=True, kw_only=True)
class LocalFault:
    """A component's script and what has to be said of it. ``says`` is in the first cause's message;
    ``deadline`` is the component's, in seconds; ``outputs`` are output parameters."""

    kind: str
    script: str
    says: str
    deadline: int | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, name: str) -> str:
        """A pipeline in which ``prepare`` succeeds and ``train`` fails so."""
        tasks = {"prepare": task("prepare", "comp-prepare"), "train": task("train", "comp-train", "prepare")}
        components = {
            "comp-prepare": component(executorLabel="exec-prepare"),
            "comp-train": component(executorLabel="exec-train", output_artifacts=self.outputs),
        }
        executors = {"exec-prepare": sh("echo prepared"), "exec-train": sh(self.script)}
        texts = [json.dumps(document(tasks, components, executors, name=name))]
        if self.deadline is not None:
            config = {"executors": {"exec-train": {"activeDeadlineSeconds": self.deadline}}}
            texts.append(json.dumps({"platforms": {"kubernetes": {"deploymentSpec": config}}}))
        return "\n---\n".join(texts)


def _python(kind: str, says: str, *lines: str, python: str = "python3", **more: Any) -> LocalFault:
    script = _PYTHON.format(source="\n".join(lines), python=python)
    return LocalFault(kind=kind, says=says, script=script, **more)


LOCAL: Mapping[str, LocalFault] = {
    "an exception with its line": _python(
        *("code", "ValueError: no rows (train.py:2 in fit)"),
        *("def fit():", "    raise ValueError('no rows')", "fit()"),
    ),
    "an exception deep in a call": _python(
        *("code", "KeyError: 'delay' (train.py:2 in column)"),
        *("def column(row):", "    return row['delay']", "def fit():", "    column({})", "fit()"),
    ),
    "an exception that another one led to": _python(
        *("code", "RuntimeError: cannot fit (train.py:4)"),
        *(
            "try:",
            "    1 / 0",
            "except ZeroDivisionError as error:",
            "    raise RuntimeError('cannot fit') from error",
        ),
    ),
    "a module that is not installed": _python(
        *("code", "ModuleNotFoundError: No module named 'kfbridge_no_such'"),
        "import kfbridge_no_such",
    ),
    "a syntax error": _python("code", "SyntaxError", "def fit(:", "    pass"),
    "an exit code of its own": LocalFault(
        kind="code", script="echo loading; echo 'no model was found' >&2; exit 3", says="no model was found"
    ),
    "a program that is not there": LocalFault(
        kind="code", script="exec kfbridge-no-such-program --fit", says="kfbridge-no-such-program"
    ),
    "a program that may not be run": LocalFault(
        kind="code", script='cd "$(mktemp -d)"; echo > fit; exec ./fit', says="ermission denied"
    ),
    "a crash in native code": LocalFault(kind="code", script="kill -SEGV $$", says="signal 11"),
    "a package that there is not": LocalFault(
        kind="code",
        script="exec python3 -m pip install --no-index kfbridge-no-such-package",
        says="No matching distribution found for kfbridge-no-such-package",
    ),
    "an output that was not written": LocalFault(
        kind="code",
        script='mkdir -p "$(dirname "{{$.outputs.output_file}}")"; echo "{" > "{{$.outputs.output_file}}"',
        says="outputs cannot be read",
        outputs=artifacts(model="Model"),
    ),
    "an allocation that failed": _python(
        *("out_of_memory", "MemoryError"),
        *(
            "import resource",
            "limit = 512 * 1024**2",
            "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))",
        ),
        "rows = bytearray(4 * 1024**3)",
    ),
    "a kill from outside": LocalFault(
        kind="out_of_memory", script="echo epoch 3; kill -KILL $$", says="signal 9"
    ),
    "an exit code of 137": LocalFault(
        kind="out_of_memory", script="sh -c 'kill -KILL $$'; exit 137", says="it was killed"
    ),
    "a deadline that passed": LocalFault(
        kind="timeout", script="echo epoch 1; exec sleep 60", says="active deadline", deadline=1
    ),
    "an artifact that is gone": _python(
        *("data", "FileNotFoundError"),
        "open('/no/such/artifacts/0b2c/data/flights.parquet')",
    ),
    "a table with a text for a number": _python(
        *("data", "could not convert string to float: 'NA' (train.py:2 in <listcomp>)"),
        *("rows = ['1', 'NA']", "print(sum([float(row) for row in rows]))"),
    ),
    "a file that is no JSON": _python("data", "JSONDecodeError", "import json", "json.loads('{\"day\": ')"),
    "a file in another encoding": _python("data", "UnicodeDecodeError", r"b'caf\xe9'.decode()"),
    "a data check that failed": _python(
        *("data", "data check failed: 0 of 842 rows have an airport (train.py:3 in check)"),
        *("class DataCheckError(Exception): pass", "def check():"),
        "    raise DataCheckError('data check failed: 0 of 842 rows have an airport')",
        "check()",
    ),
    "a disk that is full": _python(
        *("node", "No space left on device"),
        *("with open('/dev/full', 'w') as file:", "    file.write('x' * 100_000)"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class ClusterFault:
    """What a cluster tells of the pod of ``train``: its status, events (reason and message), its log."""

    kind: str
    says: str
    status: Mapping[str, Any]
    events: tuple[tuple[str, str], ...] = ()
    log: str | None = None


def _died(code: int, reason: str = "Error", **pod: Any) -> dict[str, Any]:
    ended = {"name": "main", "state": {"terminated": {"exitCode": code, "reason": reason}}}
    return {"phase": "Failed", "containerStatuses": [ended], **pod}


def _waits(reason: str, message: str) -> dict[str, Any]:
    waiting = {"name": "main", "state": {"waiting": {"reason": reason, "message": message}}}
    return {"phase": "Pending", "containerStatuses": [waiting]}


def _unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


_TRACE = """Traceback (most recent call last):
  File "/usr/local/lib/python3.11/site-packages/kfp/dsl/executor_main.py", line 109, in <module>
    executor_main()
  File "/tmp/tmp.x/ephemeral_component.py", line 31, in train
    model.fit(X)
{exception}
"""

CLUSTER: Mapping[str, ClusterFault] = {
    "an image that is not there": ClusterFault(
        kind="image",
        says="ghcr.io/acme/train:v9",
        status=_waits("ImagePullBackOff", 'Back-off pulling image "ghcr.io/acme/train:v9"'),
        events=(("Failed", "Error: ErrImagePull"),),
    ),
    "a GPU that no node has": ClusterFault(
        kind="unschedulable",
        says="nvidia.com/gpu",
        status=_unscheduled("0/4 nodes are available: 4 Insufficient nvidia.com/gpu."),
    ),
    "a quota that is used up": ClusterFault(
        kind="quota",
        says="exceeded quota",
        status={"phase": "Failed", "reason": "Error"},
        events=(
            (
                "FailedCreate",
                'pods "train" is forbidden: exceeded quota: gpu, requested: nvidia.com/gpu=1, used: 4',
            ),
        ),
    ),
    "a node that was lost": ClusterFault(
        kind="node",
        says="node",
        status={
            "phase": "Failed",
            "reason": "NodeLost",
            "message": "Node gke-1 which was running pod train is unresponsive",
        },
    ),
    "an eviction": ClusterFault(
        kind="node",
        says="low on resource: memory",
        status={
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
        },
    ),
    "a container over its memory": ClusterFault(
        kind="out_of_memory", says="OOMKilled", status=_died(137, "OOMKilled"), log="epoch 1\n"
    ),
    "a GPU that is full": ClusterFault(
        kind="out_of_memory",
        says="CUDA out of memory",
        status=_died(1),
        log=_TRACE.format(
            exception="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
        ),
    ),
    "a secret that is not there": ClusterFault(
        kind="backend",
        says='secret "s3-keys" not found',
        status=_waits("CreateContainerConfigError", 'secret "s3-keys" not found'),
    ),
    "a bucket without the object": ClusterFault(
        kind="data",
        says="NoSuchKey",
        status=_died(1),
        log=_TRACE.format(
            exception="botocore.errorfactory.NoSuchKey: An error occurred (NoSuchKey) when calling the "
            "GetObject operation: The specified key does not exist."
        ),
    ),
}
