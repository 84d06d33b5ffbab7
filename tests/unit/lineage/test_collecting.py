"""The garbage collector rests while anybody needs it to, and is left as it was found."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from bridge.lineage.collecting import collector_paused


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector as it was before."""
    was_on = gc.isenabled()
    gc.enable()
    yield
    if not was_on:
        gc.disable()


def test_it_rests_inside_and_goes_on_after_a_failure() -> None:
    seen = []

    def fail() -> None:
        with collector_paused:
            seen.append(gc.isenabled())
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert [*seen, gc.isenabled()] == [False, True]


def test_the_last_thread_to_leave_wakes_it() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_paused:
            inside.set()
            leave.wait(timeout=10)

    thread = threading.Thread(target=other)
    with collector_paused:
        thread.start()
        assert inside.wait(timeout=10)
    assert not gc.isenabled()
    leave.set()
    thread.join(timeout=10)
    assert gc.isenabled()


def test_who_switched_it_off_finds_it_off() -> None:
    gc.disable()
    with collector_paused:
        pass
    assert not gc.isenabled()
