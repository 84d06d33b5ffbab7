"""Which cause comes first: faults as Kubernetes, Argo, KFP and Python really word them, each with the
other evidence that lies beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.domain.causes import MAX_CAUSES, CauseKind, Evidence, Witness, rank_causes
from bridge.domain.tracebacks import last_words, read_traceback

T0 = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
POD = "train-x7k2p-system-container-impl-2277833670"


def _pod(reason: str, message: str = "", **more: object) -> Evidence:
    return Evidence(witness=Witness.POD, reason=reason, message=message, pod=POD, **more)  # type: ignore[arg-type]


def _died(code: int, reason: str = "Error", message: str = "", container: str = "main") -> Evidence:
    return Evidence(
        witness=Witness.CONTAINER,
        reason=reason,
        message=message,
        exit_code=code,
        pod=POD,
        container=container,
    )


def _waits(reason: str, message: str) -> Evidence:
    return Evidence(witness=Witness.CONTAINER, reason=reason, message=message, pod=POD, container="main")


def _event(reason: str, message: str) -> Evidence:
    return Evidence(witness=Witness.EVENT, reason=reason, message=message, pod=POD, at=T0)


def _step(message: str) -> Evidence:
    return Evidence(
        witness=Witness.STEP, reason="Failed", message=message, step="train-x7k2p.root.train.executor"
    )


_STORE_AWAY = (
    "s3://ml/x: the S3 server http://minio:9000 does not answer (EndpointConnectionError: Could not)"
)


def _told(message: str, reason: str | None = None) -> Evidence:
    return Evidence(witness=Witness.BACKEND, message=message, reason=reason)


def _log(*lines: str) -> Evidence:
    return Evidence(witness=Witness.LOG, message="\n".join(lines), pod=POD)


def _raised(exception: str, *before: str) -> Evidence:
    return _log(
        *before,
        "Traceback (most recent call last):",
        '  File "/usr/local/lib/python3.11/site-packages/kfp/dsl/executor_main.py", line 109, in <module>',
        "    executor_main()",
        '  File "/tmp/tmp.pXPYnEoxJS/ephemeral_component.py", line 31, in train',
        "    model.fit(X, y)",
        '  File "/usr/local/lib/python3.11/site-packages/sklearn/base.py", line 1363, in wrapper',
        "    return fit_method(estimator, *args, **kwargs)",
        exception,
        "I0801 12:00:01.000000      17 launcher_v2.go:193] publish success.",
        "F0801 12:00:01.000000      17 main.go:49] failed to execute component: exit status 1",
    )


FAULTS: dict[str, tuple[CauseKind, list[Evidence]]] = {
    "oom-killed": (
        CauseKind.OUT_OF_MEMORY,
        [_died(137, "OOMKilled"), _step("OOMKilled (exit code 137)"), _log("epoch 3/10 loss 0.31")],
    ),
    "oom-killed-with-an-old-scheduling-event": (
        CauseKind.OUT_OF_MEMORY,
        [
            _event("FailedScheduling", "0/5 nodes are available: 5 Insufficient memory."),
            _event("Scheduled", "Successfully assigned ml/train to node-3"),
            _died(137, "OOMKilled"),
        ],
    ),
    "killed-without-a-reason": (
        CauseKind.OUT_OF_MEMORY,
        [_died(137), _step("main: Error (exit code 137)"), _log("loading 41 GB of features")],
    ),
    "python-memory-error": (
        CauseKind.OUT_OF_MEMORY,
        [
            _died(1),
            _raised("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array"),
        ],
    ),
    "cuda-out-of-memory": (
        CauseKind.OUT_OF_MEMORY,
        [
            _died(1),
            _step("Error (exit code 1)"),
            _raised(
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
                "capacity of 14.58 GiB of which 1.40 GiB is free."
            ),
        ],
    ),
    "local-signal-9": (
        CauseKind.OUT_OF_MEMORY,
        [_told("The component was ended by signal 9. Its last line: loading"), _log("loading")],
    ),
    "data-check-failed": (
        CauseKind.DATA,
        [_died(1), _raised("checks.DataQualityError: 3 of 842 rows have no airport")],
    ),
    "data-may-not-be-read": (
        CauseKind.DATA,
        [_died(1), _raised("PermissionError: [Errno 13] Permission denied: '/data/day=05/flights.csv'")],
    ),
    "disk-full": (
        CauseKind.NODE,
        [_died(1), _raised("OSError: [Errno 28] No space left on device")],
    ),
    "image-pull-back-off": (
        CauseKind.IMAGE,
        [
            _waits("ImagePullBackOff", 'Back-off pulling image "ghcr.io/acme/train:v9"'),
            _event("Failed", "Error: ErrImagePull"),
        ],
    ),
    "image-not-found-then-the-deadline": (
        CauseKind.IMAGE,
        [
            _waits(
                "ErrImagePull",
                'rpc error: code = NotFound desc = failed to pull and unpack image "ghcr.io/acme/train:v9": '
                "failed to resolve reference: not found",
            ),
            _pod("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
        ],
    ),
    "image-needs-a-login": (
        CauseKind.IMAGE,
        [
            _waits(
                "ErrImagePull",
                "failed to pull image: pull access denied, repository does not exist",
            )
        ],
    ),
    "image-name-is-no-name": (
        CauseKind.IMAGE,
        [
            _waits(
                "InvalidImageName",
                'Failed to apply default image tag "gcr.io/My Image": invalid reference format',
            )
        ],
    ),
    "no-python-in-the-image": (
        CauseKind.IMAGE,
        [
            _died(
                128,
                "StartError",
                'failed to create containerd task: runc create failed: exec: "python3": executable file not '
                "found in $PATH: unknown",
            )
        ],
    ),
    "wrong-architecture": (
        CauseKind.IMAGE,
        [_died(1), _log("exec /usr/bin/sh: exec format error"), _step("exec /bin/sh: exec format error")],
    ),
    "no-gpu-free": (
        CauseKind.UNSCHEDULABLE,
        [
            _pod("Unschedulable", "0/12 nodes are available: 12 Insufficient nvidia.com/gpu."),
            _event(
                "FailedScheduling",
                "0/12 nodes are available: 12 Insufficient nvidia.com/gpu. "
                "preemption: 0/12 nodes are available: 12 No preemption victims found for incoming pod.",
            ),
            _event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"),
        ],
    ),
    "a-taint-nobody-tolerates": (
        CauseKind.UNSCHEDULABLE,
        [
            _pod(
                "Unschedulable",
                "0/3 nodes are available: 3 node(s) had untolerated taint {dedicated: gpu}.",
            )
        ],
    ),
    "unschedulable-until-the-deadline": (
        CauseKind.UNSCHEDULABLE,
        [
            _event("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu."),
            _step("Pod was active on the node longer than the specified deadline"),
        ],
    ),
    "no-volume": (
        CauseKind.UNSCHEDULABLE,
        [
            _event(
                "FailedScheduling",
                '0/3 nodes are available: persistentvolumeclaim "scratch" not found. preemption: not helpful',
            )
        ],
    ),
    "quota-of-cpus": (
        CauseKind.QUOTA,
        [
            _step(
                'pods "train-x7k2p" is forbidden: exceeded quota: team-a, requested: limits.cpu=8, '
                "used: limits.cpu=60, limited: limits.cpu=64"
            )
        ],
    ),
    "quota-of-gpus": (
        CauseKind.QUOTA,
        [
            _event(
                "FailedCreate",
                'Error creating: pods "train" is forbidden: exceeded quota: gpu, requested: '
                "requests.nvidia.com/gpu=4, used: requests.nvidia.com/gpu=6, limited: =8",
            )
        ],
    ),
    "a-limit-range": (
        CauseKind.QUOTA,
        [_step('pods "train" is forbidden: maximum memory usage per Container is 16Gi, but limit is 64Gi')],
    ),
    "pod-deadline": (
        CauseKind.TIMEOUT,
        [
            _pod("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
            _died(137),
            _log("epoch 8/10"),
        ],
    ),
    "step-deadline": (CauseKind.TIMEOUT, [_step("Step exceeded its deadline"), _died(143)]),
    "local-deadline": (
        CauseKind.TIMEOUT,
        [_told("The component was ended after 5 s, its active deadline."), _log("epoch 2/10")],
    ),
    "retries-used-up": (
        CauseKind.TIMEOUT,
        [_step("Max duration limit exceeded"), _step("Error (exit code 1)")],
    ),
    "evicted-for-disk": (
        CauseKind.NODE,
        [
            _pod(
                "Evicted",
                "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 8Gi. "
                "Container main was using 40Gi, request is 0, has larger consumption of ephemeral-storage.",
            ),
            _died(137),
        ],
    ),
    "node-lost": (
        CauseKind.NODE,
        [
            _pod("NodeLost", "Node node-7 which was running pod train is unresponsive"),
            _step("pod deleted"),
        ],
    ),
    "spot-node-reclaimed": (
        CauseKind.NODE,
        [
            _pod("Terminated", "Pod was terminated in response to imminent node shutdown."),
            _died(143, "Error"),
            _log("Received signal 15"),
        ],
    ),
    "preempted": (
        CauseKind.NODE,
        [_event("Preempted", "Preempted by pod 3f1c on node node-2"), _died(143), _step("pod deleted")],
    ),
    "container-not-found-after-a-reboot": (
        CauseKind.NODE,
        [
            _died(
                137,
                "ContainerStatusUnknown",
                "The container could not be located when the pod was terminated",
            )
        ],
    ),
    "missing-secret": (
        CauseKind.BACKEND,
        [
            _waits("CreateContainerConfigError", 'secret "mlpipeline-minio-artifact" not found'),
            _event("Failed", 'Error: secret "mlpipeline-minio-artifact" not found'),
        ],
    ),
    "a-volume-that-does-not-mount": (
        CauseKind.BACKEND,
        [
            _waits("ContainerCreating", ""),
            _event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "creds" : secret "gcp-key" not found',
            ),
        ],
    ),
    "the-driver-cannot-reach-mlmd": (
        CauseKind.BACKEND,
        [
            _died(1),
            _step(
                "KFP driver: driver.Container(pipelineName=train) failed: rpc error: code = "
                "Unavailable desc = connection error: dial tcp 10.0.0.5:8080: connect: connection refused"
            ),
        ],
    ),
    "the-artifact-store-refuses": (
        CauseKind.BACKEND,
        [
            _died(1),
            _log(
                "done",
                "F0801 12:00:01.000000      17 main.go:49] failed to execute component: failed to upload "
                'output artifact "model": minio-service.kubeflow:9000: connection refused',
            ),
        ],
    ),
    "deleted-at-the-backend": (
        CauseKind.BACKEND,
        [_told("the backend no longer knows this run: it was deleted there or garbage-collected", "LOST")],
    ),
    "an-object-that-is-not-there": (
        CauseKind.DATA,
        [
            _died(1),
            _raised(
                "botocore.errorfactory.NoSuchKey: An error occurred (NoSuchKey) when calling the GetObject "
                "operation: The specified key does not exist."
            ),
        ],
    ),
    "a-partition-that-is-not-there": (
        CauseKind.DATA,
        [
            _died(1),
            _raised(
                "FileNotFoundError: [Errno 2] No such file or directory: '/gcs/raw/2013-01-02/data.parquet'"
            ),
        ],
    ),
    "an-empty-file": (
        CauseKind.DATA,
        [_died(1), _raised("pandas.errors.EmptyDataError: No columns to parse from file")],
    ),
    "not-a-number": (
        CauseKind.DATA,
        [_died(1), _step("Error (exit code 1)"), _raised("ValueError: Input X contains NaN.")],
    ),
    "a-bug": (
        CauseKind.CODE,
        [
            _died(1),
            _step("main: Error (exit code 1)"),
            _raised("AttributeError: 'NoneType' object has no attribute 'shape'"),
        ],
    ),
    "a-bug-after-a-warning-about-memory": (
        CauseKind.CODE,
        [
            _died(1),
            _raised("KeyError: 'dep_delay'", "WARNING: retrying after CUDA out of memory with batch 8"),
        ],
    ),
    "a-module-that-is-not-installed": (
        CauseKind.CODE,
        [_died(1), _raised("ModuleNotFoundError: No module named 'lightgbm'")],
    ),
    "a-package-that-does-not-exist": (
        CauseKind.CODE,
        [
            _died(1),
            _log(
                "ERROR: Could not find a version that satisfies the requirement scikit-lern==1.5",
                "ERROR: No matching distribution found for scikit-lern==1.5",
            ),
        ],
    ),
    "a-command-that-failed": (
        CauseKind.CODE,
        [_died(2), _log("train: error: unrecognized arguments: --epoch 3"), _step("Error (exit code 2)")],
    ),
    "local-code": (
        CauseKind.CODE,
        [
            _told("The component exited with 1. Its last line: ValueError: boom"),
            _raised("ValueError: boom"),
        ],
    ),
    "local-no-object-store": (
        CauseKind.BACKEND,
        [
            _told(_STORE_AWAY),
            _log("Brought here: 1 artifact, 0.1 MB in 0.0 s.", f"[kfbridge] {_STORE_AWAY}"),
        ],
    ),
    "terminated-by-a-person": (
        CauseKind.CANCELED,
        [_step("workflow shutdown with strategy:  Terminate"), _died(143), _log("epoch 2/10")],
    ),
    "stopped-by-argo": (CauseKind.CANCELED, [_step("Stopped with strategy 'Stop'"), _died(137)]),
}


def test_there_are_enough_faults_of_every_kind() -> None:
    assert len(FAULTS) >= 30
    assert {kind for kind, _ in FAULTS.values()} == set(CauseKind)


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_cause_is_the_right_one(name: str) -> None:
    kind, evidence = FAULTS[name]
    ranked = rank_causes(evidence)
    assert ranked, "no cause at all"
    assert ranked[0].kind is kind, [(one.kind, one.weight, one.message) for one in ranked]
    # In whatever order it was told.
    assert rank_causes(reversed(evidence))[0].kind is kind


def test_a_cause_of_code_names_file_and_line_of_the_component() -> None:
    (cause, *_) = rank_causes([_died(1), _raised("KeyError: 'dep_delay'")])
    assert cause.message == "KeyError: 'dep_delay' (ephemeral_component.py:31 in train)"
    assert cause.evidence[0].witness is Witness.LOG


def test_a_cause_says_what_was_told_and_keeps_the_evidence() -> None:
    (cause, *_) = rank_causes(FAULTS["oom-killed"][1])
    assert cause.message == "out of memory (OOMKilled, exit code 137)"
    assert {one.witness for one in cause.evidence} == {Witness.CONTAINER, Witness.STEP}
    (waiting,) = rank_causes(FAULTS["a-taint-nobody-tolerates"][1], waiting=True)
    assert waiting.waiting
    assert waiting.message.startswith("no node can take its pod (Unschedulable): 0/3 nodes are available")


def test_nothing_comes_of_nothing() -> None:
    assert rank_causes([]) == ()
    assert (
        rank_causes([_event("Pulled", "Successfully pulled image"), _died(0, "Completed"), _log("", " ")])
        == ()
    )


def test_what_a_run_of_many_tasks_says_is_bounded() -> None:
    evidence = [
        Evidence(
            witness=Witness.CONTAINER,
            reason="OOMKilled",
            exit_code=137,
            task=f"loop[{number}]",
            pod=f"pod-{number}",
            message="x" * 5000,
            at=T0 + timedelta(seconds=number),
        )
        for number in range(1000)
    ]
    ranked = rank_causes(evidence)
    assert len(ranked) == MAX_CAUSES
    assert ranked[0].task == "loop[0]"
    assert all(len(cause.message) <= 600 for cause in ranked)
    assert all(len(one.message) <= 600 for cause in ranked for one in cause.evidence)


def test_of_chained_exceptions_the_last_is_told() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/app/a.py", line 1, in f\n    x\nKeyError: 1\n\n'
        "During handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "/app/b.py", line 2, in g\n    y\nacme.Gone: no\n'
    )
    found = read_traceback(text)
    assert found is not None
    assert (found.exception, found.where) == ("acme.Gone: no", "b.py:2 in g")


def test_a_traceback_whose_beginning_was_cut_off_is_read() -> None:
    found = read_traceback('    foo()\n  File "/app/b.py", line 2, in g\n    y\nTypeError: no\n')
    assert found is not None
    assert (found.exception, found.where) == ("TypeError: no", "b.py:2 in g")
    assert read_traceback("all is well\n") is None
    assert read_traceback('Traceback (most recent call last):\n  File "/a.py", line 1') is None


def test_last_words_are_the_components_own() -> None:
    assert last_words("boom\nF0801 12:00:01.0 1 main.go:49] failed\n\n") == "boom"
    assert last_words("  \n") is None
