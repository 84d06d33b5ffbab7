"""Every decision about a run, as a table, and what must hold of all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.decide import (
    End,
    LookUp,
    Missing,
    NewAttempt,
    Nothing,
    Observation,
    Policy,
    Post,
    Progress,
    Revive,
    Seen,
    Terminate,
    Tombstone,
    WaitUntil,
    Withdraw,
    decide,
)
from bridge.domain.identity import kfp_run_id
from bridge.domain.states import RunPhase, RuntimeState
from tests.unit.domain.builders import KEY, NOON, a_run

POLICY = Policy()
LATER = NOON + timedelta(minutes=1)
LONG_AFTER = NOON + POLICY.orphan_deadline


def seen(state: RuntimeState, **fields: Any) -> Observation:
    return Observation(kfp_run_id=kfp_run_id(KEY, 1), state=state, **fields)


S, P = RuntimeState, RunPhase
CANCEL = {"cancel_requested_at": NOON}
TABLE: list[tuple[str, dict[str, Any], Seen, Any, type]] = [
    ("a new run is sent", {}, None, NOON, Post),
    ("canceled before it was sent", CANCEL, None, NOON, Withdraw),
    ("found though never sent by us", {}, seen(S.RUNNING), NOON, Progress),
    ("ambiguous POST", {"phase": P.SUBMITTING, "submitted_at": NOON}, None, LATER, LookUp),
    (
        "404 soon after proves nothing",
        {"phase": P.SUBMITTING, "submitted_at": NOON},
        Missing(),
        LATER,
        WaitUntil,
    ),
    ("404 after the grace", {"phase": P.SUBMITTING, "submitted_at": NOON}, Missing(), LONG_AFTER, NewAttempt),
    (
        "… but it was canceled",
        {"phase": P.SUBMITTING, "submitted_at": NOON, **CANCEL},
        Missing(),
        LONG_AFTER,
        Withdraw,
    ),
    (
        "adopted after the POST",
        {"phase": P.SUBMITTING, "submitted_at": NOON},
        seen(S.PENDING),
        LATER,
        Progress,
    ),
    ("adopted without a state", {"phase": P.SUBMITTING}, seen(S.UNSPECIFIED), LATER, Progress),
    ("over before we looked", {"phase": P.SUBMITTING}, seen(S.FAILED), LATER, End),
    ("goes on", {"phase": P.ACTIVE, "state": S.RUNNING}, seen(S.RUNNING), LATER, Nothing),
    ("goes on, not seen", {"phase": P.ACTIVE, "state": S.RUNNING}, None, LATER, Nothing),
    ("changes", {"phase": P.ACTIVE, "state": S.PENDING}, seen(S.RUNNING), LATER, Progress),
    ("ends", {"phase": P.ACTIVE, "state": S.RUNNING}, seen(S.SUCCEEDED), LATER, End),
    ("a word nobody knows", {"phase": P.ACTIVE, "state": S.RUNNING}, seen(S.UNKNOWN), LATER, Progress),
    ("to be canceled", {"phase": P.ACTIVE, "state": S.RUNNING, **CANCEL}, None, LATER, Terminate),
    (
        "to be canceled, seen",
        {"phase": P.ACTIVE, "state": S.RUNNING, **CANCEL},
        seen(S.RUNNING),
        LATER,
        Terminate,
    ),
    ("is canceling", {"phase": P.ACTIVE, "state": S.RUNNING, **CANCEL}, seen(S.CANCELING), LATER, Progress),
    ("canceled", {"phase": P.ACTIVE, "state": S.CANCELING, **CANCEL}, seen(S.CANCELED), LATER, End),
    ("canceled, as older KFP says it", {"phase": P.ACTIVE, **CANCEL}, seen(S.FAILED), LATER, End),
    ("finished before the cancel came", {"phase": P.ACTIVE, **CANCEL}, seen(S.SUCCEEDED), LATER, End),
    ("deleted under us", {"phase": P.ACTIVE, "state": S.RUNNING}, Missing(), LATER, Tombstone),
    ("seen again in the overlap", {"phase": P.ENDED, "state": S.FAILED}, seen(S.FAILED), LATER, Nothing),
    ("revived by :retry", {"phase": P.ENDED, "state": S.FAILED}, seen(S.RUNNING), LATER, Revive),
    (
        "ended, now without a state",
        {"phase": P.ENDED, "state": S.FAILED},
        seen(S.UNSPECIFIED),
        LATER,
        Nothing,
    ),
    ("ended, now an unknown word", {"phase": P.ENDED, "state": S.FAILED}, seen(S.UNKNOWN), LATER, Nothing),
    (
        "retried and ended between two looks",
        {"phase": P.ENDED, "state": S.FAILED},
        seen(S.SUCCEEDED),
        LATER,
        End,
    ),
    ("collected after its end", {"phase": P.ENDED, "state": S.SUCCEEDED}, Missing(), LATER, Nothing),
    ("an abandoned attempt shows up", {"phase": P.ABANDONED}, seen(S.RUNNING), LATER, Terminate),
    ("an abandoned attempt had ended", {"phase": P.ABANDONED}, seen(S.FAILED), LATER, Nothing),
    ("an abandoned attempt never came", {"phase": P.ABANDONED}, Missing(), LATER, Nothing),
    ("lost and found", {"phase": P.LOST, "state": S.RUNNING}, seen(S.RUNNING), LATER, Revive),
    ("lost and found ended", {"phase": P.LOST, "state": S.SUCCEEDED}, seen(S.SUCCEEDED), LATER, End),
    ("rejected", {"phase": P.REJECTED}, None, LATER, Nothing),
]


@pytest.mark.parametrize(
    ("fields", "observed", "now", "action"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_table(fields: dict[str, Any], observed: Seen, now: Any, action: type) -> None:
    assert type(decide(a_run(**fields), observed, now, POLICY)) is action


runs = st.builds(
    a_run,
    phase=st.sampled_from(RunPhase),
    state=st.sampled_from(RuntimeState),
    cancel_requested_at=st.sampled_from([None, NOON]),
    submitted_at=st.sampled_from([None, NOON]),
)
sights: st.SearchStrategy[Seen] = st.one_of(
    st.none(), st.just(Missing()), st.sampled_from(RuntimeState).map(seen)
)
moments = st.integers(0, 1_000).map(lambda seconds: NOON + timedelta(seconds=seconds))


@given(runs, sights, moments)
def test_a_post_is_sent_only_when_nothing_was_ever_sent(run: Any, sight: Seen, now: Any) -> None:
    action = decide(run, sight, now, POLICY)
    if isinstance(action, Post):
        assert run.phase is RunPhase.QUEUED
        assert not isinstance(sight, Observation)
        assert run.cancel_requested_at is None


@given(runs, sights, moments)
def test_no_new_attempt_before_the_grace(run: Any, sight: Seen, now: Any) -> None:
    if isinstance(decide(run, sight, now, POLICY), NewAttempt):
        assert now - (run.submitted_at or run.created_at) >= POLICY.orphan_deadline
        assert isinstance(sight, Missing)


ASKED_BEFORE = {"asked_at": NOON - timedelta(seconds=1)}
ASKED_SINCE = {"asked_at": NOON + timedelta(seconds=1)}


@pytest.mark.parametrize(
    ("fields", "state", "action"),
    [
        ({"phase": P.ENDED, "state": S.SUCCEEDED}, S.RUNNING, Revive),
        ({"phase": P.LOST, "state": S.RUNNING}, S.RUNNING, Revive),
        ({"phase": P.ENDED, "state": S.SUCCEEDED}, S.FAILED, End),
        ({"phase": P.ACTIVE, "state": S.RUNNING, "revivals": 1}, S.FAILED, End),
    ],
)
def test_an_answer_that_was_overtaken_neither_revives_nor_ends(
    fields: dict[str, Any], state: RuntimeState, action: type
) -> None:
    run = a_run(observed_at=NOON, **fields)
    assert isinstance(decide(run, seen(state, **ASKED_SINCE), LATER, POLICY), action)
    assert isinstance(decide(run, seen(state), LATER, POLICY), action)
    assert isinstance(decide(run, seen(state, **ASKED_BEFORE), LATER, POLICY), Nothing)


def test_a_slow_answer_may_end_a_run_that_was_never_revived() -> None:
    run = a_run(phase=P.ACTIVE, state=S.RUNNING, observed_at=NOON)
    assert isinstance(decide(run, seen(S.SUCCEEDED, **ASKED_BEFORE), LATER, POLICY), End)


@given(runs, sights, moments)
def test_only_a_terminal_observation_ends_a_run(run: Any, sight: Seen, now: Any) -> None:
    action = decide(run, sight, now, POLICY)
    if isinstance(action, End):
        assert isinstance(sight, Observation)
        assert sight.state.is_terminal


@given(runs, sights, moments)
def test_terminate_is_asked_only_where_kfp_accepts_it(run: Any, sight: Seen, now: Any) -> None:
    action = decide(run, sight, now, POLICY)
    if isinstance(action, Terminate):
        state = sight.state if isinstance(sight, Observation) else run.state
        assert state.can_be_terminated
        assert run.cancel_requested_at is not None or run.phase is RunPhase.ABANDONED
