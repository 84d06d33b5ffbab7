"""Why a run or a task failed, or waits: from evidence of several kinds to causes, the likeliest first.

Pure. Whoever saw something (a pod's status, an event, a step's message, an error the backend told, the
last lines of a log) hands it in as ``Evidence``; ``rank_causes`` weighs it by the rules of
``cause_rules``. One place decides, so a page, a command and Airflow's log name the same cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bridge.domain.cause_rules import findings
from bridge.domain.evidence import CauseKind, Evidence, Finding, Witness

__all__ = ["Cause", "CauseKind", "Evidence", "Witness", "rank_causes"]

MAX_MESSAGE_CHARACTERS = 600
MAX_EVIDENCE_PER_CAUSE = 8
MAX_CAUSES = 6
# What keeps a pod from starting; once its container has run, older evidence of these is past.
BEFORE_START = frozenset({CauseKind.IMAGE, CauseKind.UNSCHEDULABLE, CauseKind.QUOTA, CauseKind.BACKEND})
_PAST_PENALTY = 60
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that may be why. ``weight`` (0 – 100) is how strongly the evidence speaks for it beside
    others of the same run; ``waiting`` says that it keeps something from starting that may start yet."""

    kind: CauseKind
    message: str
    task: str | None = None
    weight: int = 0
    waiting: bool = False
    evidence: tuple[Evidence, ...] = ()


def rank_causes(evidence: Iterable[Evidence], *, waiting: bool = False) -> tuple[Cause, ...]:
    """The causes that the evidence speaks for, the likeliest first; none if it says nothing.

    Evidence of one task and kind is one cause. The heavier comes first, then the one seen first.
    ``waiting`` marks them as what a run that goes on waits for.
    """
    seen = list(evidence)
    ran = {one.pod for one in seen if one.exit_code is not None and one.pod}
    grouped: dict[tuple[str | None, CauseKind], list[tuple[Finding, Evidence]]] = {}
    for one in seen:
        for finding in findings(one):
            told = _past(finding) if finding.kind in BEFORE_START and _is_past(one, ran) else finding
            grouped.setdefault((one.task, finding.kind), []).append((told, one))
    causes = [_cause(task, kind, found, waiting) for (task, kind), found in grouped.items()]
    return tuple(sorted(causes, key=lambda cause: (-cause.weight, _first_seen(cause)))[:MAX_CAUSES])


def _is_past(one: Evidence, ran: set[str]) -> bool:
    if one.pod is None or one.pod not in ran:
        return False
    return one.witness in (Witness.EVENT, Witness.POD) or (
        one.witness is Witness.CONTAINER and one.exit_code is None
    )


def _past(finding: Finding) -> Finding:
    return replace(finding, weight=max(1, finding.weight - _PAST_PENALTY))


def _cause(
    task: str | None, kind: CauseKind, found: Sequence[tuple[Finding, Evidence]], waiting: bool
) -> Cause:
    # Of equals a status says more than the event that announced it.
    ordered = sorted(
        found,
        key=lambda pair: (-pair[0].weight, pair[1].witness is Witness.EVENT, pair[1].at or _END_OF_TIME),
    )
    best = ordered[0][0]
    # Others that say the same make it a little likelier; they never lift it above a heavier one by much.
    weight = min(100, best.weight + min(2, len(ordered) - 1))
    return Cause(
        kind=kind,
        message=best.message[:MAX_MESSAGE_CHARACTERS],
        task=task,
        weight=weight,
        waiting=waiting,
        evidence=tuple(_bounded(one) for _, one in ordered[:MAX_EVIDENCE_PER_CAUSE]),
    )


def _bounded(one: Evidence) -> Evidence:
    # Of a log its end counts, of everything else its beginning.
    cut = (
        slice(-MAX_MESSAGE_CHARACTERS, None) if one.witness is Witness.LOG else slice(MAX_MESSAGE_CHARACTERS)
    )
    return replace(one, message=one.message[cut])


def _first_seen(cause: Cause) -> datetime:
    return min((one.at for one in cause.evidence if one.at), default=_END_OF_TIME)
