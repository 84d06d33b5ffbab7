"""What whoever is on call sees: failures by cause, what is stuck, what never started."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlmodel import Session

from bridge.client.oncall import FailureGroup, MissingRun, OnCallModel, PipelineCount, StuckRun
from bridge.domain.lineage import Run
from bridge.domain.oncall import MIN_RUNS, group_of, overdue
from bridge.domain.trends import usual_seconds
from bridge.lineage import oncall
from bridge.lineage.oncall import PipelineKey
from bridge.service.briefs import brief, brief_fields, owner_of, runbook_of

_RUNS_SHOWN = 20
_PIPELINES_SHOWN = 20
_MISSING_SHOWN = 50
_SCHEDULED = "scheduled__"


def read_oncall(session: Session, projects: Collection[str], window: timedelta, now: datetime) -> OnCallModel:
    """The answer, as of ``now``, of these projects or, if there are none, of all."""
    failed, more_failed = oncall.failures_since(session, now - window, projects)
    going, more_open = oncall.open_runs(session, projects)
    pipelines, more_pipelines = oncall.silent_pipelines(session, now, projects)
    return OnCallModel(
        since=now - window,
        now=now,
        window_seconds=window.total_seconds(),
        failures=_grouped(failed, now),
        stuck=_stuck(session, going, now),
        missing=_missing(session, pipelines, now),
        truncated=more_failed or more_open or more_pipelines,
    )


def _grouped(failed: Sequence[Run], now: datetime) -> list[FailureGroup]:
    by_kind: dict[str, list[Run]] = defaultdict(list)
    for run in failed:
        by_kind[(run.error.kind if run.error else None) or "unknown"].append(run)
    groups = [_group(kind, runs, now) for kind, runs in by_kind.items()]
    return sorted(groups, key=lambda group: (-group.count, group.kind))


def _group(kind: str, runs: Sequence[Run], now: datetime) -> FailureGroup:
    counts = Counter((run.pipeline.name, run.project) for run in runs)
    newest = runs[0]
    ends = [run.finished_at or run.created_at for run in runs]
    return FailureGroup(
        kind=kind,
        group=group_of(kind),
        count=len(runs),
        pipelines=[
            PipelineCount(name=name, project=project, count=count)
            for (name, project), count in counts.most_common(_PIPELINES_SHOWN)
        ],
        first_at=min(ends),
        last_at=max(ends),
        message=newest.error.message if newest.error else None,
        owner=owner_of(newest),
        runbook=runbook_of(newest),
        runs=[brief(run, now) for run in runs[:_RUNS_SHOWN]],
    )


def _key(run: Run) -> PipelineKey:
    return run.project, run.pipeline.name


def _stuck(session: Session, going: Sequence[Run], now: datetime) -> list[StuckRun]:
    keys = list(dict.fromkeys(_key(run) for run in going))
    took = oncall.good_seconds(session, keys)
    usual = {key: found for key, seconds in took.items() if (found := usual_seconds(seconds)) is not None}
    stuck = []
    for run in going:
        known = usual.get(_key(run))
        running = (now - (run.started_at or run.submitted_at or run.created_at)).total_seconds()
        if known is None or running <= known.limit:
            continue
        told = (
            f"the last {known.runs} good runs took {known.median:.0f} s, at most {known.limit:.0f} s is usual"
        )
        stuck.append(
            StuckRun(
                **brief_fields(run, now),
                running_seconds=round(running, 3),
                usual_seconds=known.median,
                limit_seconds=known.limit,
                why=told,
                owner=owner_of(run),
                runbook=runbook_of(run),
            )
        )
    return sorted(stuck, key=lambda one: one.limit_seconds - one.running_seconds)


def _missing(session: Session, pipelines: Sequence[PipelineKey], now: datetime) -> list[MissingRun]:
    found = []
    for key, starts in oncall.recent_starts(session, pipelines).items():
        # What people start by hand has no rhythm, and must not stand for what the scheduler did not start.
        scheduled = [at for at, dag_run_id in starts if (dag_run_id or "").startswith(_SCHEDULED)]
        late = overdue(scheduled if len(scheduled) >= MIN_RUNS else [at for at, _ in starts], now)
        if late is not None:
            found.append((late, key))
    found.sort(key=lambda pair: -(pair[0].late / pair[0].every))
    newest = oncall.newest_runs(session, [key for _, key in found[:_MISSING_SHOWN]])
    missing = []
    for late, (project, name) in found[:_MISSING_SHOWN]:
        last = newest.get((project, name))
        if last is None:
            # Retention has taken it meanwhile.
            continue
        missing.append(
            MissingRun(
                pipeline=name,
                project=project,
                dag_id=last.origin.dag_id,
                last_run=brief(last, now),
                every_seconds=late.every.total_seconds(),
                expected_at=late.expected_at,
                late_seconds=round(late.late.total_seconds(), 3),
                owner=owner_of(last),
                runbook=runbook_of(last),
            )
        )
    return missing
