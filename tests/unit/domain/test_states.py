"""States are parsed once; what is not understood never ends a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.states import RunPhase, RuntimeState, parse_state


@pytest.mark.parametrize(
    ("word", "terminal", "successful"),
    [
        ("PENDING", False, False),
        ("RUNNING", False, False),
        ("PAUSED", False, False),
        ("CANCELING", False, False),
        ("SUCCEEDED", True, True),
        ("SKIPPED", True, True),
        ("FAILED", True, False),
        ("CANCELED", True, False),
        (None, False, False),
        ("", False, False),
        ("RUNTIME_STATE_UNSPECIFIED", False, False),
    ],
)
def test_kfp_words(word: str | None, terminal: bool, successful: bool) -> None:
    state = parse_state(word)
    assert (state.is_terminal, state.is_successful) == (terminal, successful)


@given(st.text().filter(lambda word: word not in list(RuntimeState)))
def test_an_unheard_of_word_is_not_terminal(word: str) -> None:
    assert not parse_state(word).is_terminal


def test_only_three_states_can_be_terminated() -> None:
    can = {state for state in RuntimeState if state.can_be_terminated}
    assert can == {RuntimeState.PENDING, RuntimeState.RUNNING, RuntimeState.PAUSED}


def test_phases_that_are_over() -> None:
    over = {phase for phase in RunPhase if phase.is_over}
    assert over == {RunPhase.ENDED, RunPhase.REJECTED, RunPhase.ABANDONED, RunPhase.LOST}
