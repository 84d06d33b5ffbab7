"""What a repeated request gets: the rules of DESIGN's Submitting, as tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.domain.identity import Origin
from bridge.domain.lineage import OnClear, OnRetry
from bridge.domain.resubmission import Answer, ClearAnswer, answer_clear, answer_repeat, is_superseded
from bridge.domain.states import RunPhase, RuntimeState
from tests.unit.domain.builders import NOON, a_run, a_submission

P, S = RunPhase, RuntimeState
SAME_BODY, OTHER_BODY = "a" * 64, "b" * 64
ENDED_FAILED = {"phase": P.ENDED, "state": S.FAILED}


@pytest.mark.parametrize(
    ("run", "body", "try_number", "on_retry", "answer"),
    [
        ({}, SAME_BODY, 2, OnRetry.NEW_RUN, Answer.SAME),
        ({}, OTHER_BODY, 2, OnRetry.NEW_RUN, Answer.CONFLICT),
        ({}, SAME_BODY, 1, OnRetry.NEW_RUN, Answer.ZOMBIE),
        ({"phase": P.ACTIVE, "state": S.RUNNING}, SAME_BODY, 3, OnRetry.NEW_RUN, Answer.ADOPT),
        ({"phase": P.ACTIVE, "state": S.RUNNING}, OTHER_BODY, 3, OnRetry.NEW_RUN, Answer.ADOPT),
        ({"phase": P.SUBMITTING}, SAME_BODY, 3, OnRetry.NEW_RUN, Answer.ADOPT),
        ({"phase": P.ACTIVE, "state": S.CANCELING}, SAME_BODY, 3, OnRetry.NEW_RUN, Answer.WAIT),
        ({"phase": P.ACTIVE, "cancel_requested_at": NOON}, SAME_BODY, 3, OnRetry.NEW_RUN, Answer.WAIT),
        ({"phase": P.ENDED, "state": S.SUCCEEDED}, OTHER_BODY, 3, OnRetry.NEW_RUN, Answer.ADOPT),
        ({"phase": P.ENDED, "state": S.SKIPPED}, SAME_BODY, 3, OnRetry.RETRY_FAILED_TASKS, Answer.ADOPT),
        (ENDED_FAILED, SAME_BODY, 3, OnRetry.NEW_RUN, Answer.NEW_RUN),
        (ENDED_FAILED, SAME_BODY, 3, OnRetry.RETRY_FAILED_TASKS, Answer.RETRY_TASKS),
        ({"phase": P.ENDED, "state": S.CANCELED}, OTHER_BODY, 3, OnRetry.NEW_RUN, Answer.NEW_RUN),
        ({"phase": P.REJECTED}, SAME_BODY, 3, OnRetry.RETRY_FAILED_TASKS, Answer.NEW_RUN),
        ({"phase": P.LOST}, SAME_BODY, 3, OnRetry.RETRY_FAILED_TASKS, Answer.NEW_RUN),
        (ENDED_FAILED, SAME_BODY, 2, OnRetry.NEW_RUN, Answer.SAME),
    ],
)
def test_repeats(run: dict[str, Any], body: str, try_number: int, on_retry: OnRetry, answer: Answer) -> None:
    stored = a_submission(try_number=2, request_digest=SAME_BODY)
    assert answer_repeat(stored, a_run(**run), body, try_number, on_retry) is answer


@pytest.mark.parametrize(
    ("older", "on_clear", "answer"),
    [
        (None, OnClear.CANCEL_THEN_NEW, ClearAnswer.NEW_RUN),
        ({"phase": P.ENDED, "state": S.SUCCEEDED}, OnClear.ADOPT, ClearAnswer.NEW_RUN),
        ({"phase": P.ACTIVE}, OnClear.CANCEL_THEN_NEW, ClearAnswer.CANCEL_THEN_NEW),
        ({"phase": P.QUEUED}, OnClear.CANCEL_THEN_NEW, ClearAnswer.CANCEL_THEN_NEW),
        ({"phase": P.SUBMITTING}, OnClear.ADOPT, ClearAnswer.ADOPT),
        ({"phase": P.ACTIVE}, OnClear.DETACH, ClearAnswer.NEW_RUN),
    ],
)
def test_clears(older: dict[str, Any] | None, on_clear: OnClear, answer: ClearAnswer) -> None:
    assert answer_clear(None if older is None else a_run(**older), on_clear) is answer


@pytest.mark.parametrize(
    ("asks", "superseded"),
    [
        ({"try_number": 2, "max_tries": 1}, True),
        ({"try_number": 3, "max_tries": 1}, False),
        ({"try_number": 4, "max_tries": 1}, False),  # retries were lowered before the clear
        ({"try_number": 1, "max_tries": 4}, False),
        ({"try_number": 2, "dag_run_start": NOON - timedelta(hours=1)}, True),
        ({"try_number": 3, "dag_run_start": NOON - timedelta(hours=1)}, False),  # clocks differ
        ({"try_number": 1, "dag_run_start": NOON + timedelta(hours=1)}, False),  # the DagRun was made again
        ({"try_number": 1, "dag_run_start": None}, False),
    ],
)
def test_what_is_older_in_every_respect_is_superseded(asks: dict[str, Any], superseded: bool) -> None:
    newest = a_submission(try_number=3, origin=Origin(dag_run_start=NOON, try_number=3, max_tries=3))
    assert is_superseded(Origin(**{"dag_run_start": NOON, "max_tries": 3, **asks}), newest) is superseded
