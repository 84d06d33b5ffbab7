"""The rules that read causes out of evidence: reasons of Kubernetes, messages of Argo and KFP, tracebacks.

A rule's weight orders it among all: what names the thing itself (``OOMKilled``) is heavy, what is only
typical of it (exit code 137 alone) is light, and that something exited with an error at all is lightest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.domain.evidence import CauseKind, Evidence, Finding, Witness
from bridge.domain.tracebacks import last_words, read_traceback

_K = CauseKind


@dataclass(frozen=True, slots=True)
class Rule:
    """Reads a cause out of a reason (compared whole) or a text (searched), with a headline for people."""

    kind: CauseKind
    weight: int
    headline: str
    reasons: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None

    def applies(self, one: Evidence) -> bool:
        """Whether the evidence says it."""
        if one.reason in self.reasons:
            return True
        return self.text is not None and self.text.search(one.message) is not None


def _rule(kind: CauseKind, weight: int, headline: str, reasons: str = "", text: str | None = None) -> Rule:
    pattern = re.compile(text, re.IGNORECASE) if text else None
    return Rule(kind, weight, headline, frozenset(reasons.split()), pattern)


# Of what Kubernetes, Argo and the backend tell; of each kind the heaviest that applies counts.
_TOLD = (
    _rule(
        *(_K.CANCELED, 99, "it was stopped"),
        reasons="CANCELED CANCELING Canceled",
        text=r"shutdown with strategy:? *'?(terminate|stop)|stopped with strategy '?(terminate|stop)"
        r"|terminated by (the )?user|run was cancell?ed",
    ),
    _rule(
        *(_K.OUT_OF_MEMORY, 99, "out of memory"),
        reasons="OOMKilled OOMKilling",
        text=r"\bOOMKilled\b|memory cgroup out of memory",
    ),
    _rule(
        *(_K.IMAGE, 98, "the image cannot be pulled"),
        reasons="ImagePullBackOff ErrImagePull InvalidImageName ErrImageNeverPull ImageInspectError "
        "RegistryUnavailable",
        text=r"ImagePullBackOff|ErrImagePull|InvalidImageName|failed to pull (and unpack )?image"
        r"|back-off pulling image|manifest unknown|pull access denied|manifest for \S+ not found",
    ),
    _rule(
        *(_K.IMAGE, 97, "the image cannot be started"),
        reasons="ContainerCannotRun StartError RunContainerError",
        text=r"executable file not found in \$PATH|exec format error|exec: \S+: stat .*no such file",
    ),
    _rule(
        *(_K.QUOTA, 98, "a quota of the namespace forbids its pod"),
        text=r"exceeded quota|forbidden: (maximum|minimum) (cpu|memory) usage per|must specify limits\.",
    ),
    _rule(
        *(_K.UNSCHEDULABLE, 97, "no node can take its pod"),
        reasons="Unschedulable FailedScheduling",
        text=r"\d+/\d+ nodes are available|\bunschedulable\b|didn't match pod's node affinity",
    ),
    _rule(
        *(_K.NODE, 97, "its pod was evicted from the node"),
        reasons="Evicted",
        text=r"the node was low on resource|the node had condition: \[",
    ),
    _rule(
        *(_K.NODE, 97, "its node went away"),
        reasons="NodeLost NodeShutdown NodeNotReady TaintManagerEviction DeletionByTaintManager "
        "DeletionByPodGC EvictionByEvictionAPI PreemptionByScheduler TerminationByKubelet Preempted "
        "Preempting Shutdown ContainerStatusUnknown UnexpectedAdmissionError OutOfcpu OutOfmemory "
        "OutOfpods FailedCreatePodSandBox",
        text=r"imminent node shutdown|node is not ready|node which was running pod .* is unresponsive"
        r"|could not be located when the pod was|pod was preempted|preempted (in order )?to admit"
        r"|taint manager"
        r"|node .* has been (deleted|lost)",
    ),
    _rule(
        *(_K.NODE, 88, "the machine's disk is full"),
        text=r"no space left on device|The disk of \S+ is full|disk quota exceeded",
    ),
    _rule(*(_K.NODE, 85, "its pod was deleted"), text=r"^(error: )?pod deleted( during operation)?\b"),
    _rule(
        *(_K.TIMEOUT, 96, "a deadline passed"),
        reasons="DeadlineExceeded",
        text=r"active on the node longer than the specified deadline|exceeded its deadline"
        r"|max duration limit exceeded|, its active deadline",
    ),
    _rule(
        *(_K.BACKEND, 95, "the cluster does not hold what its pod needs"),
        reasons="CreateContainerConfigError",
        text=r"CreateContainerConfigError|(secret|configmap|serviceaccount) \"[^\"]+\" not found"
        r"|service account \S+ was not found|error looking up service account",
    ),
    _rule(
        *(_K.BACKEND, 88, "a volume cannot be mounted"),
        reasons="FailedMount FailedAttachVolume",
        text=r"unable to attach or mount volumes|MountVolume\.SetUp failed",
    ),
    _rule(
        *(_K.BACKEND, 90, "the backend itself failed"),
        reasons="LOST",
        text=r"KFP driver:|driver\.(Root)?(Container|DAG)\(|rpc error: code = (Unavailable|Internal|Unknown)"
        r"|failed (to )?(get|create|update|put) ?(pipeline context|execution|DAG|contexts?)"
        r"|metadata-grpc-service|no longer knows this run|failed calling webhook"
        r"|failed to (upload|load|save) (output )?artifact|failed to resolve inputs"
        r"|(the S3 server \S+|Amazon S3) (does not answer|failed|refuses)|the S3 server (failed|refuses)"
        r"|there is no bucket \S+ on",
    ),
    _rule(
        *(_K.OUT_OF_MEMORY, 55, "it was killed (signal 9), most often for its memory"),
        text=r"exit code:? 137|exit status 137|exited with 137|ended by signal 9\b|signal: killed",
    ),
    _rule(*(_K.NODE, 30, "it was asked to end (signal 15)"), text=r"exit code:? 143|ended by signal 15\b"),
    _rule(
        *(_K.CODE, 25, "the component ended with an error"),
        text=r"exit (code|status):? \d+|exited with \d+|ended by signal \d+|outputs cannot be read",
    ),
)

# Of the exception at the end of a log, or of its last line where there is none.
_SAID = (
    _rule(
        *(_K.OUT_OF_MEMORY, 90, "out of memory"),
        text=r"\bMemoryError\b|ArrayMemoryError|out of memory|OutOfMemoryError|std::bad_alloc"
        r"|cannot allocate memory|unable to allocate \S+ \w+ for an array",
    ),
    _rule(
        *(_K.DATA, 84, "the data cannot be read"),
        text=r"NoSuchKey|NoSuchBucket|specified (key|bucket) does not exist|EmptyDataError"
        r"|No columns to parse|ParserError|ArrowInvalid|parquet magic bytes|SchemaErrors?\b"
        r"|UnicodeDecodeError"
        r"|could not convert string to float|input (\w+ )?contains NaN|JSONDecodeError|AccessDenied"
        r"|when calling the \w+ operation|BadGzipFile|404 GET https://storage\.googleapis\.com"
        r"|(FileNotFoundError|PermissionError)"
        r".*(s3://|gs://|\.(csv|parquet|json|jsonl|avro|npy|feather|orc|gz)\b|/data/)"
        r"|UndefinedTable|relation \"[^\"]+\" does not exist|ValidationError: .*expect",
    ),
    _rule(
        *(_K.DATA, 85, "a check of the data failed"),
        text=r"\bdata[ _-]?(quality)?[ _-]?(check|validation|test|expectation)s? "
        r"(has |have )?(failed|did not pass)"
        r"|\bData(Check|Quality|Validation)\w*(Error|Exception|Failed)\b|\bSchemaError\b"
        r"|expectations? (failed|not met|were not met)|\bExpectation\w*(Error|Failed)\b",
    ),
    _rule(
        *(_K.NODE, 88, "the machine's disk is full"),
        text=r"no space left on device|\[Errno 28\]|disk quota exceeded",
    ),
    _rule(
        *(_K.BACKEND, 86, "a service of the backend does not answer"),
        text=r"metadata-grpc|ml-pipeline|minio-service|seaweedfs|mlmd|rpc error: code = ",
    ),
    _rule(
        _K.OUT_OF_MEMORY,
        60,
        "it was killed, most often for its memory",
        text=r"^(.*: line \d+: +\d+ )?Killed\b",
    ),
    _rule(
        *(_K.CODE, 76, "a package cannot be installed"),
        text=r"no matching distribution found|could not find a version that satisfies|ResolutionImpossible",
    ),
)


# KFP's launcher says so when the component itself did not fail: it could not fetch or store for it.
_LAUNCHER = re.compile(r"failed to execute component: (?!exit status|signal: )(.+)")


# How the local backend begins its own lines in a log.
_LOCAL = "[kfbridge] "


def findings(one: Evidence) -> Iterator[Finding]:
    """What the evidence says: at most one finding of each kind."""
    found = _of_log(one) if one.witness is Witness.LOG else _of_telling(one)
    best: dict[CauseKind, Finding] = {}
    for finding in found:
        known = best.get(finding.kind)
        if known is None or finding.weight > known.weight:
            best[finding.kind] = finding
    yield from best.values()


def _of_telling(one: Evidence) -> Iterator[Finding]:
    if one.exit_code == 0:
        return
    for rule in _TOLD:
        if rule.applies(one):
            yield Finding(rule.kind, rule.weight, _sentence(rule.headline, one))
    if one.exit_code is None:
        return
    if one.exit_code == 137 and one.reason != "OOMKilled":
        headline = "it was killed (exit code 137), most often for its memory"
        yield Finding(CauseKind.OUT_OF_MEMORY, 55, _sentence(headline, one))
    yield Finding(CauseKind.CODE, 25, _sentence("the component ended with an error", one))


def _of_log(one: Evidence) -> Iterator[Finding]:
    if one.message.rstrip().rpartition("\n")[2].startswith(_LOCAL):
        # What the local backend adds at the end, the task's error has, too.
        return
    launcher = _LAUNCHER.search(one.message)
    if launcher:
        yield Finding(CauseKind.BACKEND, 86, f"KFP's launcher failed: {launcher[1].strip()}")
    trace = read_traceback(one.message)
    said = trace.exception if trace else last_words(one.message)
    if not said:
        return
    where = f" ({trace.where})" if trace and trace.where else ""
    closing = Evidence(witness=Witness.LOG, message=said)
    for rule in _SAID:
        if rule.applies(closing):
            yield Finding(rule.kind, rule.weight, f"{rule.headline}: {said}{where}")
    # Without a traceback a last line is only what was said last, not yet a cause.
    yield Finding(CauseKind.CODE, 70 if trace else 26, f"{said}{where}")


def _sentence(headline: str, one: Evidence) -> str:
    told = " ".join(one.message.split())
    facts = [one.reason] if one.reason and one.reason not in told else []
    if one.exit_code is not None and str(one.exit_code) not in told + headline:
        facts.append(f"exit code {one.exit_code}")
    if one.container and one.container != "main":
        facts.append(f"container {one.container}")
    tail = f" ({', '.join(facts)})" if facts else ""
    return f"{headline}{tail}: {told}" if told else f"{headline}{tail}"
